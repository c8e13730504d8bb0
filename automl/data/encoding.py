"""The encoding of one input: from raw rows to the float32 arrays that models search on.

An encoding is numbers only, so that the final model can hold the same one as Keras layers:
`Reshape(shape)`, then `Rescaling(1 / pixel_scale)` or `Normalization(mean=, variance=)`, with `axis=None`
and scalars where there is a single mean. What `encode` gives agrees with those layers to 1e-5, because both
work in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from automl.data.raw import Array, is_image
from automl.dataset_spec import InputKind
from automl.errors import DataError

LARGEST_VALUE = 1e18
"""Largest magnitude of a feature: the variance of larger ones overflows float32."""

_SMALLEST_VARIANCE = 1e-14  # Keras divides by no less than its epsilon, 1e-7
_CHUNK_BYTES = 8 * 2**20


class EncodingKind(StrEnum):
    """How values are scaled."""

    RESCALE = "rescale"
    STANDARDISE = "standardise"


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How the raw rows of one input become float32.

    Attributes:
        kind: `RESCALE`: x / pixel_scale. `STANDARDISE`: (x - mean) / sqrt(variance).
        raw_shape: Shape of one raw row.
        shape: Shape of one encoded row; grey images gain a channel axis.
        pixel_scale: `RESCALE`: the largest value that a pixel can have; otherwise 1.
        mean: `STANDARDISE`: mean of the training rows, per column of a table; for arrays and images a
            single one over all values.
        variance: `STANDARDISE`: their variance, in the same way; 1 where all values are equal.
    """

    kind: EncodingKind
    raw_shape: tuple[int, ...]
    shape: tuple[int, ...]
    pixel_scale: float = 1.0
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()

    def encode(self, rows: Array) -> npt.NDArray[np.float32]:
        """Encode raw rows.

        Args:
            rows: Shape (n, *raw_shape), numbers.

        Returns:
            Shape (n, *shape), float32.

        Raises:
            DataError: The rows have another shape.
        """
        if rows.shape[1:] != self.raw_shape:
            raise DataError(
                f"expected rows of shape {self.raw_shape}, received {rows.shape[1:]}; give rows as trained on"
            )
        values = rows.astype(np.float32).reshape(len(rows), *self.shape)  # a copy: from here on in place
        if self.kind is EncodingKind.RESCALE:
            values *= np.float32(1 / self.pixel_scale)
            return values
        values -= np.asarray(self.mean, dtype=np.float32)
        values /= np.sqrt(np.asarray(self.variance, dtype=np.float32))
        return values

    def to_json(self) -> dict[str, Any]:
        """Return the encoding as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Encoding:
        """Read back what `to_json` gave."""
        sequences = {name: tuple(values[name]) for name in ("raw_shape", "shape", "mean", "variance")}
        return cls(**{**values, **sequences, "kind": EncodingKind(values["kind"])})


def input_kind(x: Array) -> InputKind:
    """Return what an array of raw rows holds.

    uint8 (rows, height, width) and anything (rows, height, width, 1, 3 or 4) are images, (rows, columns) is
    numeric, and everything else is an array.
    """
    if is_image(x.dtype, x.shape[1:]):
        return InputKind.IMAGE
    return InputKind.NUMERIC if x.ndim == 2 else InputKind.ARRAY


def fit_encoding(x: Array, train_rows: npt.NDArray[np.intp], *, pixel_scale: float | None) -> Encoding:
    """Return the encoding of an input, fitted on its training rows only.

    Args:
        x: Raw rows, shape (rows, ...).
        train_rows: Indices of the training rows.
        pixel_scale: The largest value that a pixel can have, or None to standardise.
    """
    raw_shape = x.shape[1:]
    grey = input_kind(x) is InputKind.IMAGE and len(raw_shape) == 2
    shape = (*raw_shape, 1) if grey else raw_shape
    if pixel_scale is not None:
        return Encoding(kind=EncodingKind.RESCALE, raw_shape=raw_shape, shape=shape, pixel_scale=pixel_scale)
    mean, variance = _moments(x, train_rows, axis=0 if x.ndim == 2 else None)
    return Encoding(
        kind=EncodingKind.STANDARDISE,
        raw_shape=raw_shape,
        shape=shape,
        mean=_floats(mean),
        variance=_floats(variance),
    )


def chunks(x: Array, rows: npt.NDArray[np.intp] | None = None) -> Iterator[Array]:
    """Yield the given rows, or all, a few megabytes at a time, so that no second copy of `x` is ever held."""
    values_per_row = max(1, int(np.prod(x.shape[1:])))
    step = max(1, _CHUNK_BYTES // (8 * values_per_row))
    for start in range(0, len(x) if rows is None else len(rows), step):
        yield x[start : start + step] if rows is None else x[rows[start : start + step]]


def _moments(x: Array, rows: npt.NDArray[np.intp], *, axis: int | None) -> tuple[Array, Array]:
    """Return mean and variance of the values as float32, as models get them; in float64 and two passes."""
    values_per_mean = len(rows) if axis == 0 else len(rows) * int(np.prod(x.shape[1:]))
    total = np.float64(0)
    low, high = np.float64(np.inf), np.float64(-np.inf)
    for chunk in _as_float64(x, rows):
        total = total + chunk.sum(axis=axis)
        low, high = np.minimum(low, chunk.min(axis=axis)), np.maximum(high, chunk.max(axis=axis))
    mean = total / values_per_mean
    squares = sum(((chunk - mean) ** 2).sum(axis=axis) for chunk in _as_float64(x, rows))
    variance = np.where(low == high, 1.0, np.maximum(squares / values_per_mean, _SMALLEST_VARIANCE))
    return np.atleast_1d(mean), np.atleast_1d(variance)


def _as_float64(x: Array, rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.float64]]:
    return (chunk.astype(np.float32).astype(np.float64) for chunk in chunks(x, rows))


def _floats(values: Array) -> tuple[float, ...]:
    """Round to float32, so that JSON, numpy and Keras hold the very same numbers."""
    return tuple(float(value) for value in values.astype(np.float32))
