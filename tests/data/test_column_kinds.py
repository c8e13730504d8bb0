from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from automl.data.column_kinds import ColumnScan, parse_dates, texts_of, to_array
from automl.dataset_spec import Column, ColumnKind


def _scan(*chunks: object) -> ColumnScan:
    scan = ColumnScan("c")
    for chunk in chunks:
        scan.add(chunk if isinstance(chunk, pd.Series) else pd.Series(chunk))
    return scan


@pytest.mark.parametrize(
    ("chunks", "kind"),
    [
        (([1, 2], [2.5]), ColumnKind.NUMBER),
        (([1, 2], [np.nan]), ColumnKind.NUMBER),
        (([np.nan], [np.nan]), ColumnKind.NUMBER),
        (([True, False], ["yes", "no"]), ColumnKind.BOOLEAN),
        (([True, False], [1, 0]), ColumnKind.CATEGORY),
        (([True, False], ["maybe"]), ColumnKind.CATEGORY),
        ((["2024-01-01"], [None, "2024-01-02 10:00"]), ColumnKind.DATE),
        ((pd.to_datetime(["2024-01-01"]), pd.to_datetime([None])), ColumnKind.DATE),
        ((["2024-01-01"], [1]), ColumnKind.CATEGORY),
        ((["2024", "2025"],), ColumnKind.CATEGORY),
        ((["a b c d", "e f g h"], ["i j k"]), ColumnKind.TEXT),
        ((["a b c d", "a b c d"], ["a b c d", "a b c d"]), ColumnKind.CATEGORY),
        ((pd.Series(["2024-01-01", "yes"], dtype="category"),), ColumnKind.CATEGORY),
    ],
)
def test_kinds_over_chunks(chunks: tuple[object, ...], kind: ColumnKind) -> None:
    assert _scan(*chunks).kind is kind


def test_missing_values_are_counted() -> None:
    scan = _scan(["a", None], [None, "b"])
    assert (scan.rows, scan.missing, scan.present) == (4, 2, 2)


def test_constants() -> None:
    assert _scan([1, 1], [1.0]).is_constant
    assert _scan(["x"], ["x"]).is_constant
    assert not _scan(["x"], ["y"]).is_constant
    assert not _scan(["x"], [1]).is_constant
    assert not _scan([1, np.nan]).is_constant
    assert not _scan([1]).is_constant


def test_ids_are_short_and_all_different() -> None:
    names = [f"u{row}" for row in range(20)]
    assert _scan(names[:10], names[10:]).is_id
    assert not _scan(names[:10], names[9:]).is_id
    assert not _scan(names[:5]).is_id
    assert not _scan(list(range(20))).is_id


def test_the_format_of_dates_is_kept() -> None:
    assert _scan(["31/01/2024"], ["01/02/2024"]).column() == Column(
        name="c", kind=ColumnKind.DATE, date_format="%d/%m/%Y"
    )
    assert _scan(["01/02/2024"]).column().kind is ColumnKind.CATEGORY


def test_dates_of_another_format_are_missing() -> None:
    days = parse_dates(pd.Series(["2024-01-01", "2024", "20240101", "1/2/2024", None]), "ISO8601")
    np.testing.assert_array_equal(days, [19_723.0, *[np.nan] * 4])


def test_arrays_of_each_kind() -> None:
    mixed = pd.Series(["1", " 2.5", "x", None, "Yes"])
    np.testing.assert_array_equal(to_array(mixed, Column(name="c")), [1, 2.5, np.nan, np.nan, np.nan])
    boolean = to_array(mixed, Column(name="c", kind=ColumnKind.BOOLEAN))
    np.testing.assert_array_equal(boolean, [1, np.nan, np.nan, np.nan, 1])
    assert to_array(mixed, Column(name="c", kind=ColumnKind.TEXT)).tolist() == ["1", " 2.5", "x", "", "Yes"]


@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_texts_of_every_dtype(dtype: object) -> None:
    texts = texts_of(pd.Series(["a", None, "b"], dtype=dtype))  # type: ignore[call-overload]
    assert (texts.dtype, texts.tolist()) == (object, ["a", "", "b"])
    assert texts_of(pd.Series([1, None], dtype="Int64")).tolist() == ["1", ""]
