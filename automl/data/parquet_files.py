"""Tables in Parquet files, read whole or batch by batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl.data.files import listing, malformed, unreadable
from automl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_BATCH_ROWS = 65_536
_BATCH_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class ParquetTable:
    """A Parquet file.

    Attributes:
        path: The file.
        columns: Names of all its columns.
        nbytes: Size of its columns, decompressed.
        rows: Number of its rows.
    """

    path: Path
    columns: tuple[str, ...]
    nbytes: int
    rows: int

    @classmethod
    def open(cls, path: Path) -> ParquetTable:
        """Read a file's schema.

        Raises:
            DataError: The file is malformed, or a column holds what a table of features cannot.
        """
        with _open(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            columns = tuple(schema.names)
            twice = sorted({name for name in columns if columns.count(name) > 1})
            if twice:
                raise DataError(f"{path} names more than one column {listing(twice)}; expected different names")
            _check_types(path, schema)
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            size = sum(group.total_byte_size for group in groups)
            return cls(path=path, columns=columns, nbytes=size, rows=metadata.num_rows)

    def chunks(
        self, *, texts: Collection[str] = (), columns: Collection[str] | None = None, whole: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Yield frames of successive rows; the file knows the dtypes, so that `texts` is not needed.

        Raises:
            DataError: The file is malformed.
        """
        del texts
        wanted = None if columns is None else [name for name in self.columns if name in columns]
        fitting = max(1, _BATCH_BYTES * max(1, self.rows) // max(1, self.nbytes))
        with _open(self.path) as file:
            try:
                if whole:
                    yield _to_frame(file.read(columns=wanted))
                else:
                    for batch in file.iter_batches(min(_BATCH_ROWS, fitting), columns=wanted):
                        yield _to_frame(batch)
            except OSError as error:
                raise malformed(self.path, ".parquet", error) from error

    def check_rows(self) -> None:
        """Do nothing: rows of a Parquet file are whole."""


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise malformed(path, ".parquet", error) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _check_types(path: Path, schema: Any) -> None:
    others = [f"{field.name!r} ({field.type})" for field in schema if not _is_usable(field.type)]
    if others:
        raise DataError(
            f"{path}: expected columns of numbers, booleans, dates or text, received {', '.join(others[:3])}; "
            "drop or convert them"
        )


def _is_usable(arrow_type: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    tests = (
        types.is_integer,
        types.is_floating,
        types.is_decimal,
        types.is_boolean,
        types.is_date,
        types.is_timestamp,
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_null,
    )
    return any(test(arrow_type) for test in tests)


def _to_frame(table: Any) -> pd.DataFrame:
    """Convert rows to pandas; decimals become floats, and dates timestamps, which pandas has dtypes for."""
    import pyarrow as pa
    from pyarrow import types

    columns = []
    for column in table.columns:
        if types.is_decimal(column.type):
            column = column.cast(pa.float64())
        elif types.is_date(column.type):
            column = column.cast(pa.timestamp("s" if types.is_date32(column.type) else "ms"))
        columns.append(column)
    frame: pd.DataFrame = pa.table(columns, names=table.schema.names).to_pandas(ignore_metadata=True)
    return frame
