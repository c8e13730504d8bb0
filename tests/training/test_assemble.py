"""From a config to a compiled model, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automl.data import PreparedDataset
from automl.errors import SpaceError
from automl.layers import input_layers, output_layers
from automl.records import FailureReason
from automl.training.assemble import assemble, check_build
from automl.training.failures import TrialFailure


def _linear(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    return keras.Model(inputs, output_layers(keras.layers.Flatten()(x), spec))


def _no_model(config: Any, spec: Any) -> Any:
    return "a model"


def _unbuilt(config: Any, spec: Any) -> Any:
    import keras

    return keras.Sequential([keras.layers.Dense(10)])


def _subclassed(config: Any, spec: Any) -> Any:
    import keras

    class Mine(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(spec.output.units)

        def call(self, x: Any) -> Any:
            return self.dense(x)

    model = Mine()
    model(np.zeros((1, *spec.input_shape), "float32"))
    return model


def _wrong_output(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    return keras.Model(inputs, keras.layers.Dense(3)(x))


def _wrong_input(config: Any, spec: Any) -> Any:
    import keras

    inputs = keras.Input((7,))
    return keras.Model(inputs, output_layers(inputs, spec))


def _raises(config: Any, spec: Any) -> Any:
    return config["no such parameter"]


_REFUSED = {
    _no_model: "returned a str, not a keras.Model",
    _unbuilt: "without inputs",
    _subclassed: "without inputs",
    _wrong_output: r"output shapes are \[\(3,\)\], the dataset needs \[\(10,\)\]: use output_layers",
    _wrong_input: r"input shapes are \[\(7,\)\], the dataset needs \[\(64,\)\]: use input_layers",
    _raises: "KeyError: 'no such parameter'",
}


@pytest.mark.parametrize("build", _REFUSED)
def test_a_build_that_gives_no_usable_model_is_refused(build: Any, digits: PreparedDataset) -> None:
    with pytest.raises(TrialFailure, match=_REFUSED[build]) as caught:
        assemble(build, {}, digits.spec, total_steps=1)
    assert caught.value.reason is FailureReason.INVALID_MODEL
    with pytest.raises(SpaceError, match=_REFUSED[build]) as refused:
        check_build(build, digits, config={})
    assert "\n" not in str(refused.value)


def test_a_build_that_works_is_accepted(digits: PreparedDataset) -> None:
    check_build(_linear, digits, config={"optimizer": "sgd"})


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        ({}, "Adam", {"learning_rate": 1e-3}),
        ({"optimizer": "adam", "learning_rate": 0.02}, "Adam", {"learning_rate": 0.02}),
        ({"optimizer": "adamw", "weight_decay": 0.03}, "AdamW", {"weight_decay": 0.03}),
        ({"optimizer": "sgd", "momentum": 0.8, "nesterov": True}, "SGD", {"momentum": 0.8, "nesterov": True}),
        ({"optimizer": "sgd"}, "SGD", {"momentum": 0.0, "nesterov": False}),
        ({"optimizer": "rmsprop"}, "RMSprop", {}),
        ({"optimizer": "adagrad", "learning_rate": 0.5}, "Adagrad", {"learning_rate": 0.5}),
    ],
)
def test_the_optimizer_is_the_configs(digits: PreparedDataset, config: Any, kind: str, expected: Any) -> None:
    optimizer = assemble(_linear, config, digits.spec, total_steps=10).optimizer
    assert type(optimizer).__name__ == kind
    settings = optimizer.get_config()
    assert {name: settings[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("schedule", "end"), [("constant", 0.1), ("cosine", 0.0), ("exponential", 0.001)])
def test_a_schedule_runs_until_the_last_step(digits: PreparedDataset, schedule: str, end: float) -> None:
    config = {"learning_rate": 0.1, "learning_rate_schedule": schedule}
    optimizer = assemble(_linear, config, digits.spec, total_steps=40).optimizer
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    optimizer.iterations.assign(40)
    assert float(optimizer.learning_rate) == pytest.approx(end, abs=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_dtype_policy_is_that_of_all_layers_but_the_last(digits: PreparedDataset, policy: str) -> None:
    def build(config: Any, spec: Any) -> Any:
        inputs, x = input_layers(spec)
        return keras.Model(inputs, output_layers(keras.layers.Dense(4, name="inner")(x), spec))

    import keras

    model = assemble(build, {"dtype_policy": policy}, digits.spec, total_steps=1)
    assert (model.get_layer("inner").dtype_policy.name, model.output.dtype) == (policy, "float32")
    assert {weight.dtype for weight in model.weights} == {"float32"}
    scales_loss = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales_loss == (policy == "mixed_float16")
    assert keras.config.dtype_policy().name == "float32"  # for whatever comes next


def test_outputs_of_16_bits_are_refused(digits: PreparedDataset) -> None:
    def build(config: Any, spec: Any) -> Any:
        import keras

        inputs, x = input_layers(spec)
        return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))

    with pytest.raises(TrialFailure, match="outputs are of bfloat16, too coarse"):
        assemble(build, {"dtype_policy": "mixed_bfloat16"}, digits.spec, total_steps=1)


@pytest.mark.parametrize(
    "config", [{"optimizer": "lion"}, {"learning_rate_schedule": "step"}, {"dtype_policy": "mixed"}]
)
def test_an_unknown_name_is_refused(digits: PreparedDataset, config: Any) -> None:
    with pytest.raises(TrialFailure, match="known: "):
        assemble(_linear, config, digits.spec, total_steps=1)


def test_a_compiled_model_keeps_its_loss_and_optimizer(digits: PreparedDataset) -> None:
    def build(config: Any, spec: Any) -> Any:
        model = _linear(config, spec)
        model.compile(optimizer="nadam", loss=_mine)
        return model

    def _mine(truth: Any, prediction: Any) -> Any:
        return prediction[:, 0]

    model = assemble(build, {"optimizer": "sgd"}, digits.spec, total_steps=1)
    assert type(model.optimizer).__name__ == "Nadam"
    assert model.loss is _mine


def test_memory_that_runs_out_is_oom(digits: PreparedDataset) -> None:
    import tensorflow as tf

    for error in (MemoryError("no room"), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")):

        def build(config: Any, spec: Any, error: Exception = error) -> Any:
            raise error

        with pytest.raises(TrialFailure) as caught:
            assemble(build, {}, digits.spec, total_steps=1)
        assert caught.value.reason is FailureReason.OOM


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"loss": "huber"}, "the loss 'huber' suits no output; known here: crossentropy, mean_squared_error"),
        ({"label_smoothing": 1.5}, "label_smoothing goes with classes, from 0 to below 1, received 1.5"),
    ],
)
def test_a_loss_that_does_not_suit_is_refused(digits: PreparedDataset, config: Any, says: str) -> None:
    with pytest.raises(TrialFailure, match=says):
        assemble(_linear, config, digits.spec, total_steps=1)


@pytest.mark.parametrize("config", [{"loss": "mean_squared_error"}, {"label_smoothing": 0.1}, {"gradient_clip": 1.0}])
def test_losses_and_clipping_by_name_can_be_trained(digits: PreparedDataset, config: Any) -> None:
    model = assemble(_linear, config, digits.spec, total_steps=9)
    x, y = (np.asarray(part[0][:50]) for part in (digits.split("train").inputs, digits.split("train").outputs))
    first, *_, last = (float(model.train_on_batch(x, y)) for _ in range(9))
    assert last < first


def test_a_dict_of_outputs_is_refused(digits: PreparedDataset) -> None:
    def build(config: Any, spec: Any) -> Any:
        import keras

        model = _linear(config, spec)
        return keras.Model(model.inputs, {"answer": model.outputs[0]})

    with pytest.raises(TrialFailure, match="a dict of outputs: give a list"):
        assemble(build, {}, digits.spec, total_steps=1)
