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
    """What one input holds, which decides the layers that can read it."""

    NUMERIC = "numeric"
    IMAGE = "image"
    ARRAY = "array"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """One input of a dataset.

    Attributes:
        name: Name of the input, unique within the dataset.
        kind: What it holds.
        shape: Shape of one encoded row, float32, as the searched models see it; images are (height, width, channels).
        raw_shape: Shape of one raw row, as the final model takes it.
        columns: Names of the columns, where the source has names; otherwise empty.
    """

    name: str
    kind: InputKind
    shape: tuple[int, ...]
    raw_shape: tuple[int, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """One output of a dataset.

    Attributes:
        name: Name of the target column, or `"target"`.
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
        inputs: Every input, in the order of the model's inputs.
        outputs: Every output, in the order of the model's outputs.
        train_rows: Rows that models are trained on.
        validation_rows: Rows that the search scores models on.
        test_rows: Sealed rows that only the finalists' last evaluation reads.
        fingerprint: Hash of content, target, task and split: the dataset's identity.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
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
        inputs = tuple(
            InputSpec(
                name=one["name"],
                kind=InputKind(one["kind"]),
                shape=tuple(one["shape"]),
                raw_shape=tuple(one["raw_shape"]),
                columns=tuple(one["columns"]),
            )
            for one in values["inputs"]
        )
        outputs = tuple(
            OutputSpec(
                name=one["name"],
                task=Task(one["task"]),
                units=one["units"],
                labels=tuple(one["labels"]),
                offset=tuple(one["offset"]),
                scale=tuple(one["scale"]),
            )
            for one in values["outputs"]
        )
        return cls(**{**values, "inputs": inputs, "outputs": outputs})
