"""Files in a folder or in a .zip, seen alike: sorted names, and the bytes of each. Nothing is ever extracted.

Also the layouts that datasets have there: `class/file`, and `train/class/file` beside `validation/class/file` and
`test/class/file`, or one of them.
"""

from __future__ import annotations

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from automl.data.files import check_given_once, hash_file, listing, malformed, unreadable
from automl.data.raw import SPLIT_NAMES
from automl.errors import DataError

_log = logging.getLogger(__name__)

_SPLIT_OF = {folder: split for split, folders in SPLIT_NAMES.items() for folder in folders}
_UNLABELLED = ("unsup",)  # reviews without an opinion, beside those of IMDB


class Reader(Protocol):
    """Reads files of an opened tree."""

    def __call__(self, name: str) -> bytes:
        """Return the bytes of one file."""


@dataclass(frozen=True, kw_only=True)
class FileTree:
    """A folder or a .zip.

    Attributes:
        path: The folder or the .zip.
        names: Relative names of its files with slashes, sorted; hidden ones are left out.
    """

    path: Path
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: Path) -> FileTree:
        """List the files.

        Raises:
            DataError: The archive is malformed, or an entry's name leads out of it.
        """
        names = _folder_names(path) if path.is_dir() else _zip_names(path)
        return cls(path=path, names=tuple(sorted(name for name in names if not _is_hidden(name))))

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Open the tree for reading files by name.

        Raises:
            DataError: A file cannot be read, or its bytes in the archive are damaged.
        """
        if self.path.is_dir():
            yield lambda name: _read_file(self.path / name)
            return
        with _open_zip(self.path) as archive:
            yield lambda name: _read_entry(self.path, archive, name)

    def with_suffix(self, suffixes: Collection[str]) -> tuple[str, ...]:
        """Return the names that end in one of the suffixes, in any case."""
        return tuple(name for name in self.names if PurePosixPath(name).suffix.lower() in suffixes)

    def hash(self) -> str:
        """Return the SHA-256, hexadecimal, of all names and contents."""
        if not self.path.is_dir():
            return hash_file(self.path)
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name}\0{hash_file(self.path / name)}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class LabelledFiles:
    """Files and the class that each belongs to, in the same order.

    Attributes:
        names: Names of the files.
        labels: Names of their classes.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]


def find_splits(
    tree: FileTree, given: Mapping[str, FileTree], suffixes: Collection[str]
) -> dict[str, tuple[FileTree, LabelledFiles]]:
    """Find the files to train on (first), and those of each split that is given, with the class of each.

    Args:
        tree: Where the dataset lies, perhaps with splits of its own.
        given: Where splits lie that are in a place of their own.
        suffixes: What names of files end in.

    Raises:
        DataError: There are no class folders, only one to train on, or a split is given twice.
    """
    own = _split_by_layout(tree.path, tree.with_suffix(suffixes))
    check_given_once(tree.path, {split: f"the folder {split}" for split in own}, given)
    others = {split: (other, _all_labelled(other.path, other.with_suffix(suffixes))) for split, other in given.items()}
    return {split: (tree, files) for split, files in own.items()} | others


def _split_by_layout(path: Path, names: Sequence[str]) -> dict[str, LabelledFiles]:
    parts = _unwrap({name: PurePosixPath(name).parts for name in names})
    tops = {where[0].lower() for where in parts.values()}
    splits = {"train": parts}
    if tops <= set(_SPLIT_OF) and not tops <= set(SPLIT_NAMES["test"]):
        splits = {split: {} for split in SPLIT_NAMES}
        for name, where in parts.items():
            splits[_SPLIT_OF[where[0].lower()]][name] = where[1:]
    files = {
        split: _labelled(path, inside, fewest_classes=2 if split == "train" else 1)
        for split, inside in splits.items()
        if inside or split == "train"
    }
    _warn_of_loose(path, names, files.values())
    return files


def _all_labelled(path: Path, names: Sequence[str]) -> LabelledFiles:
    return _labelled(path, _unwrap({name: PurePosixPath(name).parts for name in names}), fewest_classes=1)


def _warn_of_loose(path: Path, names: Sequence[str], parts: Iterable[LabelledFiles]) -> None:
    used = {name for part in parts for name in part.names}
    loose = [name for name in names if name not in used]
    if loose:
        _log.warning("%s: left out %d files in no class folder: %s", path, len(loose), listing(loose, most=3))


def _unwrap(parts: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Drop leading folders that all files share, but not the one of a class; and files outside all folders."""
    inside = {name: where for name, where in parts.items() if len(where) > 1}
    while len({where[0] for where in inside.values()}) == 1 and max(map(len, inside.values())) > 2:
        inside = {name: where[1:] for name, where in inside.items() if len(where) > 2}
    return inside


def _labelled(path: Path, parts: Mapping[str, tuple[str, ...]], *, fewest_classes: int) -> LabelledFiles:
    inside = {name: where[0] for name, where in parts.items() if len(where) > 1 and where[0] not in _UNLABELLED}
    classes = sorted(set(inside.values()))
    if len(classes) < fewest_classes:
        found = f"only {classes[0]!r}" if classes else "none"
        raise DataError(
            f"{path}: expected a folder for each class, such as cat/1.png and dog/2.png, perhaps within train/, "
            f"validation/ and test/; found {found}"
        )
    return LabelledFiles(names=tuple(inside), labels=tuple(inside.values()))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _folder_names(path: Path) -> list[str]:
    return [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]


def _zip_names(path: Path) -> list[str]:
    with _open_zip(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    for name in names:
        where = name.replace("\\", "/")
        if where.startswith("/") or ".." in where.split("/") or ":" in where.split("/")[0]:
            raise DataError(f"{path}: the entry {name!r} leads out of the archive; expected relative names without ..")
    return names


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise malformed(path, ".zip", error) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise malformed(path, ".zip", error) from error
    except OSError as error:
        raise unreadable(path, error) from error
