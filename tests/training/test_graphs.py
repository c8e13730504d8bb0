"""Graphs that are reused: what a trial gives does not depend on whose graph it is trained in."""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
from whole_trials import Ran, run

from automl import input_layers, output_layers
from automl.data import PreparedDataset
from automl.objective import Objective
from automl.records import Config, EpochReport
from automl.search_space import Build
from automl.training import graphs as module
from automl.training.assemble import build_network, compile_model
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.loop import Evaluator
from automl.training.rows import StreamedRows, open_rows
from automl.training.structure import structure_of
from automl.training.tensorflow_sweeps import TensorflowSweep, _evaluation_step, evaluation_sweep
from automl.training.tunable import numbers_of


def _build(config: Config, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    penalty = keras.regularizers.L1L2(l1=config.get("l1", 0.0), l2=config.get("l2", 0.0))
    x = keras.layers.Dense(config.get("units", 12), activation="relu", kernel_regularizer=penalty)(x)
    x = keras.layers.BatchNormalization(gamma_regularizer=keras.regularizers.L2(config.get("gamma", 1e-3)))(x)
    # An activity's penalty is of the layer's 16 bits, which Keras cannot add to a loss of 32.
    activity = keras.regularizers.L2(1e-4) if "dtype_policy" not in config else None
    tower = keras.Sequential([keras.layers.Dense(8, activity_regularizer=activity)])
    tower.add(keras.layers.Dropout(config.get("inner", 0.1)))
    x = keras.layers.Dropout(config.get("dropout", 0.2))(tower(x))
    return keras.Model(inputs, output_layers(x, spec))


def _run(
    config: Config, data: PreparedDataset, graphs: Graphs | None = None, *, seed: int = 1, build: Build = _build
) -> Ran:
    objective = Objective("val_accuracy", "max")
    job = TrialJob(number=0, config=config, seed=seed, epochs=3, patience=0, objective=objective)
    return run(job, build, data, graphs)


def _assert_alike(some: list[EpochReport], others: list[EpochReport]) -> None:
    assert [one.epoch for one in some] == [one.epoch for one in others] == [1, 2, 3]
    for one, other in zip(some, others, strict=True):
        assert one.metrics == pytest.approx(other.metrics, abs=1e-6)


_PAIRS: list[tuple[Config, Config]] = [
    (
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate_schedule": "cosine"},
        {"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "learning_rate_schedule": "cosine", "batch_size": 32},
    ),
    (
        {"optimizer": "adamw", "weight_decay": 0.1, "l1": 1e-4, "l2": 1e-3},
        {"optimizer": "adamw", "weight_decay": 0.3, "l1": 1e-3, "l2": 1e-4, "learning_rate": 0.01, "inner": 0.5},
    ),
    (
        {"optimizer": "adagrad", "learning_rate_schedule": "exponential", "gamma": 0.1},
        {"optimizer": "adagrad", "learning_rate_schedule": "exponential", "dropout": 0.6, "learning_rate": 0.05},
    ),
    (
        {"optimizer": "rmsprop", "learning_rate_schedule": "inverse_time", "l2": 1e-2},
        {"optimizer": "rmsprop", "learning_rate_schedule": "inverse_time", "l2": 1e-5, "learning_rate": 0.02},
    ),
]


@pytest.mark.parametrize(("first", "second"), _PAIRS, ids=[pair[0]["optimizer"] for pair in _PAIRS])
def test_a_trial_in_a_used_graph_is_that_of_a_fresh_one(
    first: Config, second: Config, digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = Graphs()
    _run(first, digits, graphs)
    reused, _ = _run(second, digits, graphs, seed=5)
    assert graphs.count == 1
    monkeypatch.setattr(module, "structure_of", lambda network, config: None)
    fresh, _ = _run(second, digits, seed=5)  # plain Keras layers and optimizers, traced for this trial
    _assert_alike(reused, fresh)
    assert fresh[-1].metrics["loss"] < fresh[0].metrics["loss"]


def test_folds_take_turns_in_one_graph(folded: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs()
    together, _ = _run({"learning_rate": 0.01}, folded, graphs)
    assert graphs.count == 1
    monkeypatch.setattr(module, "structure_of", lambda network, config: None)
    apart, _ = _run({"learning_rate": 0.01}, folded)
    _assert_alike(together, apart)


@pytest.mark.parametrize(
    "other",
    [
        {"units": 13},
        {"optimizer": "sgd"},
        {"learning_rate_schedule": "cosine"},
        {"dropout": 0.0},
        {"l2": 0.1},
        {"gradient_clip": 1.0},
        {"label_smoothing": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1},
    ],
    ids=str,
)
def test_another_structure_is_another_graph(other: Config, digits: PreparedDataset) -> None:
    graphs = Graphs()
    for config in ({}, other, {}):
        graphs.open(build_network(_build, config, 1, digits.spec), config, digits.spec, 10)
    assert graphs.count == 2


def test_numbers_are_those_that_need_no_other_graph(digits: PreparedDataset) -> None:
    config = {"optimizer": "sgd", "momentum": 0.8, "learning_rate": 0.02, "l1": 0.5, "dropout": 0.3, "gamma": 0.25}
    numbers = numbers_of(build_network(_build, config, 1, digits.spec), config, 40)
    named = {name: value for name, value in numbers.items() if ":" not in name}
    assert named == {"learning_rate": 0.02, "total_steps": 40.0, "momentum": 0.8}
    assert sorted(value for name, value in numbers.items() if name.startswith("rate:")) == [0.1, 0.3]
    assert sorted(value for name, value in numbers.items() if name.startswith("l")) == [0.02, 0.25, 0.5]


def _model(spec: Any, *layers: Any, kind: Any = None) -> Any:
    import keras

    inputs, x = input_layers(spec)
    for layer in layers:
        x = layer(x)
    return (kind or keras.Model)(inputs, output_layers(x, spec))


def test_what_a_user_wrote_is_not_reused(digits: PreparedDataset) -> None:
    import keras

    class Doubled(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, factor: object) -> None:
            super().__init__()
            self.factor = factor

        def call(self, x: Any) -> Any:
            return self.factor * x

    class OwnModel(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    def gelu(x: Any) -> Any:  # Keras writes a function of this name as its own
        return x + 1

    overridden = _model(digits.spec)
    overridden.compute_loss = lambda **arguments: 0.0
    compiled = _model(digits.spec)
    compiled.compile("adam", "sparse_categorical_crossentropy")
    assert structure_of(_model(digits.spec, keras.layers.Dense(4, activation="gelu")), {}) is not None
    for other in (
        _model(digits.spec, Doubled(2)),
        _model(digits.spec, keras.layers.Lambda(lambda x: x + 1)),
        _model(digits.spec, keras.layers.Dense(4, activation=gelu)),
        _model(digits.spec, keras.layers.Dense(4, activation=partial(keras.activations.relu, max_value=6.0))),
        _model(digits.spec, keras.layers.Dense(4, kernel_regularizer=lambda x: 0.0 * keras.ops.sum(x))),
        _model(digits.spec, kind=OwnModel),
        overridden,
        compiled,
    ):
        assert structure_of(other, {}) is None


def test_what_was_adapted_is_not_reused(digits: PreparedDataset) -> None:
    import keras

    normalization = keras.layers.Normalization()
    normalization.adapt(np.ones((4, 64), dtype="float32"))
    assert structure_of(_model(digits.spec, normalization), {}) is None
    assert structure_of(_model(digits.spec, keras.Sequential([keras.Input((64,)), normalization])), {}) is None


def test_what_was_set_by_hand_is_part_of_the_structure(digits: PreparedDataset) -> None:
    import keras

    def hand_set(change: Any) -> Any:
        dense = keras.layers.Dense(4)
        model = _model(digits.spec, dense)
        change(dense.kernel)
        return model

    plain = structure_of(hand_set(lambda kernel: None), {})
    changed = [
        structure_of(hand_set(lambda kernel: setattr(kernel, "trainable", False)), {}),
        structure_of(hand_set(lambda kernel: setattr(kernel, "constraint", keras.constraints.NonNeg())), {}),
        structure_of(hand_set(lambda kernel: setattr(kernel, "regularizer", keras.regularizers.L2(0.1))), {}),
    ]
    assert len({plain, *changed}) == 4


def test_a_penalty_and_a_frozen_weight_that_were_set_by_hand_are_kept(
    digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras

    def build(config: Config, spec: Any) -> Any:
        frozen, last = keras.layers.Dense(8), keras.layers.Dense(6)
        model = _model(spec, frozen, last, keras.layers.Dropout(config["rate"]))
        frozen.kernel.trainable = False
        last.kernel.regularizer = keras.regularizers.L2(0.01)
        last.kernel.constraint = keras.constraints.MaxNorm(0.5)
        return model

    graphs = Graphs()
    _run({"rate": 0.1}, digits, graphs, build=build)
    reused, _ = _run({"rate": 0.3}, digits, graphs, build=build)
    assert graphs.count == 1
    monkeypatch.setattr(module, "structure_of", lambda network, config: None)
    _assert_alike(reused, _run({"rate": 0.3}, digits, build=build)[0])


def test_models_of_mixed_precision_take_turns(folded: PreparedDataset) -> None:
    graphs = Graphs()
    for rate in (0.01, 0.02):
        reports, result = _run({"learning_rate": rate, "dtype_policy": "mixed_float16"}, folded, graphs)
        assert (len(reports), result.message) == (3, "")
        assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]
    assert graphs.count == 1


def test_mixed_precision_learns_what_single_does(digits: PreparedDataset) -> None:
    losses = []
    for config in ({}, {"dtype_policy": "mixed_bfloat16"}):
        reports, _ = _run({"learning_rate": 0.01, "dropout": 0.0, "inner": 0.0, **config}, digits, Graphs())
        losses.append(reports[-1].metrics["loss"])
    single, mixed = losses
    assert mixed != single
    assert mixed == pytest.approx(single, rel=0.05)


def test_a_dropout_of_everything_and_no_weight_decay_are_no_numbers(digits: PreparedDataset) -> None:
    config = {"optimizer": "adam", "weight_decay": None, "dropout": 1.0}
    reports, result = _run(config, digits, Graphs())
    assert (len(reports), result.message) == (3, "")


def test_large_models_are_not_copied(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(_build, {}, 1, digits.spec)
    monkeypatch.setattr("automl.training.structure._MOST_WEIGHTS", network.count_params() - 1)
    assert structure_of(network, {}) is None


def test_the_last_used_graphs_are_kept(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRAPHS", 2)
    graphs = Graphs()

    def opened(units: int) -> Any:
        config = {"units": units}
        return graphs.open(build_network(_build, config, 1, digits.spec), config, digits.spec, 10)[0]

    first = opened(1)
    opened(2)
    assert opened(1) is first
    third = opened(3)
    assert opened(1) is first
    assert graphs.count == 2
    monkeypatch.setattr(module, "_WEIGHTS", third.weight_count + first.weight_count - 1)
    assert opened(3) is third
    assert graphs.count == 1  # of so many weights in all


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adamw"])
def test_nothing_of_a_graph_that_is_forgotten_is_left(optimizer: str, digits: PreparedDataset) -> None:
    """TensorFlow keeps what Keras's optimizers do where there might be several replicas, for as long as it lives."""

    def graphs_left(trials: int) -> int:
        for trial in range(trials):
            _run({"units": 3 + trial, "optimizer": optimizer}, digits)
        gc.collect()
        return sum(type(one).__name__ == "WhileBodyFuncGraph" for one in gc.get_objects())

    assert graphs_left(1) == graphs_left(3)


class _Cycle:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize(("weights", "trials"), [(10, module._GARBAGE_TRIALS), (module._GARBAGE_WEIGHTS // 2, 2)])
def test_what_trials_leave_is_collected_after_many_or_large_ones(weights: int, trials: int) -> None:
    gc.collect()
    gc.disable()  # or else Python might do it by itself
    try:
        graphs = Graphs()
        left = weakref.ref(_Cycle())
        for _ in range(trials - 1):
            graphs.trial_ended(weights)
        assert left() is not None
        graphs.trial_ended(weights)
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("layer", "is_dense"), [("dense", True), ("convolution", False), ("nested", False)])
def test_the_graph_optimizer_is_off_for_dense_layers_and_while_they_run_only(
    digits: PreparedDataset, layer: str, is_dense: bool
) -> None:
    import keras
    import tensorflow as tf

    def build(_: Config, spec: Any) -> Any:
        layers = {
            "dense": [keras.layers.Dense(4)],
            "convolution": [keras.layers.Reshape((-1, 1)), keras.layers.Conv1D(2, 3), keras.layers.Flatten()],
            "nested": [keras.Sequential([keras.layers.Dense(4)])],
        }
        inputs, x = input_layers(spec)
        for one in layers[layer]:
            x = one(x)
        return keras.Model(inputs, output_layers(x, spec))

    during: list[bool] = []

    class Noted(TensorflowSweep):
        def run(self, *arguments: Any) -> Any:
            function = self._function

            def noted(*given: Any) -> Any:
                during.append(tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False))
                return function(*given)

            self._function = noted
            return super().run(*arguments)

    model = compile_model(build_network(build, {}, 1, digits.spec), {}, digits.spec, total_steps=1)
    sweep = Noted(_evaluation_step(model), 1, is_dense=evaluation_sweep(model)._is_dense)
    Evaluator(model, open_rows(digits.split("validation")), sweep=sweep).evaluate()
    assert during == [is_dense]
    assert not tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)


def test_rows_stay_open_from_trial_to_trial_until_a_refit(digits: PreparedDataset) -> None:
    graphs = Graphs()
    first, _ = _run({}, digits, graphs)
    opened = dict(graphs.rows(of_refit=False))
    again, _ = _run({}, digits, graphs)
    _assert_alike(first, again)
    assert opened
    assert all(graphs.rows(of_refit=False)[name] is rows for name, rows in opened.items())
    graphs.rows(of_refit=False)["streamed"] = StreamedRows([np.zeros((2, 1))], [np.zeros(2)])
    assert graphs.rows(of_refit=False) == opened  # there may be room for them now
    assert graphs.rows(of_refit=True) == {}
