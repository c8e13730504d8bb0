"""From a config to a compiled model: calls the space's builder, checks what it returns, and compiles it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec
from automl.errors import SpaceError
from automl.records import Config, FailureReason
from automl.search_space import Build
from automl.standard_parameters import DTYPE_POLICIES
from automl.training import replicas
from automl.training.failures import TrialFailure, as_failure, invalid_model
from automl.training.losses import make_losses
from automl.training_defaults import training_value

_EXPONENTIAL_END = 0.01  # fraction of the learning rate that is left at the epoch cap
_INVERSE_TIME_DECAY = 9.0  # the rate ends at 1 / (1 + 9): a tenth


def assemble(build: Build, config: Config, spec: DatasetSpec, *, total_steps: int) -> Any:
    """Return the compiled `keras.Model` of a config.

    Args:
        build: The space's builder.
        config: The config.
        spec: The dataset.
        total_steps: Optimizer steps until the epoch cap, over which learning-rate schedules run.

    Raises:
        TrialFailure: `invalid_model`, where the builder raises, returns no model, or one whose inputs or outputs do
            not fit the dataset; `oom` where it runs out of memory.
    """
    return compile_model(_checked(build, config, spec), config, spec, total_steps=total_steps)


def compile_model(network: Any, config: Config, spec: DatasetSpec, *, total_steps: int) -> Any:
    """Compile what a builder returned, unless it has done so itself, and return it; arguments as for `assemble`.

    Raises:
        TrialFailure: `invalid_model`, where the config names an optimizer, schedule or loss that there is not.
    """
    if not network.compiled:
        network.compile(optimizer=make_optimizer(config, total_steps), loss=make_losses(config, spec.outputs))
    return network


@contextmanager
def dtype_policy(config: Config) -> Iterator[None]:
    """Let layers and models that are made meanwhile compute in what a config asks for.

    Mixed precision (Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3) keeps weights in 32 bits and
    computes in 16; with `mixed_float16` Keras scales the loss as well.

    Raises:
        TrialFailure: `invalid_model`, where there is no such policy.
    """
    import keras

    name = config.get("dtype_policy")
    if name is None:
        yield
        return
    if name not in DTYPE_POLICIES:
        raise invalid_model(f"unknown dtype_policy {name!r}; known: {', '.join(DTYPE_POLICIES)}")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _checked(build: Build, config: Config, spec: DatasetSpec) -> Any:
    try:
        with dtype_policy(config):
            model = build(config, spec)
    except Exception as error:
        raise as_failure(error, FailureReason.INVALID_MODEL) from error
    _check(model, spec)
    return model


def _check(model: Any, spec: DatasetSpec) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise invalid_model(f"build returned a {type(model).__name__}, not a keras.Model")
    if not model.built or not getattr(model, "inputs", None):  # a subclass may be built and have none
        raise invalid_model("build returned a model without inputs: start it with input_layers(spec) or keras.Input")
    if isinstance(getattr(model, "output", None), dict):  # a Sequential model has none
        raise invalid_model("build returned a model with a dict of outputs: give a list, in the order of spec.outputs")
    _check_shapes("input", [tuple(one.shape[1:]) for one in model.inputs], [one.shape for one in spec.inputs])
    _check_shapes("output", [tuple(one.shape[1:]) for one in model.outputs], [(one.units,) for one in spec.outputs])
    if wrong := [one.dtype for one in model.outputs if one.dtype not in ("float32", "float64")]:
        raise invalid_model(
            f"the model's outputs are of {', '.join(wrong)}, too coarse for losses and metrics: use output_layers() of "
            "automl, or give the last layers dtype='float32'"
        )


def _check_shapes(what: str, received: list[tuple[int, ...]], expected: list[tuple[int, ...]]) -> None:
    if received != expected:
        raise invalid_model(
            f"the model's {what} shapes are {received}, the dataset needs {expected}: use {what}_layers() of automl"
        )


def make_optimizer(config: Config, total_steps: Any, *, sgd: Any = None) -> Any:
    """Return the optimizer that a config names.

    Args:
        config: Its numbers may be variables, but for the momentum.
        total_steps: Steps that the schedule runs over; may be a variable.
        sgd: A class to be used instead of Keras's SGD.

    Raises:
        TrialFailure: `invalid_model`, where there is no such optimizer or schedule.
    """
    import keras

    known = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": sgd or keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
        "adagrad": keras.optimizers.Adagrad,
    }
    name = training_value(config, "optimizer")
    if name not in known:
        raise invalid_model(f"unknown optimizer {name!r}; known: {', '.join(known)}")
    arguments = {"weight_decay": config["weight_decay"]} if "weight_decay" in config else {}
    if "gradient_clip" in config:
        arguments["clipnorm"] = config["gradient_clip"]
    if name == "sgd":
        arguments |= {name: training_value(config, name) for name in ("momentum", "nesterov")}
    return known[name](_learning_rate(config, total_steps), **arguments)


def _constant(rate: Any) -> Any:
    """Return a schedule that reads a variable, which optimizers do not take as it is."""
    import keras

    class Constant(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> Any:
            return keras.ops.convert_to_tensor(rate)

    return Constant()


def _learning_rate(config: Config, total_steps: Any) -> Any:
    import keras

    schedules = keras.optimizers.schedules
    rate = training_value(config, "learning_rate")
    match training_value(config, "learning_rate_schedule"):
        case "constant":
            return rate if isinstance(rate, float) else _constant(rate)
        case "cosine":
            return schedules.CosineDecay(rate, total_steps)
        case "exponential":
            return schedules.ExponentialDecay(rate, total_steps, _EXPONENTIAL_END)
        case "inverse_time":
            return schedules.InverseTimeDecay(rate, total_steps, _INVERSE_TIME_DECAY)
        case unknown:
            raise invalid_model(
                f"unknown learning_rate_schedule {unknown!r}; known: constant, cosine, exponential, inverse_time"
            )


def build_model(build: Build, config: Config, seed: int, spec: DatasetSpec, epochs: int) -> Any:
    """Return the compiled `keras.Model` of a config, its weights drawn from `seed`.

    Raises:
        TrialFailure: See `assemble`.
    """
    network = build_network(build, config, seed, spec)
    with replicas.scope():
        return compile_model(network, config, spec, total_steps=steps_until_cap(config, spec.train_rows, epochs))


def steps_until_cap(config: Config, rows: int, epochs: int) -> int:
    """Return the optimizer steps of so many epochs of so many rows."""
    return max(1, epochs * math.ceil(rows / int(training_value(config, "batch_size"))))


def build_network(build: Build, config: Config, seed: int, spec: DatasetSpec) -> Any:
    """Return the `keras.Model` of a config as its builder returns it, its weights drawn from `seed`.

    Raises:
        TrialFailure: See `assemble`.
    """
    import keras

    keras.backend.clear_session(free_memory=False)  # see Graphs.trial_ended
    # What keras.utils.set_random_seed does, less tf.random.set_seed, which drops TensorFlow's kernel caches (half a
    # second) and which Keras's own layers and initialisers do not use.
    random.seed(seed)
    np.random.seed(seed)
    with replicas.scope():
        return _checked(build, config, spec)


def check_build(build: Build, prepared: PreparedDataset, *, config: Config) -> None:
    """Build a config's model, so that a space that cannot work is refused before anything is spent.

    Raises:
        SpaceError: The builder raises, returns no model, or one that does not fit the dataset.
    """
    try:
        assemble(build, config, prepared.spec, total_steps=1)
    except TrialFailure as failure:
        reason = failure.message.strip().splitlines()[-1]
        raise SpaceError(f"the space's build fails for its default config {config}: {reason}") from failure
