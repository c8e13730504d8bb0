"""What all files share: whether they are there, their hash, and the `DataError` for what is wrong. Reads .npz."""

from __future__ import annotations

import difflib
import hashlib
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from automl.data.raw import GIVEN_SPLITS, Array
from automl.errors import DataError

ARRAY_KEYS = tuple(f"{axis}_{split}" for split in ("train", *GIVEN_SPLITS) for axis in "xy")

FILE_KINDS = (
    "a table (.csv, .tsv or .txt, also .gz; .parquet), arrays (.npz), IDX files, or a folder or .zip of images or texts"
)
"""The kinds of files and folders that `load` reads, for errors and help."""

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


def _check_keys(path: Path, keys: Iterable[str]) -> None:
    missing = [key for key in ("x_train", "y_train") if key not in keys]
    if missing:
        raise DataError(
            f"{path} has no {' and no '.join(missing)}; it has {listing(sorted(keys)) or 'no arrays'}; "
            "expected x_train and y_train, and perhaps x_test and y_test"
        )


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
