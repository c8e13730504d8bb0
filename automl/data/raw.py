"""`RawDataset`: a dataset as its source holds it, before any split or encoding, and its identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.errors import DataError

Array: TypeAlias = npt.NDArray[Any]

UINT8_SCALE = 255.0
_NUMERIC_KINDS = "biuf"
_CHANNELS = (1, 3, 4)


def is_image(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> bool:
    """Return True when rows are images: uint8 (height, width), or anything (height, width, 1, 3 or 4)."""
    grey = len(row_shape) == 2 and dtype == np.uint8
    return grey or (len(row_shape) == 3 and row_shape[-1] in _CHANNELS)


@dataclass(frozen=True, kw_only=True, eq=False)
class RawDataset:
    """A dataset as its source holds it, in the source's own dtypes.

    Attributes:
        name: The dataset's name.
        x_train: Features, shape (rows, ...), numbers or booleans.
        y_train: Targets, shape (rows,) or (rows, targets).
        x_test: Features of a given test split, with rows shaped as those of `x_train`, or None.
        y_test: Targets of a given test split, or None.
        columns: Names of the feature columns, where the source has names; otherwise empty.
        target: Name of the target.
        content_hash: SHA-256, hexadecimal, of the source's bytes.
        test_hash: The same of a test split that came from a source of its own; otherwise empty.
        pixel_scale: The largest value that a pixel can have, where values are pixel intensities; else None.

    Raises:
        DataError: The arrays do not fit together.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array | None = None
    y_test: Array | None = None
    columns: tuple[str, ...] = ()
    target: str = "target"
    content_hash: str
    test_hash: str = ""
    pixel_scale: float | None = None

    def __post_init__(self) -> None:
        """Check that the arrays fit together."""
        self._check_part("train", self.x_train, self.y_train)
        if self.x_test is not None and self.y_test is not None:
            self._check_part("test", self.x_test, self.y_test)
            self._check_test(self.x_test, self.y_test)
        elif self.x_test is not None or self.y_test is not None:
            missing = "x_test" if self.x_test is None else "y_test"
            raise DataError(f"{self.name}: a test split is x_test and y_test together; {missing} is missing, add it")

    def _check_part(self, part: str, x: Array, y: Array) -> None:
        if x.dtype.kind not in _NUMERIC_KINDS:
            raise DataError(f"{self.name}: x_{part} must hold numbers, received dtype {x.dtype}; convert it first")
        if x.ndim < 2 or 0 in x.shape[1:]:
            advice = "; for a single feature use x.reshape(-1, 1)" if x.ndim == 1 else ""
            raise DataError(f"{self.name}: x_{part} must have shape (rows, features, ...), received {x.shape}{advice}")
        if y.ndim == 0 or len(x) != len(y):
            rows = len(y) if y.ndim else "no"
            raise DataError(f"{self.name}: x_{part} has {len(x)} rows but y_{part} has {rows}; expected as many")

    def _check_test(self, x_test: Array, y_test: Array) -> None:
        for part, train, test in (("x", self.x_train, x_test), ("y", self.y_train, y_test)):
            if _row_shape(part, train) != _row_shape(part, test):
                raise DataError(
                    f"{self.name}: a row of {part}_test has shape {test.shape[1:]}, but of {part}_train "
                    f"{train.shape[1:]}; expected the same"
                )
        if self.pixel_scale is not None and x_test.dtype != self.x_train.dtype:
            raise DataError(
                f"{self.name}: the pixels of x_test are {x_test.dtype}, but those of x_train "
                f"{self.x_train.dtype}; expected the same type and range"
            )
        if not len(x_test):
            raise DataError(f"{self.name}: the test split has no rows; expected at least one")


def raw_from_arrays(
    name: str,
    x_train: Array,
    y_train: Array,
    x_test: Array | None = None,
    y_test: Array | None = None,
    *,
    columns: tuple[str, ...] = (),
    target: str = "target",
    pixel_scale: float | None = None,
    content_hash: str | None = None,
    test_hash: str = "",
) -> RawDataset:
    """Make a `RawDataset` of arrays: the arrays are their own identity, and uint8 images are scaled by 255.

    Args:
        name: The dataset's name.
        x_train: Shape (rows, ...).
        y_train: Shape (rows,) or (rows, targets).
        x_test: A given test split, or None.
        y_test: A given test split, or None.
        columns: Names of the feature columns.
        target: Name of the target.
        pixel_scale: The largest value that a pixel can have; found for uint8 images.
        content_hash: SHA-256 of the source; of the arrays themselves where None.
        test_hash: SHA-256 of the test split's own source.

    Raises:
        DataError: The arrays do not fit together.
    """
    if pixel_scale is None and x_train.dtype == np.uint8 and is_image(x_train.dtype, x_train.shape[1:]):
        pixel_scale = UINT8_SCALE
    if content_hash is None:
        content_hash = hash_arrays(x_train, y_train, x_test, y_test)
    return RawDataset(
        name=name,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        columns=columns,
        target=target,
        content_hash=content_hash,
        test_hash=test_hash,
        pixel_scale=pixel_scale,
    )


def hash_arrays(*arrays: Array | None) -> str:
    """Return the SHA-256, hexadecimal, of dtypes, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _row_shape(part: str, array: Array) -> tuple[int, ...]:
    """Shape of a row; targets of shape (rows, 1) count as (rows,)."""
    shape = array.shape[1:]
    return () if part == "y" and shape == (1,) else shape
