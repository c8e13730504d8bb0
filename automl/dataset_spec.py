"""What models and search spaces may know of a dataset: shapes, kinds, tasks, classes and sizes, but no rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from automl.errors import RequestError

T = TypeVar("T")


class Task(StrEnum):
    """What one output predicts."""

    REGRESSION = "regression"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"


class InputKind(StrEnum):
    """What one encoded input holds, which decides the layers that can read it."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    TEXT = "text"
    IMAGE = "image"
    ARRAY = "array"


class ColumnKind(StrEnum):
    """What one column of a table holds."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    CATEGORY = "category"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature column of a table.

    Attributes:
        name: Its name in the source.
        kind: What it holds. Booleans are the numbers 0 and 1, dates are days since 1970-01-01; missing numbers are NaN.
        date_format: `DATE` in a text file: how dates are written, as `pandas.to_datetime` takes it; otherwise empty.
    """

    name: str
    kind: ColumnKind = ColumnKind.NUMBER
    date_format: str = ""


@dataclass(frozen=True, kw_only=True)
class RawInput:
    """One thing that the final model takes, before any encoding.

    Attributes:
        name: Its key where the model takes several: a column's name as far as Keras allows it.
        dtype: `"float32"` or `"string"`.
        shape: Shape of one row; (1,) for one column of a table.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of the searched models: encoded rows.

    Statistics are of the raw training rows: one value a column for `NUMERIC`, a single one for `IMAGE` and `ARRAY`,
    none for the other kinds.

    Attributes:
        name: Name of the input, unique within the dataset.
        kind: What it holds.
        shape: Shape of one encoded row. `NUMERIC` (columns,) and `ARRAY` float32, standardised; `IMAGE` (height,
            width, channels) float32, in [0, 1] where the pixels' range is known, otherwise standardised;
            `CATEGORICAL` (columns,) int32, a code a column, 0 for missing and 1 for unknown; `TEXT` (tokens,) int32, 0
            for padding and 1 for unknown words.
        sizes: `CATEGORICAL`: number of codes a column; `TEXT`: one number, the size of the vocabulary; otherwise empty.
        token_weights: `TEXT`: inverse document frequency of each id, 0 for padding and unknown words; otherwise empty.
        pixel_scale: `IMAGE` in [0, 1]: the raw value that became 1; otherwise None.
        mean: Mean of the raw values.
        deviation: Standard deviation of the raw values; 1 where all are equal.
        low: Smallest raw value.
        high: Largest raw value.
    """

    name: str
    kind: InputKind
    shape: tuple[int, ...]
    sizes: tuple[int, ...] = ()
    token_weights: tuple[float, ...] = ()
    pixel_scale: float | None = None
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of a dataset.

    Attributes:
        name: Name of the target column, several names separated by commas, or `"target"`.
        task: What is predicted.
        units: Width of the model's output: 1 for regression of one target and for binary, the number of classes for
            multiclass, the number of labels for multilabel.
        labels: The original labels in the order of the output's units (for binary: negative, positive); empty for
            regression.
        offset: Regression: mean of the target's training rows, per unit; models learn (target - offset) / scale.
        scale: Regression: standard deviation of the target's training rows, per unit.
    """

    name: str
    task: Task
    units: int
    labels: tuple[str | int | float | bool, ...] = ()
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What models and search spaces may know of a dataset.

    Attributes:
        name: The dataset's name.
        columns: Feature columns of a table that the models read, in the source's order; empty for other sources.
        raw_inputs: What the final model takes: a single array (or the matrix of a table that has only numbers), or one
            entry a column, in the order of `columns`.
        inputs: Every encoded input, in the order of the searched model's inputs.
        outputs: Every output, in the order of the model's outputs.
        folds: Number of folds of a cross-validation; 0 for one split in training and validation rows.
        train_rows: Rows that one model is trained on.
        validation_rows: Rows that the search scores one model on.
        test_rows: Sealed rows that only the finalists' last evaluation reads.
        fingerprint: Hash of content, target, task and split: the dataset's identity.
    """

    name: str
    columns: tuple[Column, ...] = ()
    raw_inputs: tuple[RawInput, ...]
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    folds: int = 0
    train_rows: int
    validation_rows: int
    test_rows: int
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one encoded row, for a dataset of one input.

        Raises:
            RequestError: The dataset has several.
        """
        return self._only("input", self.inputs).shape

    @property
    def output(self) -> OutputSpec:
        """The output, for a dataset of one output.

        Raises:
            RequestError: The dataset has several.
        """
        return self._only("output", self.outputs)

    @property
    def task(self) -> Task:
        """The task, for a dataset of one output."""
        return self.output.task

    def _only(self, what: str, parts: tuple[T, ...]) -> T:
        if len(parts) != 1:
            raise RequestError(f"dataset {self.name!r} has {len(parts)} {what}s: use spec.{what}s")
        return parts[0]

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetSpec:
        """Read back what `to_json` gave."""
        columns = tuple(Column(**{**one, "kind": ColumnKind(one["kind"])}) for one in values["columns"])
        raw_inputs = tuple(RawInput(**{**one, "shape": tuple(one["shape"])}) for one in values["raw_inputs"])
        inputs = tuple(InputSpec(**{**_with_tuples(one), "kind": InputKind(one["kind"])}) for one in values["inputs"])
        outputs = tuple(OutputSpec(**{**_with_tuples(one), "task": Task(one["task"])}) for one in values["outputs"])
        parts = {"columns": columns, "raw_inputs": raw_inputs, "inputs": inputs, "outputs": outputs}
        return cls(**{**values, **parts})


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list | tuple) else value for name, value in values.items()}
