"""Small final models, built by hand, with the specs that describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from automl.data import Split
from automl.data.raw import Array
from automl.dataset_spec import Column, ColumnKind, DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.layers import output_keys
from automl.objective import Objective
from automl.records import FinalScore, TrialRecord, TrialState
from automl.study_record import StudyRecord

_ACTIVATIONS = {
    Task.REGRESSION: None,
    Task.MULTICLASS: "softmax",
    Task.BINARY: "sigmoid",
    Task.MULTILABEL: "sigmoid",
}

INCOME = OutputSpec(name="income", task=Task.BINARY, units=1, labels=("<=50K", ">50K"))
DIGIT = OutputSpec(name="target", task=Task.MULTICLASS, units=3, labels=(7, 8, 9))
PRICE = OutputSpec(name="price/m2", task=Task.REGRESSION, units=1, offset=(100.0,), scale=(10.0,))
TAGS = OutputSpec(name="tags", task=Task.MULTILABEL, units=2, labels=("red", "round"))

TABLE = DatasetSpec(
    name="people",
    columns=(Column(name="age"), Column(name="job", kind=ColumnKind.CATEGORY)),
    raw_inputs=(
        RawInput(name="age", dtype="float32", shape=(1,)),
        RawInput(name="job", dtype="string", shape=(1,)),
    ),
    inputs=(
        InputSpec(name="numbers", kind=InputKind.NUMERIC, shape=(1,), mean=(40.0,), deviation=(10.0,)),
        InputSpec(name="categories", kind=InputKind.CATEGORICAL, shape=(1,), sizes=(4,)),
    ),
    outputs=(INCOME,),
    train_rows=60,
    validation_rows=20,
    test_rows=20,
    fingerprint="people0",
)
ARRAY = DatasetSpec(
    name="squares",
    raw_inputs=(RawInput(name="input", dtype="float32", shape=(2, 2)),),
    inputs=(InputSpec(name="input", kind=InputKind.ARRAY, shape=(2, 2), mean=(1.0,), deviation=(2.0,)),),
    outputs=(DIGIT,),
    train_rows=60,
    validation_rows=20,
    test_rows=20,
    fingerprint="squares0",
)


def with_outputs(spec: DatasetSpec, *outputs: OutputSpec) -> DatasetSpec:
    return replace(spec, outputs=outputs)


def network(spec: DatasetSpec) -> Any:
    """A model of encoded rows."""
    import keras

    inputs = [
        keras.Input(one.shape, dtype="int32" if one.kind is InputKind.CATEGORICAL else "float32", name=one.name)
        for one in spec.inputs
    ]
    flat = [
        keras.layers.Flatten()(keras.layers.Embedding(4, 2)(x) if one.kind is InputKind.CATEGORICAL else x)
        for one, x in zip(spec.inputs, inputs, strict=True)
    ]
    x = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    x = keras.layers.Dense(5, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3))(x)
    x = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(x))
    heads = [
        keras.layers.Dense(one.units, activation=_ACTIVATIONS[one.task], name=f"head_{index}")(x)
        for index, one in enumerate(spec.outputs)
    ]
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], heads if len(heads) > 1 else heads[0], name="network")


def final(spec: DatasetSpec) -> Any:
    """A final model: raw rows in, probabilities or values in target units out."""
    import keras

    raw = [keras.Input(one.shape, dtype=one.dtype, name=one.name) for one in spec.raw_inputs]
    encoded = [_encoded(one, x) for one, x in zip(spec.inputs, raw, strict=True)]
    heads = network(spec)(encoded if len(encoded) > 1 else encoded[0])
    decoded = [
        keras.layers.Rescaling(list(one.scale), offset=list(one.offset))(head) if one.task is Task.REGRESSION else head
        for one, head in zip(spec.outputs, heads if isinstance(heads, list) else [heads], strict=True)
    ]
    return keras.Model(
        {one.name: x for one, x in zip(spec.raw_inputs, raw, strict=True)} if spec.columns else raw[0],
        dict(zip(output_keys(spec), decoded, strict=True)) if len(decoded) > 1 else decoded[0],
        name="final_model",
    )


def _encoded(spec: InputSpec, x: Any) -> Any:
    import keras

    if spec.kind is InputKind.CATEGORICAL:
        return keras.layers.StringLookup(vocabulary=["cook", "nurse"], mask_token="")(x)
    axis = None if spec.kind is InputKind.ARRAY else -1
    mean, deviation = (spec.mean[0], spec.deviation[0]) if axis is None else (list(spec.mean), list(spec.deviation))
    return keras.layers.Normalization(axis=axis, mean=mean, variance=np.square(deviation).tolist())(x)


def called(model: Any, rows: Any) -> Any:
    """What a model gives for arrays of raw rows, as arrays."""
    import tensorflow as tf

    return tf.nest.map_structure(lambda one: one.numpy(), model(tf.nest.map_structure(tf.constant, rows)))


@dataclass
class HandPrepared:
    """Encoded rows in memory, with the face of a prepared dataset."""

    spec: DatasetSpec

    def split(self, name: str, *, fold: int | None = None) -> Split:
        random = np.random.default_rng(len(name))
        rows = {"train": 60, "validation": 20, "test": 20}[name]
        inputs = [
            random.integers(0, 4, (rows, *one.shape)).astype("int32")
            if one.kind is InputKind.CATEGORICAL
            else random.normal(size=(rows, *one.shape)).astype("float32")
            for one in self.spec.inputs
        ]
        return Split(inputs=tuple(inputs), outputs=tuple(_target(one, inputs[0]) for one in self.spec.outputs))  # type: ignore[arg-type]

    def sealed_test(self) -> Split:
        return self.split("test")

    def raw_example(self) -> Any:
        if not self.spec.columns:
            return np.random.default_rng(0).normal(size=(5, *self.spec.raw_inputs[0].shape)).astype("float32")
        return {
            one.name: np.array([["cook"], [""], ["other"]], object)
            if one.dtype == "string"
            else np.float32([[1], [2], [3]])
            for one in self.spec.raw_inputs
        }


def _target(output: OutputSpec, x: Array) -> Array:
    """Targets that depend on the first input."""
    first = x.reshape(len(x), -1)[:, :1]
    match output.task:
        case Task.MULTICLASS:
            return np.digitize(first[:, 0], [-0.5, 0.5]).astype("int32")
        case Task.REGRESSION:
            return np.repeat(first, output.units, axis=1).astype("float32")
        case _:
            return np.repeat(first > 0, output.units, axis=1).astype("float32")


def record(folder: Path, spec: DatasetSpec, config: Mapping[str, Any], metric: str = "val_accuracy") -> StudyRecord:
    """A finished study of one trial."""
    trial = TrialRecord(
        number=3, config=dict(config), seed=1, state=TrialState.COMPLETE, value=0.8, best_epoch=1, parameter_count=9
    )
    test = metric.removeprefix("val_")
    return StudyRecord(
        name="made-001",
        folder=folder / "studies" / "made-001",
        dataset=spec,
        space="mlp",
        space_table=(),
        objective=Objective(metric, "max" if test == "accuracy" else "min"),
        settings={"sampler": "tpe", "seed": 0, "epochs": 4, "patience": 3, "trials": 5, "seconds": None},
        trials=(trial,),
        finalists=(replace(trial, seed=77),),
        final=FinalScore(trial=3, metrics={test: 0.75}, interval=(0.7, 0.8), seed_metrics=({test: 0.75}, {test: 0.77})),
        elapsed_seconds=12.0,
    )


TEXT = DatasetSpec(
    name="reviews",
    columns=(Column(name="review", kind=ColumnKind.TEXT),),
    raw_inputs=(RawInput(name="review", dtype="string", shape=(1,)),),
    inputs=(InputSpec(name="review", kind=InputKind.CATEGORICAL, shape=(1,), sizes=(4,)),),
    outputs=(INCOME,),
    train_rows=60,
    validation_rows=20,
    test_rows=20,
    fingerprint="reviews0",
)
