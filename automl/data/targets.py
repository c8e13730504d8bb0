"""The target: which task it is, whether it can be learned, its labels, and its encoding.

The task of a target, where none is requested:

===================================================================== =====================================
target                                                                task
===================================================================== =====================================
text or booleans                                                      `binary` for two, else `multiclass`
whole numbers, at most 20 different, each twice or more on average    `binary` for two, else `multiclass`
other numbers                                                         `regression`
several columns of 0 and 1, exactly one 1 in every row (one-hot)      `multiclass`
several columns of 0 and 1                                            `multilabel`
several columns of other numbers                                      `regression`
===================================================================== =====================================

A target of shape (rows, 1) counts as (rows,). Several targets count as the columns of one, where that gives labels or
numbers alike; otherwise, or where each has a requested task of its own, each is an output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from automl.data.encoding import LARGEST_VALUE
from automl.data.raw import Array, RawDataset
from automl.dataset_spec import OutputSpec, Task
from automl.errors import DataError

MOST_INFERRED_CLASSES = 20
"""Most different whole numbers that are taken for classes, unless the task is given."""

FEWEST_ROWS = 10
"""Fewest rows that can be split and learned from."""

_CLASSES = (Task.BINARY, Task.MULTICLASS)
_NUMBERS = "iuf"


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A target that can be learned.

    Attributes:
        name: Its name; several names separated by commas where it was made of several targets.
        task: What is predicted.
        y_train: Shape (rows,), or (rows, units) for multilabel and several regression targets.
        given: The same of each split that is given, by name.
        labels: Classes in sorted order, or the names (else numbers) of the label columns; empty for regression.
    """

    name: str
    task: Task
    y_train: Array
    given: Mapping[str, Array]
    labels: tuple[Any, ...]

    def output_spec(self, train_rows: npt.NDArray[np.intp]) -> OutputSpec:
        """Return the output's spec; offset and scale of a regression come from the training rows only."""
        if self.task is not Task.REGRESSION:
            units = 1 if self.task is Task.BINARY else len(self.labels)
            return OutputSpec(name=self.name, task=self.task, units=units, labels=self.labels)
        rows = _columns(self.y_train[train_rows])
        deviation = rows.std(axis=0)
        scale = np.where((rows.min(axis=0) == rows.max(axis=0)) | (deviation == 0), 1.0, deviation)
        offset = tuple(rows.mean(axis=0).tolist())
        return OutputSpec(
            name=self.name, task=self.task, units=rows.shape[1], offset=offset, scale=tuple(scale.tolist())
        )


def read_targets(raw: RawDataset, *, task: Task | Sequence[Task] | None) -> tuple[Target, ...]:
    """Infer or check the tasks, and check that the targets can be learned.

    Args:
        raw: The dataset.
        task: The requested task, one for each target (an output each), or None to infer.

    Raises:
        DataError: A target does not fit its task, has missing values, a single class, a class of a single row, or fewer
            than ten rows; or there are not as many tasks as targets.
    """
    rows = raw.train.count
    if rows < FEWEST_ROWS:
        raise DataError(f"{raw.name}: expected at least {FEWEST_ROWS} rows, received {rows}; give more data")
    columns = [_tidied(raw, name) for name in raw.targets]
    if task is not None and not isinstance(task, Task):
        if len(task) != len(columns):
            raise DataError(f"{raw.name}: expected one task, or one for each of {len(columns)} targets: {listed(raw)}")
        return tuple(_target(column, one) for column, one in zip(columns, task, strict=True))
    if len(columns) > 1 and _are_one(columns, task):
        return (_joined(columns, task),)
    return tuple(_target(column, task) for column in columns)


def listed(raw: RawDataset) -> str:
    """Return the names of a dataset's targets."""
    return ", ".join(map(repr, raw.targets))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tidied:
    """A target as numbers, booleans or text without needless axes; `label` is what messages call it."""

    name: str
    label: str
    y_train: Array
    given: Mapping[str, Array]
    names: tuple[str, ...] = ()  # of the columns, where several targets became one


def _tidied(raw: RawDataset, name: str) -> _Tidied:
    label = f"{raw.name}: the target {name!r}"
    return _Tidied(
        name=name,
        label=label,
        y_train=_tidy(label, raw.targets[name]),
        given={split: _tidy(_of(label, split), one.targets[name]) for split, one in raw.given.items()},
    )


def _of(label: str, split: str) -> str:
    return f"{label} of the {split} split"


def _are_one(columns: Sequence[_Tidied], task: Task | None) -> bool:
    """Return True where several targets are labels, a one-hot class, or numbers: one output."""
    if any(column.y_train.ndim != 1 or column.y_train.dtype.kind == "U" for column in columns):
        return False
    if task is not None:
        return task in (Task.MULTILABEL, Task.REGRESSION) or _is_one_hot(_matrix(columns))
    labels = all(_is_zero_one(column.y_train) for column in columns)
    return labels or all(_infer(column.y_train) is Task.REGRESSION for column in columns)


def _matrix(columns: Sequence[_Tidied]) -> Array:
    return np.column_stack([column.y_train for column in columns])


def _joined(columns: Sequence[_Tidied], task: Task | None) -> Target:
    """Return several targets as one; its labels are their names."""
    for column in columns:
        _check_varies(column.label, column.y_train)
    names = tuple(column.name for column in columns)
    one = _Tidied(
        name=",".join(names),
        label=f"{columns[0].label} and {len(columns) - 1} more",
        y_train=_matrix(columns),
        given={split: np.column_stack([column.given[split] for column in columns]) for split in columns[0].given},
        names=names,
    )
    return _target(one, task)


def _target(column: _Tidied, task: Task | None) -> Target:
    y_train, given, label = column.y_train, column.given, column.label
    resolved = _infer(y_train) if task is None else task
    if resolved in _CLASSES and _is_one_hot(y_train):
        given = {split: _one_hot_classes(label, split, y) for split, y in given.items()}
        y_train = y_train.argmax(axis=1)
        if column.names:
            names = np.array(column.names)
            y_train, given = names[y_train], {split: names[y] for split, y in given.items()}
    _check_varies(label, y_train)
    _check_task(label, resolved, y_train)
    labels: tuple[Any, ...] = ()
    if resolved in _CLASSES:
        labels = tuple(np.unique(y_train).tolist())
    if resolved is Task.MULTILABEL:
        labels = column.names or tuple(range(y_train.shape[1]))
    for split, y in given.items():
        _check_fits(_of(label, split), resolved, y, labels)
    return Target(name=column.name, task=resolved, y_train=y_train, given=given, labels=labels)


def encode_target(y: Array, spec: OutputSpec) -> Array:
    """Encode targets as the losses want them.

    Args:
        y: Shape (n,), or (n, units) for multilabel and several regression targets, as in `Target`.
        spec: The output.

    Returns:
        multiclass: (n,) int32, indices of `spec.labels`. binary: (n, 1) float32, 0 or 1. multilabel:
        (n, labels) float32. regression: (n, units) float32, (y - offset) / scale.
    """
    if spec.task is Task.REGRESSION:
        standardised: Array = (_columns(y) - np.array(spec.offset)) / np.array(spec.scale)
        return standardised.astype(np.float32)
    if spec.task is Task.MULTILABEL:
        return y.astype(np.float32)
    indices = np.searchsorted(np.array(spec.labels), y)
    return indices.astype(np.int32) if spec.task is Task.MULTICLASS else indices[:, None].astype(np.float32)


def _tidy(name: str, y: Array) -> Array:
    """Check dtype, rank and missing values, and take away a needless second axis."""
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind not in _NUMBERS + "bU":
        raise DataError(f"{name} has dtype {y.dtype}; expected numbers, booleans or text: convert it first")
    if y.ndim > 2 or 0 in y.shape[1:]:
        raise DataError(f"{name} has shape {y.shape}; expected (rows,) or (rows, targets)")
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 2 and y.dtype.kind == "U":
        raise DataError(f"{name} has {y.shape[1]} columns of text; expected a single one, or columns of numbers")
    if y.dtype.kind == "f":
        _check_finite(name, y)
    return y


def _check_finite(name: str, y: Array) -> None:
    bad = ~(np.abs(y.astype(np.float64)) <= LARGEST_VALUE)  # not (>): NaN must be bad too
    count = int(bad.reshape(len(y), -1).any(axis=1).sum())
    if count:
        rows = "every row" if count == len(y) else f"{count} of {len(y)} rows"
        raise DataError(
            f"{name} is missing, NaN, infinite or above {LARGEST_VALUE:g} in {rows}; fill or drop those rows"
        )


def _one_hot_classes(name: str, split: str, y: Array) -> Array:
    if not _is_one_hot(y):
        raise DataError(f"{name} is one-hot in the training split but not in the {split} split; expected the same")
    classes: Array = y.argmax(axis=1)
    return classes


def _check_varies(name: str, y: Array) -> None:
    for column, values in enumerate(y.T if y.ndim == 2 else [y]):
        if (values == values[0]).all():
            which = f"column {column} of " if y.ndim == 2 else ""
            raise DataError(f"{which}{name} has only one value, {values[0].item()!r}; expected two classes or more")


def _infer(y: Array) -> Task:
    if y.ndim == 2:
        if not _is_zero_one(y):
            return Task.REGRESSION
        return Task.MULTICLASS if _is_one_hot(y) else Task.MULTILABEL
    distinct = len(np.unique(y))
    if y.dtype.kind in _NUMBERS and not _looks_like_classes(y, distinct):
        return Task.REGRESSION
    return Task.BINARY if distinct == 2 else Task.MULTICLASS


def _looks_like_classes(y: Array, distinct: int) -> bool:
    few = distinct <= min(MOST_INFERRED_CLASSES, len(y) / 2)
    return few and bool((y == np.floor(y)).all())


def _check_task(name: str, task: Task, y: Array) -> None:
    """Check that the target can be what the task says."""
    if task is Task.REGRESSION and y.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{name} holds {y.flat[0].item()!r}; expected numbers for task 'regression': choose another task"
        )
    if task is Task.MULTILABEL and not (y.ndim == 2 and _is_zero_one(y)):
        raise DataError(f"{name} has shape {y.shape}; expected several columns of 0 and 1 for task 'multilabel'")
    if task in _CLASSES:
        _check_classes(name, task, y)


def _check_classes(name: str, task: Task, y: Array) -> None:
    if y.ndim == 2:
        raise DataError(f"{name} has shape {y.shape} and is not one-hot; expected one class a row for task '{task}'")
    classes, counts = np.unique(y, return_counts=True)
    if task is Task.BINARY and len(classes) != 2:
        raise DataError(f"{name} has {len(classes)} classes; expected two for task 'binary': choose 'multiclass'")
    alone = classes[counts == 1].tolist()
    if alone:
        more = f" (and {len(alone) - 1} more such classes)" if len(alone) > 1 else ""
        raise DataError(
            f"{name}: class {alone[0]!r} has a single row{more}; expected two or more to split: add rows, "
            "drop the class, or choose another --task"
        )


def _check_fits(name: str, task: Task, y: Array, labels: Sequence[Any]) -> None:
    """Check that the targets of a given split are like those of the training rows."""
    unknown = sorted(set(y.tolist()) - set(labels), key=str) if task in _CLASSES else []
    if unknown:
        raise DataError(
            f"{name} has the class {unknown[0]!r}, which no training row has; known: "
            f"{', '.join(map(repr, labels[:MOST_INFERRED_CLASSES]))}"
        )
    if task is Task.MULTILABEL and not _is_zero_one(y):
        raise DataError(f"{name} holds other values than 0 and 1; expected those of the training split")
    if task is Task.REGRESSION and y.dtype.kind not in _NUMBERS:
        raise DataError(f"{name} holds {y.flat[0].item()!r}; expected numbers")


def _is_zero_one(y: Array) -> bool:
    return y.dtype.kind in _NUMBERS + "b" and bool(((y == 0) | (y == 1)).all())


def _is_one_hot(y: Array) -> bool:
    return y.ndim == 2 and _is_zero_one(y) and bool((y.sum(axis=1) == 1).all())


def _columns(y: Array) -> npt.NDArray[np.float64]:
    """Return shape (n, units)."""
    return y.astype(np.float64).reshape(len(y), -1)
