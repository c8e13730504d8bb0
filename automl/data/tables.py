"""From a table to a `RawDataset`: which columns are features, which are targets, and what each holds.

A small table is held in memory; rows of a large one are read from its file again at each pass.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from automl.data.column_kinds import ColumnScan, to_array
from automl.data.files import LISTED_NAMES, listing
from automl.data.raw import Array, ArrayRows, GivenSplit, RawDataset, RowSource
from automl.data.table_rows import FrameTable, Table, TableRows
from automl.dataset_spec import Column, ColumnKind
from automl.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_FEWEST_CLASSED_ROWS = 3  # with fewer, different texts in each say nothing
_WARNED_NAMES = 10


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What columns of a table are for, besides features.

    Attributes:
        targets: What is predicted, an output each.
        group: Rows of the same group stay together in one split.
        time: What splits are ordered by.
        weight: Weights of the rows in the training loss.
    """

    targets: tuple[str, ...]
    group: str | None = None
    time: str | None = None
    weight: str | None = None

    @classmethod
    def parse(
        cls,
        target: str | Sequence[str],
        *,
        group: str | None = None,
        time_column: str | None = None,
        sample_weight: str | None = None,
    ) -> Roles:
        """Read the user's options; targets may be one text with commas."""
        names = target.split(",") if isinstance(target, str) else target
        targets = tuple(name.strip() for name in names)
        return cls(targets=targets, group=group, time=time_column, weight=sample_weight)

    @property
    def others(self) -> tuple[str, ...]:
        """Columns that are no features: targets, group and weight."""
        return (*self.targets, *(name for name in (self.group, self.weight) if name is not None))

    def check(self, label: str, columns: Sequence[str]) -> None:
        """Check that there are such columns, and that none is named twice.

        Raises:
            UnknownNameError: There is no such column.
            DataError: A column is named twice.
        """
        for name in self.targets:
            check_column("target column", name, columns)
        for what, named in (("group", self.group), ("time", self.time), ("sample weight", self.weight)):
            if named is not None:
                check_column(f"{what} column", named, columns)
        roles = (*self.others, *([self.time] if self.time is not None else []))
        twice = sorted({name for name in roles if roles.count(name) > 1})
        if twice:
            raise DataError(f"{label}: {listing(twice)} is named as target, group, time or weight twice; name it once")


@dataclass(frozen=True, eq=False)
class GivenTable:
    """Rows of a split that is given.

    Attributes:
        table: The rows, with the columns of the training rows in any order.
        label: Where they come from, for errors and warnings.
        source_hash: SHA-256 of a source of their own, otherwise empty.
    """

    table: Table
    label: str
    source_hash: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scan:
    """What one pass over a table found."""

    rows: int
    columns: Mapping[str, ColumnScan]
    leaks: frozenset[tuple[str, str]] = field(default_factory=frozenset)


def check_column(kind: str, name: str, columns: Sequence[str]) -> None:
    """Check that a table has a column.

    Raises:
        UnknownNameError: It has not; the nearest names are listed.
    """
    if name in columns:
        return
    if len(columns) <= LISTED_NAMES:
        raise UnknownNameError(kind, name, columns)
    nearest = difflib.get_close_matches(name, columns, n=3) or columns[:3]
    raise UnknownNameError(kind, name, nearest, also=f"and {len(columns) - len(nearest)} more columns")


def table_dataset(
    name: str,
    table: Table,
    roles: Roles,
    *,
    given: Mapping[str, GivenTable] = MappingProxyType({}),
    label: str | None = None,
    content_hash: str,
) -> RawDataset:
    """Make a `RawDataset` of a table: find what its columns hold, and leave out those that say nothing.

    Args:
        name: The dataset's name.
        table: The table.
        roles: What its columns are for.
        given: The splits that are given, by name.
        label: Where the table comes from, for errors and warnings; the name if None.
        content_hash: SHA-256 of the table.

    Raises:
        UnknownNameError: A column that is named does not exist.
        DataError: The table cannot be learned from as it is.
    """
    label = label or name
    roles.check(label, table.columns)
    scan = _scan(label, table, roles.targets)
    kept = _choose_features(label, scan, roles)
    values = _collect(table, scan, roles)
    for one in given.values():
        needed = (*(column.name for column in kept), *roles.targets)
        _check_same_columns(one.label, one.table.columns, table.columns, needed=needed)
    scans = {split: _scan(one.label, one.table, ()) for split, one in given.items()}
    as_matrix = all(_is_matrix(one, kept) for one in (scan, *scans.values()))
    return RawDataset(
        name=name,
        columns=kept,
        is_array=as_matrix,
        row_shape=(len(kept),) if as_matrix else (),
        row_dtype=np.dtype(np.float64) if as_matrix else np.dtype(object),
        train=_rows(label, table, kept, as_matrix=as_matrix, count=scan.rows),
        targets=_read_targets(label, values, scan, roles),
        given={
            split: _given_split(
                one,
                _rows(one.label, one.table, kept, as_matrix=as_matrix, count=scans[split].rows),
                scan,
                Roles(targets=roles.targets, weight=roles.weight if split == "validation" else None),
            )
            for split, one in given.items()
        },
        groups=None if roles.group is None else _read_groups(label, values[roles.group]),
        times=None if roles.time is None else _read_times(label, values[roles.time], scan.columns[roles.time]),
        weights=None if roles.weight is None else _read_weights(label, values[roles.weight]),
        content_hash=content_hash,
    )


def _given_split(one: GivenTable, rows: RowSource, scan: _Scan, roles: Roles) -> GivenSplit:
    """Read the targets, and the weights where there are some: such rows need none."""
    used = roles if roles.weight in one.table.columns else replace(roles, weight=None)
    values = _collect(one.table, scan, used)
    return GivenSplit(
        rows=rows,
        targets=_read_targets(one.label, values, scan, used),
        weights=None if used.weight is None else _read_weights(one.label, values[used.weight]),
        source_hash=one.source_hash,
    )


def _scan(label: str, table: Table, targets: Sequence[str]) -> _Scan:
    scans = {name: ColumnScan(name) for name in table.columns}
    leaks = {(name, target) for target in targets for name in scans if name not in targets}
    rows = 0
    for chunk in table.chunks():
        rows += len(chunk)
        for name, scan in scans.items():
            scan.add(chunk[name])
        leaks = {(name, target) for name, target in leaks if _are_equal(chunk[name], chunk[target])}
    if not rows:
        raise DataError(f"{label} has a header line but no rows; expected at least ten")
    if scans[table.columns[-1]].missing:
        table.check_rows()
    return _Scan(rows=rows, columns=scans, leaks=frozenset(leaks))


def _are_equal(feature: pd.Series, target: pd.Series) -> bool:
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(feature.dtype) and is_numeric_dtype(target.dtype):
        return bool((feature == target).all())
    return feature.equals(target)


def _choose_features(label: str, scan: _Scan, roles: Roles) -> tuple[Column, ...]:
    candidates = [one for name, one in scan.columns.items() if name not in roles.others]
    empty = [one.name for one in candidates if not one.present]
    constant = [one.name for one in candidates if one.present and one.is_constant]
    ids = [one.name for one in candidates if one.is_id]
    reasons = (("no values", empty), ("the same value in every row", constant), ("another short text in each row", ids))
    found = [f"{listing(names, most=_WARNED_NAMES)} ({reason})" for reason, names in reasons if names]
    if found:
        _log.warning("%s: left out of the features: %s", label, "; ".join(found))
    dropped = {*empty, *constant, *ids}
    kept = tuple(one.column() for one in candidates if one.name not in dropped)
    if not kept:
        raise DataError(f"{label} has no features left besides {listing(roles.others)}; expected at least one column")
    _warn_of_doubts(label, [scan.columns[column.name] for column in kept])
    for name, target in sorted(scan.leaks):
        _log.warning(
            "%s: %r equals the target %r in every row; leave it out if it gives the answer", label, name, target
        )
    return kept


def _warn_of_doubts(label: str, scans: Sequence[ColumnScan]) -> None:
    doubts = [f"{one.name!r} {one.doubt}" for one in scans if one.doubt]
    if doubts:
        _log.warning("%s: not read as dates: %s; write dates as YYYY-MM-DD", label, "; ".join(doubts[:_WARNED_NAMES]))


def _is_matrix(scan: _Scan, kept: Sequence[Column]) -> bool:
    return all(
        scan.columns[column.name].kind is column.kind is ColumnKind.NUMBER and not scan.columns[column.name].missing
        for column in kept
    )


def _rows(label: str, table: Table, columns: tuple[Column, ...], *, as_matrix: bool, count: int) -> RowSource:
    rows = TableRows(label=label, table=table, columns=columns, as_matrix=as_matrix, count=count)
    if not isinstance(table, FrameTable):
        return rows
    (whole,) = rows.batches()
    return ArrayRows(whole)


def _collect(table: Table, scan: _Scan, roles: Roles) -> dict[str, pd.Series]:
    """Read whole those columns that splits are made of."""
    import pandas as pd

    names = list(dict.fromkeys([*roles.others, *([roles.time] if roles.time else [])]))
    texts = [name for name in names if scan.columns[name].kind is not ColumnKind.NUMBER]
    parts = list(table.chunks(texts=texts, columns=names))
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in names}


def _read_targets(label: str, values: Mapping[str, pd.Series], scan: _Scan, roles: Roles) -> dict[str, Array]:
    return {name: _read_target(label, values[name], scan.columns[name]) for name in roles.targets}


def _read_target(label: str, values: pd.Series, scan: ColumnScan) -> Array:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    _check_present(label, "target", values)
    if scan.kind is ColumnKind.DATE:
        raise DataError(f"{label}: the target {scan.name!r} holds dates; expected numbers, true/false or classes")
    if scan.rows >= _FEWEST_CLASSED_ROWS and scan.has_distinct_texts:
        raise DataError(
            f"{label}: the target {scan.name!r} is another text in every row; expected numbers or a few classes"
        )
    if scan.kind is ColumnKind.NUMBER and not is_numeric_dtype(values.dtype):
        raise DataError(f"{label}: the target {scan.name!r} has text, but the training rows numbers; expected the same")
    if is_bool_dtype(values.dtype) and scan.kind is not ColumnKind.CATEGORY:
        return values.to_numpy(dtype=bool)
    if scan.kind is ColumnKind.NUMBER:
        numbers: Array = values.to_numpy()
        return numbers if numbers.dtype.kind in "iuf" else values.to_numpy(dtype=np.float64)
    return np.array(values.astype(object).astype("str").tolist(), dtype=np.str_)


def _check_present(label: str, what: str, values: pd.Series) -> None:
    missing = int(values.isna().sum())
    if missing:
        count = "every row" if missing == len(values) else f"{missing} of {len(values)} rows"
        raise DataError(
            f"{label}: the {what} {values.name!r} is missing in {count} (empty, NA, NaN, None or null); "
            "expected a value in each: fill or drop those rows"
        )


def _read_groups(label: str, values: pd.Series) -> Array:
    _check_present(label, "group", values)
    return np.array(values.astype(object).astype("str").tolist(), dtype=np.str_)


def _read_times(label: str, values: pd.Series, scan: ColumnScan) -> Array:
    _check_present(label, "time", values)
    if scan.kind not in (ColumnKind.NUMBER, ColumnKind.DATE):
        hint = f" ({scan.doubt})" if scan.doubt else ""
        raise DataError(
            f"{label}: the time {scan.name!r} holds {scan.kind}{hint}; expected numbers, or dates such as 2024-01-31"
        )
    return to_array(values, scan.column())


def _read_weights(label: str, values: pd.Series) -> Array:
    from pandas.api.types import is_numeric_dtype

    _check_present(label, "sample weight", values)
    if not is_numeric_dtype(values.dtype):
        raise DataError(f"{label}: the sample weight {values.name!r} holds text; expected numbers of at least 0")
    return check_weights(label, values.to_numpy(dtype=np.float64))


def check_weights(label: str, weights: Array) -> Array:
    """Return weights of rows, checked.

    Raises:
        DataError: One is negative or not finite, or all are 0.
    """
    if not np.isfinite(weights).all() or weights.min(initial=0.0) < 0 or not weights.any():
        raise DataError(f"{label}: expected sample weights of at least 0, finite and not all 0")
    return weights


def _check_same_columns(label: str, received: Sequence[str], expected: Sequence[str], *, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in received]
    extra = [name for name in received if name not in expected]
    if missing or extra:
        found = [f"lacks {listing(missing, most=3)}"] * bool(missing) + [f"adds {listing(extra, most=3)}"] * bool(extra)
        raise DataError(f"{label}: expected the columns of the training file, but it {' and '.join(found)}")
