"""Reading one .npz or .csv file into arrays; every way it can be malformed becomes one clear `DataError`."""

from __future__ import annotations

import csv
import difflib
import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from automl.data.raw import Array
from automl.errors import DataError, UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

ARRAY_KEYS = ("x_train", "y_train", "x_test", "y_test")

_LISTED_NAMES = 30
_ENCODING = "utf-8-sig"  # spreadsheets write a byte order mark


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A numeric table and its target.

    Attributes:
        columns: Names of the feature columns.
        x: Shape (rows, columns), numbers; missing cells are NaN.
        y: Shape (rows,), numbers, booleans or strings, none missing.
    """

    columns: tuple[str, ...]
    x: Array
    y: Array


def check_file(path: Path) -> None:
    """Check that there is a regular, readable file with something in it.

    Raises:
        DataError: There is not.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; expected a .npz or .csv file, give the path of one")
    if not path.exists():
        raise DataError(f"no file {str(path)!r}{_nearest_file(path)} expected the path of a .npz or .csv file")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file; expected a .npz or .csv file")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; expected a .npz or .csv file with data")


def hash_file(path: Path) -> str:
    """Return the SHA-256, hexadecimal, of a file's bytes.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_npz(path: Path) -> Mapping[str, Array]:
    """Return those of `ARRAY_KEYS` that an .npz file has, `x_train` and `y_train` at least; unpickle nothing.

    Raises:
        DataError: The file is malformed, holds objects, or lacks `x_train` or `y_train`.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an .npz file, or is cut off; expected what numpy.savez writes")
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_keys(path, archive.files)
            return {key: archive[key] for key in ARRAY_KEYS if key in archive.files}
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects, which are not unpickled; save numbers, labels also as text"
            ) from error
        raise _malformed(path, ".npz", error) from error


def read_csv(path: Path, *, target: str | None) -> Table:
    """Read a numeric table with a header line.

    Args:
        path: A comma-separated file in UTF-8.
        target: Name of the target column.

    Raises:
        DataError: No target is named, the file is malformed, the target has missing values, or a feature is
            not numeric.
        UnknownNameError: No column has the target's name.
    """
    columns = _read_header(path)
    if target is None:
        raise DataError(f"{path}: which column is the target? give --target COLUMN, one of: {listing(columns)}")
    _check_target_name(target, columns)
    frame = _parse_csv(path, columns)
    features = frame.drop(columns=target)
    _check_numeric(path, features)
    return Table(columns=tuple(features.columns), x=_feature_array(features), y=_target_array(path, frame[target]))


def listing(names: Sequence[str], *, most: int = _LISTED_NAMES) -> str:
    """Return quoted names, separated by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _check_keys(path: Path, keys: Iterable[str]) -> None:
    missing = [key for key in ("x_train", "y_train") if key not in keys]
    if missing:
        raise DataError(
            f"{path} has no {' and no '.join(missing)}; it has {listing(sorted(keys)) or 'no arrays'}; "
            "expected x_train and y_train, and perhaps x_test and y_test"
        )


def _read_header(path: Path) -> tuple[str, ...]:
    columns = next((row for _, row in _rows(path)), [])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path} names more than one column {listing(twice)}; expected different names")
    if len(columns) < 2:
        found = f"found only {columns[0]!r}" if columns else "found none"
        raise DataError(f"{path} needs a header line with at least two names separated by commas; {found}")
    return tuple(columns)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and fields of every line that is not blank, as Python's own reader sees them."""
    try:
        with path.open(newline="", encoding=_ENCODING) as file:
            reader = csv.reader(file, skipinitialspace=True)
            yield from ((reader.line_num, row) for row in reader if row not in ([], [""]))
    except OSError as error:
        raise _unreadable(path, error) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise _malformed(path, ".csv", error) from error


def _check_target_name(target: str, columns: Sequence[str]) -> None:
    if target in columns:
        return
    if len(columns) <= _LISTED_NAMES:
        raise UnknownNameError("target column", target, columns)
    nearest = difflib.get_close_matches(target, columns, n=3) or columns[:3]
    raise UnknownNameError("target column", target, nearest, also=f"and {len(columns) - len(nearest)} more columns")


def _parse_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    # pandas takes a first row that is too long for an index, and fills short rows with NaN: both in silence
    _check_widths(path, len(columns), most_rows=2)
    try:
        frame = pd.read_csv(
            path, header=0, names=list(columns), skipinitialspace=True, low_memory=False, encoding=_ENCODING
        )
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # pandas' own errors are ValueErrors, and so is a UnicodeDecodeError
        raise _malformed(path, ".csv", error) from error
    if not len(frame):
        raise DataError(f"{path} has a header line but no rows; expected at least ten")
    if frame.isna().to_numpy().any():
        _check_widths(path, len(columns))
    return frame


def _check_widths(path: Path, width: int, *, most_rows: int | None = None) -> None:
    for line, row in islice(_rows(path), most_rows):
        if len(row) != width:
            raise DataError(f"{path}: line {line} has {len(row)} fields, but the header has {width}; expected as many")


def _check_numeric(path: Path, features: pd.DataFrame) -> None:
    from pandas.api.types import is_numeric_dtype

    others = [str(name) for name, dtype in features.dtypes.items() if not is_numeric_dtype(dtype)]
    if others:
        raise DataError(
            f"{path}: expected only numbers as features, received text in {listing(others, most=3)}; "
            "numbers and true/false work now, categories will come later: encode or drop these columns"
        )


def _feature_array(features: pd.DataFrame) -> Array:
    common = np.result_type(*(np.dtype(str(dtype)) for dtype in features.dtypes))
    array: Array = features.to_numpy(dtype=common)
    return array


def _target_array(path: Path, column: pd.Series) -> Array:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    missing = int(column.isna().sum())
    if missing:
        count = "every row" if missing == len(column) else f"{missing} of {len(column)} rows"
        raise DataError(
            f"{path}: the target {column.name!r} is missing in {count} (empty, NA, NaN, None or null); "
            "expected a value in each: fill or drop those rows"
        )
    if is_bool_dtype(column.dtype) or is_numeric_dtype(column.dtype):
        numbers: Array = column.to_numpy()
        return numbers
    return np.array([str(value) for value in column], dtype=np.str_)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {str(path.parent)!r};"
    nearest = difflib.get_close_matches(path.name, [sibling.name for sibling in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.with_name(nearest[0]))!r}?" if nearest else ";"


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror or error}); expected a readable file")


def _malformed(path: Path, kind: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    return DataError(
        f"{path} is not a well-formed {kind} file: {reason or type(error).__name__}; mend or save it again"
    )
