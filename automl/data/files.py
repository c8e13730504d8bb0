"""What all files share: whether they are there, their hash, and the `DataError` for what is wrong. Reads .npz."""

from __future__ import annotations

import difflib
import hashlib
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from automl.data.raw import SPLIT_NAMES, Array
from automl.errors import DataError

FILE_KINDS = (
    "a table (.csv, .tsv or .txt, also .gz; .parquet), arrays (.npz), IDX files, or a folder or .zip of images or texts"
)
"""The kinds of files and folders that `load` reads, for errors and help."""

_ARRAY_NAMES = {
    f"{axis}_{split}": [f"{axis}_{name}" for name in names] for split, names in SPLIT_NAMES.items() for axis in "xy"
}

LISTED_NAMES = 30
"""How many names an error lists at most."""


def check_path(path: Path) -> None:
    """Check that there is a folder, or a regular file with something in it.

    Raises:
        DataError: There is not.
    """
    if not path.exists():
        raise DataError(f"no file {str(path)!r}{_nearest_file(path)} expected the path of {FILE_KINDS}")
    if path.is_dir():
        return
    if not path.is_file():
        raise DataError(f"{path} is not a regular file; expected {FILE_KINDS}")
    if not path.stat().st_size:
        raise DataError(f"{path} is empty; expected {FILE_KINDS}, with data")


def hash_file(path: Path) -> str:
    """Return the SHA-256, hexadecimal, of a file's bytes.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def check_given_once(path: Path, own: Mapping[str, str], given: Collection[str]) -> None:
    """Check that no split that a source has of its own is given beside it, as by `--test`.

    Args:
        path: The source.
        own: The splits that it has, and what each is called there.
        given: The splits that are given beside it.

    Raises:
        DataError: One is.
    """
    for part, what in own.items():
        if part in given:
            raise DataError(f"{path} has a {part} split of its own ({what}); leave out --{part}, or drop that split")


def read_npz(path: Path) -> Mapping[str, Array]:
    """Return x and y of each split that an .npz file has, such as `x_train` and `y_train`; unpickle nothing.

    Raises:
        DataError: The file is malformed, holds objects, has an array under two names, or no `x_train` or `y_train`.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an .npz file, or is cut off; expected what numpy.savez writes")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[name] for key, name in _find_arrays(path, archive.files).items()}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} holds Python objects, which are not unpickled; save numbers, labels also as text"
            ) from error
        raise malformed(path, ".npz", error) from error


def listing(names: Sequence[str], *, most: int = LISTED_NAMES) -> str:
    """Return quoted names, separated by commas, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _find_arrays(path: Path, names: Collection[str]) -> dict[str, str]:
    """Return the names of arrays by what we call them, such as `x_val` by `x_validation`."""
    found: dict[str, str] = {}
    for key, others in _ARRAY_NAMES.items():
        there = [name for name in others if name in names]
        if len(there) > 1:
            raise DataError(f"{path} has {' and '.join(there)}, which mean the same; expected one of them")
        if there:
            found[key] = there[0]
    missing = [key for key in ("x_train", "y_train") if key not in found]
    if missing:
        raise DataError(
            f"{path} has no {' and no '.join(missing)}; it has {listing(sorted(names)) or 'no arrays'}; "
            "expected x_train and y_train, and perhaps x_validation, y_validation, x_test and y_test"
        )
    return found


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {str(path.parent)!r};"
    nearest = difflib.get_close_matches(path.name, [sibling.name for sibling in path.parent.iterdir()], n=1)
    return f"; did you mean {str(path.with_name(nearest[0]))!r}?" if nearest else ";"


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system does not let us read."""
    return DataError(f"{path} cannot be read ({error.strerror or error}); expected a readable file")


def malformed(path: Path, kind: str, error: Exception) -> DataError:
    """Return the error for a file whose content is not of its kind, such as `".csv"`."""
    reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
    return DataError(
        f"{path} is not a well-formed {kind} file: {reason or type(error).__name__}; mend or save it again"
    )
