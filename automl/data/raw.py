"""`RawDataset`: a dataset as its source holds it, before any split or encoding, and its identity.

Rows are read batch by batch, and again from the start as often as needed (`RowSource`), so that a dataset need never
lie in memory as a whole. Targets do: they are small, and splits are made of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from automl.dataset_spec import Column, ColumnKind
from automl.errors import DataError

Array: TypeAlias = npt.NDArray[Any]
Batch: TypeAlias = Mapping[str, Array]
"""Raw rows by feature name, all of one length.

A column of numbers, booleans or dates is (n,) float64 with NaN where missing; one of categories or text is (n,) object
holding `str`, `""` where missing. A whole array is (n, *shape) in the source's dtype.
"""

SPLIT_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"train": ("train", "training"), "validation": ("validation", "val", "valid"), "test": ("test", "testing")}
)
"""The splits, and what files and folders call them."""

GIVEN_SPLITS = tuple(split for split in SPLIT_NAMES if split != "train")
"""Splits that a source or a user may give; where they do not, rows are held out of the training rows."""

UINT8_SCALE = 255.0
ARRAY_FEATURE = "input"
"""Name of the only feature of a dataset whose source is an array."""

T = TypeVar("T")
_NONE: Mapping[str, Any] = MappingProxyType({})
_BATCH_BYTES = 8 * 2**20
_NUMERIC_KINDS = "biuf"
_CHANNELS = (1, 3, 4)


def is_image(dtype: np.dtype[Any], row_shape: tuple[int, ...]) -> bool:
    """Return True when rows are images: uint8 (height, width), or anything (height, width, 1, 3 or 4)."""
    grey = len(row_shape) == 2 and dtype == np.uint8
    return grey or (len(row_shape) == 3 and row_shape[-1] in _CHANNELS)


class RowSource(Protocol):
    """Rows that can be read from the start again and again."""

    @property
    def count(self) -> int:
        """Number of rows."""

    def batches(self) -> Iterator[Batch]:
        """Yield every row once, in the source's order, a few megabytes at a time."""


@dataclass(frozen=True, eq=False)
class ArrayRows:
    """Rows that lie in memory (or in a memory mapping).

    Attributes:
        arrays: One array a feature, all of one length.
    """

    arrays: Batch

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values())))

    def batches(self) -> Iterator[Batch]:
        """Yield slices of the arrays."""
        row_values = sum(max(1, int(np.prod(array.shape[1:]))) for array in self.arrays.values())
        step = max(1, _BATCH_BYTES // (8 * row_values))
        for start in range(0, self.count, step):
            yield {name: array[start : start + step] for name, array in self.arrays.items()}


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenSplit:
    """Rows of a split that the source or the user gives.

    Attributes:
        rows: The rows, like those to train on.
        targets: Their targets by name.
        weights: Their weights in the training loss of a refit, (rows,), where they have some; else None.
        source_hash: SHA-256, hexadecimal, of a source of their own; empty where the dataset's hash is theirs too.
    """

    rows: RowSource
    targets: Mapping[str, Array]
    weights: Array | None = None
    source_hash: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class RawDataset:
    """A dataset as its source holds it, in the source's own dtypes.

    Attributes:
        name: The dataset's name.
        columns: The feature columns of a table; empty where the only feature is an array, `ARRAY_FEATURE`. The arrays
            of a table that came as one matrix have columns too, and `is_array` is True.
        is_array: True where rows come as one array of `row_shape`, False where they come column by column.
        row_shape: Shape of one raw row where `is_array`; otherwise ().
        row_dtype: Dtype of the array where `is_array`; otherwise object.
        train: The rows to train on, and those that are held out for the splits that are not given.
        targets: Targets of those rows by name, (rows,) or (rows, k): numbers, booleans or text. Usually one.
        given: Those of `GIVEN_SPLITS` that are given, by name.
        groups: What must stay together in one split, (rows,), or None.
        times: What splits are ordered by, (rows,) numbers, or None.
        weights: Weights of the rows in the training loss, (rows,) numbers at least 0, or None.
        content_hash: SHA-256, hexadecimal, of the source's bytes.
        pixel_scale: The largest value that a pixel can have, where values are pixel intensities; else None.

    Raises:
        DataError: The parts do not fit together.
    """

    name: str
    columns: tuple[Column, ...] = ()
    is_array: bool
    row_shape: tuple[int, ...] = ()
    row_dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(object))
    train: RowSource
    targets: Mapping[str, Array]
    given: Mapping[str, GivenSplit] = field(default_factory=dict)
    groups: Array | None = None
    times: Array | None = None
    weights: Array | None = None
    content_hash: str
    pixel_scale: float | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        self._check_part("train", self.train, self.targets)
        for part, split in self.given.items():
            self._check_part(part, split.rows, split.targets)
            if not split.rows.count:
                raise DataError(f"{self.name}: the {part} split has no rows; expected at least one")
            self._check_given_targets(part, split.targets)

    @property
    def features(self) -> tuple[str, ...]:
        """Keys of the batches."""
        return (ARRAY_FEATURE,) if self.is_array else tuple(column.name for column in self.columns)

    def _check_part(self, part: str, source: RowSource, targets: Mapping[str, Array]) -> None:
        for y in targets.values():
            if y.ndim == 0 or source.count != len(y):
                rows = len(y) if y.ndim else "no"
                raise DataError(
                    f"{self.name}: x_{part} has {source.count} rows but y_{part} has {rows}; expected as many"
                )

    def _check_given_targets(self, part: str, targets: Mapping[str, Array]) -> None:
        if set(self.targets) != set(targets):
            given, expected = (", ".join(map(repr, sorted(names))) for names in (targets, self.targets))
            raise DataError(
                f"{self.name}: the {part} split has the targets {given}; expected {expected}, as in training"
            )
        for name, train in self.targets.items():
            if _target_shape(train) != _target_shape(targets[name]):
                raise DataError(
                    f"{self.name}: a row of y_{part} has shape {targets[name].shape[1:]}, but of y_train "
                    f"{train.shape[1:]}; expected the same"
                )


def raw_from_arrays(
    name: str,
    x_train: Array,
    y_train: Array | Mapping[str, Array],
    *,
    given: Mapping[str, tuple[Array, Array | Mapping[str, Array]]] = _NONE,
    columns: tuple[str, ...] = (),
    target: str = "target",
    pixel_scale: float | None = None,
    content_hash: str | None = None,
    source_hashes: Mapping[str, str] = _NONE,
) -> RawDataset:
    """Make a `RawDataset` of arrays: the arrays are their own identity, and uint8 images are scaled by 255.

    Args:
        name: The dataset's name.
        x_train: Shape (rows, ...).
        y_train: Shape (rows,) or (rows, targets), or several such by name, an output each.
        given: `(x, y)` of each split that is given, by name.
        columns: Names of the feature columns.
        target: Name of the target, where there is one.
        pixel_scale: The largest value that a pixel can have; found for uint8 images.
        content_hash: SHA-256 of the source; of the arrays themselves where None.
        source_hashes: SHA-256 of the sources that given splits have of their own, by name.

    Raises:
        DataError: The arrays do not fit together.
    """
    _check_features(name, "train", x_train)
    same_dtype = pixel_scale is not None or is_uint8_image(x_train)
    for part, (x, _) in given.items():
        _check_features(name, part, x)
        _check_same_rows(name, part, x, x_train, same_dtype=same_dtype)
    targets = _by_name(y_train, target)
    splits = {
        part: GivenSplit(
            rows=ArrayRows({ARRAY_FEATURE: x}), targets=_by_name(y, target), source_hash=source_hashes.get(part, "")
        )
        for part, (x, y) in given.items()
    }
    if content_hash is None:
        arrays = {part: (given[part][0], *split.targets.values()) for part, split in splits.items()}
        nothing: tuple[Array | None, ...] = (None,)
        content_hash = hash_arrays(*chain(*hashed_parts((x_train, *targets.values()), arrays, nothing)))
    return RawDataset(
        name=name,
        columns=tuple(Column(name=column, kind=ColumnKind.NUMBER) for column in columns),
        is_array=True,
        row_shape=x_train.shape[1:],
        row_dtype=x_train.dtype,
        train=ArrayRows({ARRAY_FEATURE: x_train}),
        targets=targets,
        given=splits,
        content_hash=content_hash,
        pixel_scale=UINT8_SCALE if pixel_scale is None and is_uint8_image(x_train) else pixel_scale,
    )


def whole_pairs(name: str, pairs: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Return those pairs `(x, y)` of given splits that are there, and not `(None, None)`.

    Raises:
        DataError: There is an x without y, or a y without x.
    """
    for part, (x, y) in pairs.items():
        if (x is None) != (y is None):
            missing = f"x_{part}" if x is None else f"y_{part}"
            raise DataError(f"{name}: a {part} split is x_{part} and y_{part} together; {missing} is missing, add it")
    return {part: pair for part, pair in pairs.items() if pair[0] is not None}


def hashed_parts(train: T, given: Mapping[str, T], nothing: T) -> list[T]:
    """Return training rows and given splits as a dataset's hash takes them.

    A test split that is not given stands there as `nothing`; validation rows only where they are given, so that the
    hash of other datasets is that of versions to which none could be given.
    """
    validation = [given["validation"]] if "validation" in given else []
    return [train, given.get("test", nothing), *validation]


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


def hash_columns(*parts: Batch) -> str:
    """Return the SHA-256, hexadecimal, of arrays by name, of which object ones hold `str`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}".encode())
        for name, array in part.items():
            digest.update(f"{name}\0".encode())
            if array.dtype == object:
                digest.update("\0".join([str(len(array)), *array.tolist()]).encode("utf-8", "surrogatepass"))
            else:
                digest.update(hash_arrays(array).encode())
    return digest.hexdigest()


def is_uint8_image(x: Array) -> bool:
    """Return True when an array of rows is known to hold pixels from 0 to 255."""
    return x.dtype == np.uint8 and is_image(x.dtype, x.shape[1:])


def _by_name(y: Array | Mapping[str, Array], target: str) -> dict[str, Array]:
    return dict(y) if isinstance(y, Mapping) else {target: y}


def _check_features(name: str, part: str, x: Array) -> None:
    if x.dtype.kind not in _NUMERIC_KINDS:
        raise DataError(f"{name}: x_{part} must hold numbers, received dtype {x.dtype}; convert it first")
    if x.ndim < 2 or 0 in x.shape[1:]:
        advice = "; for a single feature use x.reshape(-1, 1)" if x.ndim == 1 else ""
        raise DataError(f"{name}: x_{part} must have shape (rows, features, ...), received {x.shape}{advice}")


def _check_same_rows(name: str, part: str, x: Array, x_train: Array, *, same_dtype: bool) -> None:
    if x.shape[1:] != x_train.shape[1:]:
        raise DataError(
            f"{name}: a row of x_{part} has shape {x.shape[1:]}, but of x_train {x_train.shape[1:]}; expected the same"
        )
    if same_dtype and x.dtype != x_train.dtype:
        raise DataError(
            f"{name}: the pixels of x_{part} are {x.dtype}, but those of x_train {x_train.dtype}; "
            "expected the same type and range"
        )


def _target_shape(y: Array) -> tuple[int, ...]:
    """Shape of a row of targets; (rows, 1) counts as (rows,)."""
    return () if y.shape[1:] == (1,) else y.shape[1:]
