"""The encodings of inputs: from raw rows to the arrays that models search on.

An encoding is numbers and words only, so that the final model holds the same one as Keras layers
(`automl.final_model`); what `encode` gives agrees with those layers to 1e-5, because both work in float32. Each kind
has a fitter that sees the training rows batch by batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.data.moments import Floats, Moments
from automl.data.raw import ARRAY_FEATURE, Batch, is_image
from automl.data.text_encoding import TextEncoding
from automl.dataset_spec import InputKind, InputSpec
from automl.errors import DataError

LARGEST_VALUE = 1e18
"""Largest magnitude of a feature: the variance of larger ones overflows float32."""

MISSING_CODE = 0
UNKNOWN_CODE = 1
_FIRST_CODE = 2
MOST_CATEGORIES = 1000
"""Most values of a category that have a code of their own; the rarer ones count as unknown."""


class EncodingKind(StrEnum):
    """How the values of an array are scaled."""

    RESCALE = "rescale"
    STANDARDISE = "standardise"


@dataclass(frozen=True, kw_only=True)
class ArrayEncoding:
    """How rows that are whole arrays become float32.

    Attributes:
        kind: `RESCALE`: x / pixel_scale. `STANDARDISE`: (x - mean) / sqrt(variance).
        raw_shape: Shape of one raw row.
        shape: Shape of one encoded row; grey images gain a channel axis.
        is_image: True where rows are images.
        pixel_scale: `RESCALE`: the largest value that a pixel can have; otherwise 1.
        mean: Mean of the training rows, per column of a matrix; for arrays and images a single one over all values.
        variance: Their variance, in the same way; 1 where all values are equal.
        low: Their smallest value, in the same way.
        high: Their largest value, in the same way.
    """

    name: ClassVar[str] = "array"
    dtype: ClassVar[str] = "float32"

    kind: EncodingKind
    raw_shape: tuple[int, ...]
    shape: tuple[int, ...]
    is_image: bool = False
    pixel_scale: float = 1.0
    mean: Floats = ()
    variance: Floats = ()
    low: Floats = ()
    high: Floats = ()

    def encode(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Encode raw rows.

        Args:
            batch: An array of shape (n, *raw_shape) under `ARRAY_FEATURE`.

        Returns:
            Shape (n, *shape), float32.

        Raises:
            DataError: The rows have another shape.
        """
        rows = batch[ARRAY_FEATURE]
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

    def input_spec(self) -> InputSpec:
        """Return what searched models know of it."""
        kind = InputKind.IMAGE if self.is_image else InputKind.NUMERIC if len(self.shape) == 1 else InputKind.ARRAY
        return InputSpec(
            name=ARRAY_FEATURE,
            kind=kind,
            shape=self.shape,
            pixel_scale=self.pixel_scale if self.kind is EncodingKind.RESCALE else None,
            **_statistics(self.mean, self.variance, self.low, self.high),
        )


@dataclass(frozen=True, kw_only=True)
class NumbersEncoding:
    """How number, boolean and date columns become one float32 matrix.

    Attributes:
        columns: Their names, in order.
        mean: Mean of the training rows, per column; what stands for a missing value.
        variance: Their variance; 1 where all values are equal.
        low: Their smallest value.
        high: Their largest value.
        flagged: Columns with missing values in the training rows: each gets a 0/1 column that says so.
    """

    name: ClassVar[str] = "numbers"
    dtype: ClassVar[str] = "float32"

    columns: tuple[str, ...]
    mean: Floats
    variance: Floats
    low: Floats
    high: Floats
    flagged: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one encoded row."""
        return (len(self.columns) + len(self.flagged),)

    def encode(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Encode raw rows: shape (n, columns and flags), float32."""
        values = np.column_stack([batch[name] for name in self.columns]).astype(np.float32)
        missing = np.isnan(values)
        values -= np.asarray(self.mean, dtype=np.float32)
        values /= np.sqrt(np.asarray(self.variance, dtype=np.float32))
        values[missing] = 0.0
        flags = missing[:, [self.columns.index(name) for name in self.flagged]]
        return np.concatenate([values, flags.astype(np.float32)], axis=1)

    def input_spec(self) -> InputSpec:
        """Return what searched models know of it; flags count as numbers of mean 0 and deviation 1."""
        zeros, ones = (0.0,) * len(self.flagged), (1.0,) * len(self.flagged)
        statistics = _statistics(self.mean + zeros, self.variance + ones, self.low + zeros, self.high + ones)
        return InputSpec(name=self.name, kind=InputKind.NUMERIC, shape=self.shape, **statistics)


@dataclass(frozen=True, kw_only=True)
class CategoriesEncoding:
    """How category columns become one int32 matrix of codes: 0 missing, 1 unknown, then the vocabulary.

    Attributes:
        columns: Their names, in order.
        vocabularies: Values of the training rows, per column, the most frequent first.
    """

    name: ClassVar[str] = "categories"
    dtype: ClassVar[str] = "int32"

    columns: tuple[str, ...]
    vocabularies: tuple[tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one encoded row."""
        return (len(self.columns),)

    def encode(self, batch: Batch) -> npt.NDArray[np.int32]:
        """Encode raw rows: shape (n, columns), int32."""
        import pandas as pd

        codes = []
        for name, vocabulary in zip(self.columns, self.vocabularies, strict=True):
            index = pd.Index(vocabulary, dtype=object).get_indexer(pd.Index(batch[name], dtype=object))
            known = np.where(index < 0, UNKNOWN_CODE, index + _FIRST_CODE)
            codes.append(np.where(batch[name] == "", MISSING_CODE, known))
        return np.column_stack(codes).astype(np.int32)

    def input_spec(self) -> InputSpec:
        """Return what searched models know of it."""
        sizes = tuple(len(vocabulary) + _FIRST_CODE for vocabulary in self.vocabularies)
        return InputSpec(name=self.name, kind=InputKind.CATEGORICAL, shape=self.shape, sizes=sizes)


Encoding: TypeAlias = ArrayEncoding | NumbersEncoding | CategoriesEncoding | TextEncoding
_KINDS: Mapping[str, type[Any]] = {
    kind.name: kind for kind in (ArrayEncoding, NumbersEncoding, CategoriesEncoding, TextEncoding)
}


def encoding_to_json(encoding: Encoding) -> dict[str, Any]:
    """Return an encoding as JSON values."""
    return {"encoding": encoding.name, **asdict(encoding)}


def encoding_from_json(values: Mapping[str, Any]) -> Encoding:
    """Read back what `encoding_to_json` gave."""
    own = {name: _tuples(value) for name, value in values.items() if name != "encoding"}
    if values["encoding"] == ArrayEncoding.name:
        own["kind"] = EncodingKind(own["kind"])
    encoding: Encoding = _KINDS[values["encoding"]](**own)
    return encoding


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


class ArrayFitter:
    """Fits an `ArrayEncoding`."""

    def __init__(self, raw_shape: tuple[int, ...], dtype: np.dtype[Any], pixel_scale: float | None) -> None:
        """Say what rows look like; `pixel_scale` None stands for standardising."""
        self._raw_shape = raw_shape
        self._pixel_scale = pixel_scale
        self._is_image = is_image(dtype, raw_shape)
        self._is_matrix = len(raw_shape) == 1
        self._moments = Moments(raw_shape[0] if self._is_matrix else 1)
        self._bytes = np.zeros(256, dtype=np.int64) if dtype == np.uint8 and not self._is_matrix else None

    def see(self, batch: Batch) -> None:
        """Take training rows into account."""
        rows = batch[ARRAY_FEATURE]
        if self._bytes is not None:  # a tenth of the time that floats take
            self._bytes += np.bincount(rows.ravel(), minlength=256)
        elif len(rows):
            self._moments.see(rows if self._is_matrix else rows.reshape(-1, 1))

    def fit(self) -> ArrayEncoding:
        """Return the encoding."""
        if self._bytes is not None:
            self._moments.see_histogram(self._bytes)
        grey = self._is_image and len(self._raw_shape) == 2
        return ArrayEncoding(
            kind=EncodingKind.STANDARDISE if self._pixel_scale is None else EncodingKind.RESCALE,
            raw_shape=self._raw_shape,
            shape=(*self._raw_shape, 1) if grey else self._raw_shape,
            is_image=self._is_image,
            pixel_scale=self._pixel_scale or 1.0,
            mean=self._moments.mean,
            variance=self._moments.variance,
            low=self._moments.low,
            high=self._moments.high,
        )


class NumbersFitter:
    """Fits a `NumbersEncoding`."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Name the columns."""
        self._columns = tuple(columns)
        self._moments = Moments(len(self._columns))
        self._has_missing = np.zeros(len(self._columns), dtype=bool)

    def see(self, batch: Batch) -> None:
        """Take training rows into account."""
        values = np.column_stack([batch[name] for name in self._columns])
        self._has_missing |= np.isnan(values).any(axis=0)
        self._moments.see(values)

    def fit(self) -> NumbersEncoding:
        """Return the encoding."""
        return NumbersEncoding(
            columns=self._columns,
            mean=self._moments.mean,
            variance=self._moments.variance,
            low=self._moments.low,
            high=self._moments.high,
            flagged=tuple(name for name, missing in zip(self._columns, self._has_missing, strict=True) if missing),
        )


class CategoriesFitter:
    """Fits a `CategoriesEncoding`."""

    def __init__(self, columns: Sequence[str]) -> None:
        """Name the columns."""
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in columns}

    def see(self, batch: Batch) -> None:
        """Take training rows into account."""
        for name, counter in self._counts.items():
            counter.update(batch[name])

    def fit(self) -> CategoriesEncoding:
        """Return the encoding."""
        return CategoriesEncoding(
            columns=tuple(self._counts), vocabularies=tuple(map(_most_frequent, self._counts.values()))
        )


def _most_frequent(counts: Counter[str]) -> tuple[str, ...]:
    """Return the values of a column, the most frequent first, equally frequent ones by name."""
    ranked = sorted((value for value in counts if value), key=lambda value: (-counts[value], value))
    return tuple(ranked[:MOST_CATEGORIES])


def _statistics(mean: Floats, variance: Floats, low: Floats, high: Floats) -> dict[str, Any]:
    deviation = tuple(float(np.sqrt(np.float32(one))) for one in variance)
    return {"mean": mean, "deviation": deviation, "low": low, "high": high}
