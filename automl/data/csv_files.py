"""Tables in text files: delimiter, header and widths of rows, read whole or chunk by chunk."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl.data.files import listing, malformed, unreadable
from automl.data.text_files import find_encoding, is_gzip, not_text, open_bytes, read_sample
from automl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

_CHUNK_BYTES = 16 * 2**20
_GZIP_RATIO = 5  # a guess at how many times larger a gzipped table is
_SNIFFED_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class CsvTable:
    """A delimited text file with a header line.

    Attributes:
        path: The file, gzipped or not.
        encoding: Its text encoding.
        delimiter: What separates its fields.
        columns: Names of all its columns.
        row_bytes: Mean size of a row, from the first ones.
    """

    path: Path
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    row_bytes: int

    @classmethod
    def open(cls, path: Path, *, encoding: str | None = None, fewest_columns: int = 2) -> CsvTable:
        """Find a file's encoding, delimiter and header.

        Raises:
            DataError: The file is not such a table.
        """
        sample = read_sample(path)
        encoding = find_encoding(path, sample, encoding)
        delimiter = _find_delimiter(sample.decode(encoding, errors="replace"))
        columns = _read_header(path, encoding, delimiter, fewest_columns)
        return cls(
            path=path,
            encoding=encoding,
            delimiter=delimiter,
            columns=columns,
            row_bytes=max(1, len(sample) // (sample.count(b"\n") + 1)),
        )

    @property
    def nbytes(self) -> int:
        """Size of the text, decompressed; a guess where it is gzipped."""
        return self.path.stat().st_size * (_GZIP_RATIO if is_gzip(self.path) else 1)

    def chunks(
        self, *, texts: Collection[str] = (), columns: Collection[str] | None = None, whole: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Yield frames of successive rows.

        Args:
            texts: Columns to leave as they are written; pandas finds the dtypes of the others, chunk by chunk.
            columns: The columns to read; None for all.
            whole: Yield all rows in one frame.

        Raises:
            DataError: The file is malformed.
        """
        import pandas as pd

        # pandas takes a first row that is too long for an index in silence
        self._check_widths(most_rows=2)
        options: dict[str, Any] = {} if whole else {"chunksize": max(1, _CHUNK_BYTES // self.row_bytes)}
        try:
            read = pd.read_csv(
                self.path,
                sep=self.delimiter,
                header=0,
                names=list(self.columns),
                usecols=None if columns is None else [name for name in self.columns if name in columns],
                dtype=dict.fromkeys(texts, "str"),
                skipinitialspace=self.delimiter != "\t",
                low_memory=False,
                encoding=self.encoding,
                compression="gzip" if is_gzip(self.path) else None,
                **options,
            )
            if whole:
                yield read
            else:
                with read as reader:
                    yield from reader
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise malformed(self.path, "gzip", error) from error
        except OSError as error:
            raise unreadable(self.path, error) from error
        except UnicodeDecodeError as error:
            raise not_text(self.path, self.encoding) from error
        except ValueError as error:  # pandas' own errors are ValueErrors
            raise malformed(self.path, ".csv", error) from error

    def check_rows(self) -> None:
        """Check that no row is short: pandas fills them in silence.

        Raises:
            DataError: One is, with its line.
        """
        self._check_widths(most_rows=None)

    def _check_widths(self, *, most_rows: int | None) -> None:
        width = len(self.columns)
        for line, row in islice(_rows(self.path, self.encoding, self.delimiter), most_rows):
            if len(row) != width:
                raise DataError(
                    f"{self.path}: line {line} has {len(row)} fields, but the header has {width}; expected as many"
                )


def _find_delimiter(sample: str) -> str:
    """Return the delimiter that splits the first rows into most columns, and into as many in each."""

    def fit(delimiter: str) -> tuple[bool, float, int]:
        rows = [row for row in _parsed(sample.splitlines(keepends=True), delimiter) if row not in ([], [""])]
        widths = [len(row) for row in rows]
        if not widths:
            return False, 0.0, 0
        return widths[0] > 1, widths.count(widths[0]) / len(widths), widths[0]

    return max(DELIMITERS, key=fit)


def _parsed(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        return list(islice(csv.reader(lines, delimiter=delimiter, skipinitialspace=True), _SNIFFED_ROWS))
    except csv.Error:  # said with its line when the file itself is read
        return []


def _read_header(path: Path, encoding: str, delimiter: str, fewest_columns: int) -> tuple[str, ...]:
    columns = next((row for _, row in _rows(path, encoding, delimiter)), [])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path} names more than one column {listing(twice)}; expected different names")
    if len(columns) < fewest_columns:
        found = f"found only {columns[0]!r}" if columns else "found none"
        raise DataError(
            f"{path} needs a header line with at least two names separated by {', '.join(DELIMITERS.values())} "
            f"(each was tried); {found}"
        )
    return tuple(columns)


def _rows(path: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of every line that is not blank, as Python's own reader sees them."""
    try:
        with open_bytes(path) as binary, io.TextIOWrapper(binary, encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
            yield from ((reader.line_num, row) for row in reader if row not in ([], [""]))
    except UnicodeDecodeError as error:
        raise not_text(path, encoding) from error
    except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise malformed(path, ".csv", error) from error
    except OSError as error:
        raise unreadable(path, error) from error
