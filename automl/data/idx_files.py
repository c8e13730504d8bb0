"""IDX files, as MNIST is distributed: magic number, dimensions, values; plain or gzipped."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from automl.data.files import check_given_once, hash_file, malformed, unreadable
from automl.data.raw import GIVEN_SPLITS, Array, RawDataset, raw_from_arrays
from automl.data.text_files import open_bytes
from automl.errors import DataError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MARKS = ("-idx", ".idx")
_PREFIXES = {"train": "train", "validation": "validation", "test": "t10k"}
"""What names of files start with, a prefix a split."""


def is_idx(path: Path) -> bool:
    """Return True when a file is named like an IDX file."""
    return any(mark in path.name for mark in _MARKS) and "ubyte" in path.name


def has_idx(folder: Path) -> bool:
    """Return True where a folder holds images of any split in an IDX file."""
    return any(find_idx(folder, prefix, "images") is not None for prefix in _PREFIXES.values())


def find_idx(folder: Path, part: str, what: str) -> Path | None:
    """Return the file of a folder such as `train-images-idx3-ubyte.gz`, or None.

    Args:
        folder: The folder.
        part: `"train"` or `"t10k"`.
        what: `"images"` or `"labels"`.
    """
    found = [path for path in sorted(folder.glob(f"{part}-{what}*")) if is_idx(path)]
    return found[0] if found else None


def load_idx(path: Path, *, given: Mapping[str, Path]) -> RawDataset:
    """Load a folder of the four usual files, or an images file whose labels lie beside it.

    Args:
        path: The folder, or the images file.
        given: The same for splits in a place of their own.

    Raises:
        DataError: A file is missing or malformed.
    """
    images, labels = _pair(path, "train")
    own = _own_splits(path)
    check_given_once(path, {split: f"{_PREFIXES[split]}-images" for split in own}, given)
    others = {split: _pair(other, _PREFIXES[split]) for split, other in given.items()}
    return raw_from_arrays(
        path.name.split(".")[0] if path.is_file() else path.resolve().name,
        read_idx(images),
        read_idx(labels),
        given={split: (read_idx(pair[0]), read_idx(pair[1])) for split, pair in (own | others).items()},
        content_hash=_hash(images, labels, *chain(*own.values())),
        source_hashes={split: _hash(*pair) for split, pair in others.items()},
    )


def read_idx(path: Path) -> Array:
    """Return the array of an IDX file, in the machine's byte order.

    Raises:
        DataError: The file is malformed.
    """
    try:
        with open_bytes(path) as file:
            content = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise malformed(path, "gzip", error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES or not content[3]:
        raise DataError(f"{path} is not an IDX file: its magic number is 0x{content[:4].hex()}; expected 0x0000TTDD")
    dtype, dimensions = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:start].ljust(4 * dimensions, b"\0"), ">u4"))
    if len(content) != start + math.prod(shape) * dtype.itemsize:
        raise DataError(
            f"{path} has {len(content)} bytes, but its header says {shape} of {dtype.newbyteorder('=')}, "
            f"{start + math.prod(shape) * dtype.itemsize} bytes; fetch or save it again"
        )
    values: Array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _pair(path: Path, part: str) -> tuple[Path, Path]:
    images = _images_of(path, part)
    marks = images.name.replace("images", "labels").replace("idx3", "idx1")
    names = [marks, marks.removesuffix(".gz"), f"{marks}.gz"]
    labels = next((images.with_name(name) for name in names if images.with_name(name).is_file()), None)
    if labels is None or labels == images:
        raise DataError(f"{images}: expected its labels beside it, in {names[1]!r}; found no such file")
    return images, labels


def _images_of(path: Path, part: str) -> Path:
    if path.is_file():
        return path
    found = find_idx(path, part, "images") or find_idx(path, "train", "images")
    if found is None:
        raise DataError(f"{path}: expected {part}-images-idx3-ubyte or the same with .gz; found no such file")
    return found


def _own_splits(path: Path) -> dict[str, tuple[Path, Path]]:
    if path.is_file():
        return {}
    prefixes = {split: _PREFIXES[split] for split in GIVEN_SPLITS}
    return {split: _pair(path, one) for split, one in prefixes.items() if find_idx(path, one, "images") is not None}


def _hash(*paths: Path) -> str:
    return hashlib.sha256("".join(hash_file(path) for path in paths).encode()).hexdigest()
