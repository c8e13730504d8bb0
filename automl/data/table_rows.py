"""Tables as frames that are read from the start again and again, and their rows typed column by column."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from automl.data.column_kinds import to_array
from automl.data.raw import ARRAY_FEATURE, Array, Batch
from automl.dataset_spec import Column, ColumnKind

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)

_TEXT_KINDS = (ColumnKind.CATEGORY, ColumnKind.TEXT)


class Table(Protocol):
    """Rows and named columns that can be read from the start again and again."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""

    def chunks(
        self, *, texts: Collection[str] = (), columns: Collection[str] | None = None, whole: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Yield frames of successive rows; `texts` are left as they are written, `columns` None means all."""

    def check_rows(self) -> None:
        """Check that every row has a value or an empty field in each column."""


@dataclass(frozen=True, eq=False)
class FrameTable:
    """A table in memory.

    Attributes:
        frame: Its rows, with different names of columns, all `str`.
        origin: The file that it was read from, or None.
    """

    frame: pd.DataFrame
    origin: Table | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.frame.columns)

    def chunks(
        self, *, texts: Collection[str] = (), columns: Collection[str] | None = None, whole: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Yield all rows in one frame."""
        del texts, whole
        yield self.frame if columns is None else self.frame[[name for name in self.columns if name in columns]]

    def check_rows(self) -> None:
        """Check the file that it was read from."""
        if self.origin is not None:
            self.origin.check_rows()


@dataclass(frozen=True, kw_only=True, eq=False)
class TableRows:
    """Rows of a table that are read and typed at each pass.

    Attributes:
        label: Where they come from, for the warning.
        table: The table.
        columns: The columns to read, typed so.
        as_matrix: Whether they are one matrix of numbers, `ARRAY_FEATURE`.
        count: Number of rows.
    """

    label: str
    table: Table
    columns: tuple[Column, ...]
    as_matrix: bool
    count: int

    def batches(self) -> Iterator[Batch]:
        """Yield every row once. What cannot be read as its column's kind is missing; one warning counts it."""
        strange: dict[str, int] = {}
        names = [column.name for column in self.columns]
        for chunk in self.table.chunks(texts=_kept_texts(self.columns), columns=names):
            yield self._batch(chunk, strange)
        if strange:
            counts = ", ".join(f"{name!r} ({count})" for name, count in strange.items())
            _log.warning("%s: values that are not of their column's kind count as missing: %s", self.label, counts)

    def _batch(self, chunk: pd.DataFrame, strange: dict[str, int]) -> Batch:
        arrays = {column.name: to_array(chunk[column.name], column) for column in self.columns}
        for column in self.columns:
            if column.kind not in _TEXT_KINDS:
                lost = int(np.isnan(arrays[column.name]).sum() - chunk[column.name].isna().sum())
                strange.update({column.name: strange.get(column.name, 0) + lost} if lost else {})
        return {ARRAY_FEATURE: _matrix(arrays, len(chunk))} if self.as_matrix else arrays


def _kept_texts(columns: Sequence[Column]) -> list[str]:
    return [column.name for column in columns if column.kind is not ColumnKind.NUMBER]


def _matrix(arrays: Batch, rows: int) -> Array:
    matrix = np.empty((rows, len(arrays)), np.float64)
    for index, values in enumerate(arrays.values()):
        matrix[:, index] = values
    return matrix
