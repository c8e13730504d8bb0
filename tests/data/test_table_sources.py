from __future__ import annotations

import gzip
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from automl.data import RawDataset, load
from automl.data.raw import GIVEN_SPLITS, RowSource
from automl.data.table_files import open_table
from automl.data.table_rows import TableRows
from automl.data.tables import Roles
from automl.errors import DataError, UnknownNameError

ROWS = 20


def _csv(path: Path, header: str = "a,b,y", rows: int = ROWS, last: str = "1") -> Path:
    lines = [f"{row},{row / 2},{row % 2}" for row in range(rows - 1)]
    path.write_text("\n".join([header, *lines, f"{rows},0.5,{last}"]) + "\n")
    return path


def _frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": np.arange(ROWS) % 7, **columns, "y": np.arange(ROWS) % 2})


def _kinds(raw: RawDataset) -> dict[str, str]:
    return {column.name: str(column.kind) for column in raw.columns}


def _batch(rows: RowSource | None) -> dict[str, np.ndarray]:
    assert rows is not None
    batches = list(rows.batches())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _load_text(tmp_path: Path, text: str, **options: Any) -> RawDataset:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    return load(str(tmp_path / "m.csv"), **{"target": "y", **options})


def _refusal(source: object, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _column(tmp_path: Path, *values: str) -> RawDataset:
    """Load a table of which one column has these values, over and over."""
    rows = [f'{row},"{values[row % len(values)]}",{row % 2}' for row in range(ROWS)]
    return _load_text(tmp_path, "\n".join(["n,c,y", *rows]))


def test_a_table_of_numbers_is_one_matrix(tmp_path: Path) -> None:
    raw = load(str(_csv(tmp_path / "mine.csv")), target="y")
    assert (raw.name, raw.is_array, raw.row_shape, raw.features) == ("mine", True, (2,), ("input",))
    assert _kinds(raw) == {"a": "number", "b": "number"}
    assert _batch(raw.train)["input"][3].tolist() == [3.0, 1.5]
    assert raw.targets["y"][:4].tolist() == [0, 1, 0, 1]


def test_every_kind_of_column(tmp_path: Path) -> None:
    frame = _frame(
        gap=[None if row == 3 else row for row in range(ROWS)],
        colour=["red" if row % 3 else None for row in range(ROWS)],
        flag=[("yes", "No", "TRUE")[row % 3] for row in range(ROWS)],
        day=[f"2024-01-{row + 1:02}" for row in range(ROWS)],
        review=[f"the film number {row} was long" for row in range(ROWS)],
    )
    frame.to_csv(tmp_path / "m.csv", index=False)
    raw = load(str(tmp_path / "m.csv"), target="y")
    assert _kinds(raw) == {
        "a": "number",
        "gap": "number",
        "colour": "category",
        "flag": "boolean",
        "day": "date",
        "review": "text",
    }
    batch = _batch(raw.train)
    assert (raw.is_array, batch["gap"].dtype, batch["colour"].dtype) == (False, np.float64, object)
    assert np.isnan(batch["gap"][3])
    assert batch["colour"][:2].tolist() == ["", "red"]
    assert batch["flag"][:3].tolist() == [1.0, 0.0, 1.0]
    assert batch["day"][:2].tolist() == [19_723.0, 19_724.0]
    assert batch["review"][4] == "the film number 4 was long"


def test_kinds_are_found_over_all_rows(tmp_path: Path) -> None:
    rows = [f"{row},{row % 5},{row % 2}" for row in range(5000)] + ["1,many,0", "1,many,1"]
    raw = _load_text(tmp_path, "\n".join(["a,b,y", *rows]))
    assert _kinds(raw)["b"] == "category"
    assert _batch(raw.train)["b"][[0, -1]].tolist() == ["0", "many"]


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (("2024-01-31", "2024-02-01 12:00:00"), [19_753.0, 19_754.5]),
        (("31/01/2024", "01/02/2024"), [19_753.0, 19_754.0]),
        (("01/31/2024", "02/01/2024"), [19_753.0, 19_754.0]),
        (("31.01.2024 12:00", "01.02.2024 00:00"), [19_753.5, 19_754.0]),
        (("Jan 31, 2024", "Feb 1, 2024"), [19_753.0, 19_754.0]),
        (("1 May 2024", "2 May 2024"), [19_844.0, 19_845.0]),
        (("2024-01-31T00:00:00+02:00", ""), [19_753.0 - 1 / 12, np.nan]),
    ],
)
def test_dates_are_days_since_1970(tmp_path: Path, values: tuple[str, str], days: list[float]) -> None:
    raw = _column(tmp_path, *values)
    assert _kinds(raw)["c"] == "date"
    np.testing.assert_allclose(_batch(raw.train)["c"][:2], days)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (("01/02/2024", "03/04/2024"), "'c' may be day/month or month/day"),
        (("2024-01-31", "2024-02-01", "soon"), "'c' is a date in only 2 of 3"),
    ],
)
def test_doubtful_dates_are_categories_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: tuple[str, ...], said: str
) -> None:
    raw = _column(tmp_path, *values)
    assert _kinds(raw)["c"] == "category"
    assert said in caplog.text


def test_booleans_with_gaps(tmp_path: Path) -> None:
    raw = _column(tmp_path, "True", "", "False")
    assert _kinds(raw)["c"] == "boolean"
    np.testing.assert_array_equal(_batch(raw.train)["c"][:3], [1.0, np.nan, 0.0])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    text = _csv(tmp_path / "m.csv").read_text().replace(",", delimiter)
    (tmp_path / "m.txt").write_text(text)
    raw = load(str(tmp_path / "m.txt"), target="y")
    assert [column.name for column in raw.columns] == ["a", "b"]


def test_a_header_with_commas_between_semicolons(tmp_path: Path) -> None:
    rows = [f"{row};{row / 2};{row % 2}" for row in range(ROWS)]
    raw = _load_text(tmp_path, "\n".join(["a, cm;b, kg, dry;y", *rows]))
    assert [column.name for column in raw.columns] == ["a, cm", "b, kg, dry"]


def test_gzip_is_found_by_content(tmp_path: Path) -> None:
    text = _csv(tmp_path / "m.csv").read_bytes()
    for name in ("m.csv.gz", "hidden.csv"):
        (tmp_path / name).write_bytes(gzip.compress(text))
        raw = load(str(tmp_path / name), target="y")
        assert (raw.name, raw.train.count) == (name.split(".")[0], ROWS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    words = ("Müllerstraße in Köln", "über den Dächern", "schöne Grüße aus Österreich")
    rows = [f"{row},{words[row % 3]},{row % 2}" for row in range(300)]
    (tmp_path / "m.csv").write_text("\n".join(["größe,ort,y", *rows]), encoding=encoding)
    raw = load(str(tmp_path / "m.csv"), target="y")
    assert [column.name for column in raw.columns] == ["größe", "ort"]
    assert _batch(raw.train)["ort"][:3].tolist() == list(words)


def test_the_encoding_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("a,ö,y\n1,2,3\n2,3,4\n".encode("cp437"))
    raw = load(str(tmp_path / "m.csv"), target="y", encoding="cp437")
    assert [column.name for column in raw.columns] == ["a", "ö"]
    assert "say its encoding" in _refusal(tmp_path / "m.csv", target="y", encoding="utf-8")
    assert "received 'klingon'" in _refusal(tmp_path / "m.csv", target="y", encoding="klingon")


def test_a_late_byte_that_is_not_utf8_asks_for_the_encoding(tmp_path: Path) -> None:
    rows = "".join(f"{row},{row % 7},{row % 2}\n" for row in range(130_000))
    (tmp_path / "m.csv").write_bytes(f"a,b,y\n{rows}".encode() + b"1,caf\xe9,0\n")
    assert "--encoding latin-1" in _refusal(tmp_path / "m.csv", target="y")


def test_bytes_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(bytes(range(256)) * 4)
    assert "--encoding" in _refusal(tmp_path / "m.csv", target="y")


def test_a_byte_order_mark_spaces_booleans_and_text_labels(tmp_path: Path) -> None:
    rows = [f"{row}, {row % 3 == 0}, <{row % 2}" for row in range(ROWS)]
    (tmp_path / "m.csv").write_text("\n".join(["a, flag, y", *rows]), encoding="utf-8-sig")
    raw = load(str(tmp_path / "m.csv"), target="y")
    assert _kinds(raw) == {"a": "number", "flag": "boolean"}
    assert _batch(raw.train)["flag"][:4].tolist() == [1, 0, 0, 1]
    assert raw.targets["y"][:2].tolist() == ["<0", "<1"]


def test_parquet(tmp_path: Path) -> None:
    frame = _frame(
        when=pd.date_range("2024-01-01", periods=ROWS, tz="Europe/Berlin"),
        colour=pd.Categorical(["red", "blue"] * (ROWS // 2)),
        flag=pd.array([True, None] * (ROWS // 2), dtype="boolean"),
        count=pd.array([1, None] * (ROWS // 2), dtype="Int64"),
    )
    frame.to_parquet(tmp_path / "m.parquet", index=False)
    raw = load(str(tmp_path / "m.parquet"), target="y")
    assert list(_kinds(raw).values()) == ["number", "date", "category", "boolean", "number"]
    batch = _batch(raw.train)
    assert batch["colour"][:2].tolist() == ["red", "blue"]
    assert batch["when"][0] == 19_723.0 - 1 / 24
    np.testing.assert_array_equal(batch["flag"][:2], [1.0, np.nan])
    np.testing.assert_array_equal(batch["count"][:2], [1.0, np.nan])


def test_parquet_that_is_none_or_holds_lists(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_text("no parquet")
    assert "not a well-formed .parquet file" in _refusal(tmp_path / "m.parquet", target="y")
    _frame(many=[[1, 2]] * ROWS).to_parquet(tmp_path / "l.parquet", index=False)
    assert "received 'many' (list" in _refusal(tmp_path / "l.parquet", target="y")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_large_file_is_read_again_at_each_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    frame = pd.DataFrame(
        {
            "n": np.arange(5000) / 4,
            "c": ["x" if row < 4000 else "7" for row in range(5000)],
            "m": [str(row % 9) if row != 4321 else "none of them" for row in range(5000)],
            "y": np.where(np.arange(5000) % 2, "yes", "no"),
            "g": [f"g{row % 50}" for row in range(5000)],
        }
    )
    path = tmp_path / f"m.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False, row_group_size=1000)
    held = load(str(path), target="y", group="g")
    monkeypatch.setattr("automl.data.table_files.HELD_BYTES", 1000)
    monkeypatch.setattr("automl.data.csv_files._CHUNK_BYTES", 10_000)
    monkeypatch.setattr("automl.data.parquet_files._BATCH_BYTES", 10_000)
    raw = load(str(path), target="y", group="g")
    assert isinstance(raw.train, TableRows)
    assert raw.columns == held.columns
    assert len(list(raw.train.batches())) > 3
    for _ in range(2):
        for name, values in _batch(held.train).items():
            np.testing.assert_array_equal(_batch(raw.train)[name], values)
    assert raw.targets["y"].tolist() == held.targets["y"].tolist() == frame["y"].tolist()
    assert raw.groups is not None
    assert raw.groups.tolist() == frame["g"].tolist()


def test_several_targets(tmp_path: Path) -> None:
    path = _csv(tmp_path / "m.csv", header="a,b,y")
    for target in ("b, y", ("b", "y")):
        raw = load(str(path), target=target)
        assert (list(raw.targets), raw.targets["b"].shape, _kinds(raw)) == (["b", "y"], (ROWS,), {"a": "number"})


def test_columns_that_say_nothing_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = _frame(
        empty=[None] * ROWS, same=["x"] * ROWS, five=[5] * ROWS, code=[f"C{row}" for row in range(ROWS)], b=range(ROWS)
    )
    frame.to_csv(tmp_path / "m.csv", index=False)
    raw = load(str(tmp_path / "m.csv"), target="y")
    assert list(_kinds(raw)) == ["a", "b"]
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    for said in ("'empty' (no values)", "'same', 'five' (the same value", "'code' (another short text"):
        assert said in record.getMessage()


def test_a_column_that_is_sometimes_there_is_kept(tmp_path: Path) -> None:
    assert _kinds(_column(tmp_path, "x", "")) == {"n": "number", "c": "category"}


def test_a_table_without_features_is_refused(tmp_path: Path) -> None:
    _frame().drop(columns="a").assign(z=1).to_csv(tmp_path / "m.csv", index=False)
    assert "no features left" in _refusal(tmp_path / "m.csv", target="y")


def test_groups_times_and_weights(tmp_path: Path) -> None:
    frame = _frame(
        who=[f"p{row % 5}" for row in range(ROWS)],
        when=[f"2024-01-{row + 1:02}" for row in range(ROWS)],
        w=np.arange(ROWS) / 2,
    )
    frame.to_csv(tmp_path / "m.csv", index=False)
    raw = load(str(tmp_path / "m.csv"), target="y", group="who", time_column="when", sample_weight="w")
    assert list(_kinds(raw)) == ["a", "when"]
    assert raw.groups is not None
    assert raw.times is not None
    assert raw.weights is not None
    assert raw.groups[:2].tolist() == ["p0", "p1"]
    assert (raw.times[1], raw.weights[1]) == (19_724.0, 0.5)


@pytest.mark.parametrize("option", ["group", "time_column", "sample_weight"])
def test_unknown_role_columns_name_the_nearest(tmp_path: Path, option: str) -> None:
    _frame(weight=range(ROWS)).to_csv(tmp_path / "m.csv", index=False)
    with pytest.raises(UnknownNameError, match="did you mean 'weight'"):
        load(str(tmp_path / "m.csv"), target="y", **{option: "wieght"})


@pytest.mark.parametrize(
    ("values", "option", "said"),
    [
        ([None, *range(ROWS - 1)], "group", "the group 'c' is missing in 1 of 20 rows"),
        ([None, *range(ROWS - 1)], "time_column", "the time 'c' is missing"),
        ([None, *range(ROWS - 1)], "sample_weight", "the sample weight 'c' is missing"),
        (["soon", "later"] * 10, "time_column", "the time 'c' holds category"),
        (["soon", "later"] * 10, "sample_weight", "the sample weight 'c' holds text"),
        ([-1, 1] * 10, "sample_weight", "weights of at least 0"),
        ([0] * ROWS, "sample_weight", "not all 0"),
    ],
)
def test_role_columns_that_cannot_be_used(tmp_path: Path, values: list[Any], option: str, said: str) -> None:
    _frame(c=values).to_csv(tmp_path / "m.csv", index=False)
    assert said in _refusal(tmp_path / "m.csv", target="y", **{option: "c"})


def test_a_column_has_one_role(tmp_path: Path) -> None:
    path = _csv(tmp_path / "m.csv")
    assert "twice" in _refusal(path, target="y", group="y")
    assert "twice" in _refusal(path, target="y,y")


def test_a_leak_is_warned_of_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _frame(answer=np.arange(ROWS) % 2).to_csv(tmp_path / "m.csv", index=False)
    assert "answer" in _kinds(load(str(tmp_path / "m.csv"), target="y"))
    assert "'answer' equals the target 'y' in every row" in caplog.text


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_a_given_file_in_another_order_of_columns(tmp_path: Path, split: str) -> None:
    (tmp_path / "t.csv").write_text("y,b,a\n1,20,10\n0,40,30\n")
    raw = load(str(_csv(tmp_path / "m.csv")), target="y", **{split: str(tmp_path / "t.csv")})
    (given,) = raw.given.values()
    assert (_batch(given.rows)["input"].tolist(), given.targets["y"].tolist()) == ([[10, 20], [30, 40]], [1, 0])
    assert given.source_hash


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_a_given_file_is_read_with_the_kinds_of_the_training_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, split: str
) -> None:
    (tmp_path / "t.csv").write_text("a,b,y\n1,huge,1\n2,,0\n3,4,0\n")
    raw = load(str(_csv(tmp_path / "m.csv")), target="y", **{split: str(tmp_path / "t.csv")})
    assert not raw.is_array
    np.testing.assert_array_equal(_batch(raw.given[split].rows)["b"], [np.nan, np.nan, 4.0])
    assert "t.csv: values that are not of their column's kind count as missing: 'b' (1)" in caplog.text


def test_both_splits_are_given(tmp_path: Path) -> None:
    train, validation, test = (_csv(tmp_path / f"{rows}.csv", rows=rows) for rows in (ROWS, 5, 4))
    raw = load(str(train), target="y", validation=str(validation), test=str(test))
    assert (raw.train.count, raw.is_array) == (ROWS, True)
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 5, "test": 4}
    test.write_text("a,b,y\n1,,1\n2,1,0\n")
    assert not load(str(train), target="y", validation=str(validation), test=str(test)).is_array


def test_weights_of_validation_rows_are_read_where_there_are_some(tmp_path: Path) -> None:
    _frame(b=np.arange(ROWS), w=np.arange(ROWS) + 1).to_csv(tmp_path / "m.csv", index=False)
    (tmp_path / "with.csv").write_text("a,b,w,y\n1,2,7,1\n3,4,9,0\n")
    (tmp_path / "without.csv").write_text("a,b,y\n1,2,1\n3,4,0\n")

    def weights(name: str, split: str) -> Any:
        options: dict[str, Any] = {"target": "y", "sample_weight": "w", split: str(tmp_path / name)}
        return load(str(tmp_path / "m.csv"), **options).given[split].weights

    assert weights("with.csv", "validation").tolist() == [7, 9]
    assert weights("without.csv", "validation") is None
    assert weights("with.csv", "test") is None
    (tmp_path / "with.csv").write_text("a,b,w,y\n1,2,-7,1\n3,4,9,0\n")
    with pytest.raises(DataError, match=r"with\.csv: expected sample weights of at least 0"):
        weights("with.csv", "validation")


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_given_files_that_do_not_fit_are_refused(tmp_path: Path, split: str) -> None:
    def refusal(given: Path) -> str:
        return _refusal(train, target="y", **{split: str(given)})

    train = _csv(tmp_path / "m.csv")
    other = _csv(tmp_path / "t.csv", header="a,c,y", rows=5)
    np.savez(tmp_path / "m.npz", x_train=np.zeros((2, 2)))
    (tmp_path / "copy.csv").write_bytes(train.read_bytes())
    (tmp_path / "words.csv").write_text("a,b,y\n1,2,many\n")
    assert "lacks 'b' and adds 'c'" in refusal(other)
    assert "training file itself" in refusal(train)
    assert "training file itself" in refusal(tmp_path / "copy.csv")
    assert f"--{split}: expected a .csv file" in refusal(tmp_path / "m.npz")
    assert "no file" in refusal(tmp_path / "none.csv")
    assert "has text, but the training rows numbers" in refusal(tmp_path / "words.csv")
    (tmp_path / "header.csv").write_text("a,b,y\n")
    assert "has a header line but no rows" in refusal(tmp_path / "header.csv")


def test_without_a_target_the_columns_are_listed(tmp_path: Path) -> None:
    assert "give --target COLUMN, one of: 'a', 'b', 'y'" in _refusal(_csv(tmp_path / "m.csv"))


def test_an_unknown_target_names_the_nearest_column(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'price'; did you mean 'prices'\? known: a, b, prices"):
        load(str(_csv(tmp_path / "m.csv", header="a,b,prices")), target="price")


def test_an_unknown_target_of_a_wide_table_is_still_one_short_line(tmp_path: Path) -> None:
    header = ",".join(f"c{column}" for column in range(2000))
    (tmp_path / "m.csv").write_text(f"{header}\n{','.join('1' * 2000)}\n")
    with pytest.raises(UnknownNameError, match="more columns") as caught:
        load(str(tmp_path / "m.csv"), target="c20x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", "line 3 has 2 fields, but the header has 3"),
        ("a,b,y\n1,2,3\n4,5,6,7\n", "Expected 3 fields in line 3, saw 4"),
        ("a,b,y\n1,2,3,4\n4,5,6,7\n", "line 2 has 4 fields"),
        ("a,b,y\n\n1,2,\n4,5\n", "line 4 has 2 fields"),
        (",,\n1,2,3\n", "more than one column ''"),
        ("a,a,y\n1,2,3\n", "more than one column 'a'"),
        ("a:b:y\n1:2:3\n", "commas, semicolons, tabs, bars (each was tried); found only 'a:b:y'"),
        ("a,b,y\n", "no rows"),
        ("\n\n", "found none"),
        ('a,b,y\n1,2,"3\n', "not a well-formed .csv file"),
        ("a,b,y\n1,2,u\n1,3,v\n2,4,w\n", "another text in every row"),
        ("a,b,y\n1,2,2024-01-01\n1,3,2024-01-02\n2,4,2024-01-02\n", "the target 'y' holds dates"),
    ],
)
def test_malformed_tables_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert said in _refusal(tmp_path / "m.csv", target="y")


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = gzip.compress(b"a,b,y\n" + b"".join(b"%f,1,2\n" % value for value in rng.random(500)))
    (tmp_path / "m.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert "gzip" in _refusal(tmp_path / "m.csv.gz", target="y")


def test_missing_targets_are_refused(tmp_path: Path) -> None:
    assert f"missing in 1 of {ROWS} rows" in _refusal(_csv(tmp_path / "m.csv", last=""), target="y")
    (tmp_path / "all.csv").write_text("a,y\n1,\n2,\n")
    assert "missing in every row" in _refusal(tmp_path / "all.csv", target="y")


def test_strict_and_tables_do_not_go_together(tmp_path: Path) -> None:
    assert "--strict does not go with a table" in _refusal(_csv(tmp_path / "m.csv"), target="y", strict=True)


def test_adult(real_data: Path) -> None:
    table = open_table(real_data / "adult_train.csv")  # imports
    began = time.process_time()
    raw = load(str(real_data / "adult_train.csv"), target="income", test=str(real_data / "adult_test.csv"))
    assert time.process_time() - began < 4
    assert (len(table.columns), len(raw.columns), raw.train.count) == (15, 14, 32_561)
    assert raw.given["test"].rows.count == 16_281
    kinds = list(_kinds(raw).values())
    assert (kinds.count("number"), kinds.count("category")) == (6, 8)
    assert "" in _batch(raw.train)["workclass"]
    assert sorted(set(raw.targets["income"].tolist())) == ["<=50K", ">50K"]


def test_movie_reviews_and_housing(real_data: Path) -> None:
    reviews = load(str(real_data / "movie_reviews.csv.gz"), target="label")
    assert (reviews.name, _kinds(reviews), reviews.train.count) == ("movie_reviews", {"text": "text"}, 2000)
    housing = load(str(real_data / "housing.csv"), target="medv")
    assert (housing.row_shape, housing.targets["medv"].shape) == ((13,), (506,))


def test_roles_are_parsed() -> None:
    roles = Roles.parse("a , b", group="g", time_column="t", sample_weight=None)
    assert (roles.targets, roles.others) == (("a", "b"), ("a", "b", "g"))
