"""Datasets of images: files in class folders, in a folder or a .zip, decoded batch by batch."""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from automl.data.file_trees import FileTree, LabelledFiles, find_splits
from automl.data.files import listing
from automl.data.raw import ARRAY_FEATURE, UINT8_SCALE, ArrayRows, Batch, GivenSplit, RawDataset, RowSource
from automl.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")

HELD_BYTES = 512 * 2**20
"""Images of more than so many bytes, decoded, are decoded again at each pass."""
_BATCH_BYTES = 8 * 2**20
_PIXEL_BYTES = 4  # what Pillow keeps a colour pixel in
_RESIZED_AREA = 128 * 128
_GREY_MODES = ("1", "L", "LA")
_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclass(frozen=True, kw_only=True)
class ImageRows:
    """Images that are decoded at each pass.

    Attributes:
        tree: Where the files lie.
        names: Their names.
        shape: Shape of one row, (height, width) for grey or (height, width, channels); others are resized.
    """

    tree: FileTree
    names: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.names)

    def batches(self) -> Iterator[Batch]:
        """Yield (n, *shape) uint8.

        Raises:
            DataError: A file cannot be read as an image.
        """
        step = max(1, _BATCH_BYTES // math.prod(self.shape))
        with self.tree.reader() as read:
            for start in range(0, self.count, step):
                names = self.names[start : start + step]
                rows = [_fit(_open(self.tree.path / name, read(name)), self.shape) for name in names]
                yield {ARRAY_FEATURE: np.stack(rows)}


@dataclass(frozen=True)
class _Scanned:
    """The images that can be decoded, their sizes (height, width), and themselves where they are few."""

    files: LabelledFiles
    sizes: tuple[tuple[int, int], ...]
    all_grey: bool
    images: tuple[Image.Image, ...] | None


def load_images(name: str, tree: FileTree, *, given: Mapping[str, FileTree], strict: bool) -> RawDataset:
    """Load images in class folders.

    Args:
        name: The dataset's name.
        tree: Where they lie.
        given: Where those of splits lie that are in a place of their own.
        strict: Refuse files that are no images, instead of skipping them with a warning.

    Raises:
        DataError: The folders are no classes, or files are no images.
    """
    found = find_splits(tree, given, IMAGE_SUFFIXES)
    scans = {split: _scan(where, files, strict=strict) for split, (where, files) in found.items()}
    shape = _common_shape(tree.path, tuple(scans.values()))
    train = scans.pop("train")
    return RawDataset(
        name=name,
        is_array=True,
        row_shape=shape,
        row_dtype=np.dtype(np.uint8),
        train=_rows(tree, train, shape),
        targets={"target": _labels(train)},
        given={
            split: GivenSplit(
                rows=_rows(found[split][0], scanned, shape),
                targets={"target": _labels(scanned)},
                source_hash=given[split].hash() if split in given else "",
            )
            for split, scanned in scans.items()
        },
        content_hash=tree.hash(),
        pixel_scale=UINT8_SCALE,
    )


def _scan(tree: FileTree, files: LabelledFiles, *, strict: bool) -> _Scanned:
    """Decode every image once, because only that tells whether it is whole; keep them while they are few."""
    good: list[tuple[str, str]] = []
    sizes: list[tuple[int, int]] = []
    bad: list[str] = []
    kept: list[Image.Image] = []
    pixels = 0
    all_grey = True
    with tree.reader() as read:
        for name, label in zip(files.names, files.labels, strict=True):
            try:
                image = _open(tree.path / name, read(name))
            except DataError as error:
                _log.debug("%s", error)
                bad.append(name)
                continue
            good.append((name, label))
            sizes.append((image.height, image.width))
            all_grey = all_grey and image.mode in _GREY_MODES
            pixels += image.height * image.width
            kept.append(image)
            if _PIXEL_BYTES * pixels > HELD_BYTES:
                kept.clear()
    _report_bad(tree.path, bad, good=len(good), strict=strict)
    names, labels = zip(*good, strict=True)
    images = tuple(kept) if len(kept) == len(good) else None
    return _Scanned(LabelledFiles(names=names, labels=labels), tuple(sizes), all_grey, images)


def _report_bad(path: Path, bad: Sequence[str], *, good: int, strict: bool) -> None:
    if not bad:
        return
    found = f"{len(bad)} of {len(bad) + good} files cannot be read as images: {listing(bad, most=3)}"
    if strict or not good:
        raise DataError(f"{path}: {found}; mend or remove them")
    _log.warning("%s: %s; they are skipped", path, found)


def _common_shape(path: Path, scanned: Sequence[_Scanned]) -> tuple[int, ...]:
    sizes = scanned[0].sizes  # given splits have no say in the size
    height, width = (int(np.median(side)) for side in zip(*sizes, strict=True))
    if any(size != sizes[0] for part in scanned for size in part.sizes):
        scale = min(1.0, math.sqrt(_RESIZED_AREA / (height * width)))
        height, width = max(1, int(height * scale)), max(1, int(width * scale))
        capped = ", at most the area of 128 x 128" if scale < 1 else ""
        _log.warning("%s: images differ in size; all are resized to %d x %d%s", path, height, width, capped)
    return (height, width) if scanned[0].all_grey else (height, width, 3)


def _rows(tree: FileTree, scanned: _Scanned, shape: tuple[int, ...]) -> RowSource:
    rows = ImageRows(tree=tree, names=scanned.files.names, shape=shape)
    if rows.count * math.prod(shape) > HELD_BYTES:
        return rows
    if scanned.images is not None:
        return ArrayRows({ARRAY_FEATURE: np.stack([_fit(image, shape) for image in scanned.images])})
    held = np.empty((rows.count, *shape), np.uint8)
    start = 0
    for batch in rows.batches():
        held[start : start + len(batch[ARRAY_FEATURE])] = batch[ARRAY_FEATURE]
        start += len(batch[ARRAY_FEATURE])
    return ArrayRows({ARRAY_FEATURE: held})


def _labels(scanned: _Scanned) -> npt.NDArray[np.str_]:
    return np.array(scanned.files.labels, dtype=np.str_)


def _fit(image: Image.Image, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image in that shape."""
    image = image.convert(_CHANNELS[shape[2] if len(shape) == 3 else 1])
    if image.size != (shape[1], shape[0]):
        image = image.resize((shape[1], shape[0]))
    pixels: npt.NDArray[np.uint8] = np.asarray(image, dtype=np.uint8).reshape(shape)
    return pixels


def _open(path: Path, content: bytes) -> Image.Image:
    """Decode an image, turned as its camera says; 16 bits a pixel become 8."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content))
            opened.load()
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
            return image.convert("RGBA") if "transparency" in image.info else image
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:  # Pillow raises any of these for damaged files
        reason = " ".join(str(error).split())
        raise DataError(f"{path} cannot be read as an image ({reason}); mend or remove it") from error
