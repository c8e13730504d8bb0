"""Files that hold a table: which they are, and opening them as a `Table`, in memory where they are small."""

from __future__ import annotations

from pathlib import Path

from automl.data.csv_files import CsvTable
from automl.data.parquet_files import ParquetTable
from automl.data.table_rows import FrameTable, Table

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")

HELD_BYTES = 256 * 2**20
"""The text of a larger file is not held in memory."""


def table_suffix(path: Path) -> str:
    """Return a file's suffix in lower case, without a last `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def open_table(path: Path, *, encoding: str | None = None, fewest_columns: int = 2) -> Table:
    """Open a delimited text or Parquet file.

    Args:
        path: The file.
        encoding: Encoding of a text file; guessed if None.
        fewest_columns: How many columns it must have.

    Raises:
        DataError: The file is malformed.
    """
    table = (
        ParquetTable.open(path)
        if table_suffix(path) == ".parquet"
        else CsvTable.open(path, encoding=encoding, fewest_columns=fewest_columns)
    )
    if table.nbytes > HELD_BYTES:
        return table
    return FrameTable(next(table.chunks(whole=True)), origin=table)
