"""From a config to a compiled model: calls the space's builder, checks what it returns, and compiles it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec, Task
from automl.errors import SpaceError
from automl.records import Config, FailureReason
from automl.search_space import Build
from automl.training.failures import TrialFailure, as_failure

_LOSSES: Mapping[Task, str] = {
    Task.REGRESSION: "mean_squared_error",
    Task.BINARY: "binary_crossentropy",
    Task.MULTICLASS: "sparse_categorical_crossentropy",
    Task.MULTILABEL: "binary_crossentropy",
}
_DEFAULT_LEARNING_RATE = 1e-3
_EXPONENTIAL_END = 0.01  # fraction of the learning rate that is left at the epoch cap
DEFAULT_BATCH_SIZE = 64


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
    try:
        model = build(config, spec)
    except Exception as error:
        raise as_failure(error, FailureReason.INVALID_MODEL) from error
    _check(model, spec)
    if not model.compiled:
        model.compile(optimizer=_optimizer(config, total_steps), loss=[_LOSSES[one.task] for one in spec.outputs])
    return model


def _check(model: Any, spec: DatasetSpec) -> None:
    import keras

    if not isinstance(model, keras.Model):
        raise _invalid(f"build returned a {type(model).__name__}, not a keras.Model")
    if not model.built or not getattr(model, "inputs", None):  # a subclass may be built and have none
        raise _invalid("build returned a model without inputs: start it with input_layers(spec) or keras.Input")
    _check_shapes("input", [tuple(one.shape[1:]) for one in model.inputs], [one.shape for one in spec.inputs])
    _check_shapes("output", [tuple(one.shape[1:]) for one in model.outputs], [(one.units,) for one in spec.outputs])


def _check_shapes(what: str, received: list[tuple[int, ...]], expected: list[tuple[int, ...]]) -> None:
    if received != expected:
        raise _invalid(
            f"the model's {what} shapes are {received}, the dataset needs {expected}: use {what}_layers() of automl"
        )


def _invalid(message: str) -> TrialFailure:
    return TrialFailure(FailureReason.INVALID_MODEL, message)


def _optimizer(config: Config, total_steps: int) -> Any:
    import keras

    rate = _learning_rate(config, total_steps)
    match config.get("optimizer", "adam"):
        case "adam":
            return keras.optimizers.Adam(rate)
        case "adamw":
            return keras.optimizers.AdamW(rate, weight_decay=config.get("weight_decay", 4e-3))
        case "sgd":
            return keras.optimizers.SGD(
                rate, momentum=config.get("momentum", 0.0), nesterov=config.get("nesterov", False)
            )
        case "rmsprop":
            return keras.optimizers.RMSprop(rate)
        case "adagrad":
            return keras.optimizers.Adagrad(rate)
        case unknown:
            raise _invalid(f"unknown optimizer {unknown!r}; known: adam, adamw, sgd, rmsprop, adagrad")


def _learning_rate(config: Config, total_steps: int) -> Any:
    import keras

    rate = config.get("learning_rate", _DEFAULT_LEARNING_RATE)
    match config.get("learning_rate_schedule", "constant"):
        case "constant":
            return rate
        case "cosine":
            return keras.optimizers.schedules.CosineDecay(rate, total_steps)
        case "exponential":
            return keras.optimizers.schedules.ExponentialDecay(rate, total_steps, _EXPONENTIAL_END)
        case unknown:
            raise _invalid(f"unknown learning_rate_schedule {unknown!r}; known: constant, cosine, exponential")


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
