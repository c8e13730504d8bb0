"""The loss of each output: the one that suits its task, or the one that the config names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.dataset_spec import OutputSpec, Task
from automl.records import Config
from automl.training.failures import invalid_model

_REGRESSION = ("mean_squared_error", "mean_absolute_error", "huber")
_CLASSES = ("crossentropy", "mean_squared_error")
LOSSES: Mapping[Task, tuple[str, ...]] = {
    Task.REGRESSION: _REGRESSION,
    Task.BINARY: _CLASSES,
    Task.MULTICLASS: _CLASSES,
    Task.MULTILABEL: _CLASSES,
}
"""What a config may name as `loss`, the default first. With several outputs a name counts for those that know it."""


def make_losses(config: Config, outputs: Sequence[OutputSpec]) -> list[Any]:
    """Return the Keras loss of each output.

    Args:
        config: Read are `loss`, and for classes `label_smoothing` (from 0 to below 1).
        outputs: The dataset's outputs; what the config names must suit one of them at least.

    Raises:
        TrialFailure: `invalid_model`, where no output can be trained with what the config names.
    """
    known = {name for output in outputs for name in LOSSES[output.task]}
    if config.get("loss", next(iter(known))) not in known:
        raise invalid_model(f"the loss {config['loss']!r} suits no output; known here: {', '.join(sorted(known))}")
    smoothing = config.get("label_smoothing", 0.0)
    if not 0 <= smoothing < 1 or (smoothing and all(output.task is Task.REGRESSION for output in outputs)):
        raise invalid_model(f"label_smoothing goes with classes, from 0 to below 1, received {smoothing!r}")
    return [_make_loss(config, output, smoothing) for output in outputs]


def _make_loss(config: Config, output: OutputSpec, smoothing: float) -> Any:
    import keras

    known = LOSSES[output.task]
    name = config["loss"] if config.get("loss") in known else known[0]
    if output.task is Task.MULTICLASS:
        return _of_classes(name, output.units, smoothing)
    if name == "crossentropy":
        return keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
    return keras.losses.get(name)


def _of_classes(name: str, units: int, label_smoothing: float) -> Any:
    """Return a loss against integer classes; Keras takes them for the plain cross-entropy only."""
    import keras

    if name == "crossentropy" and not label_smoothing:
        return keras.losses.SparseCategoricalCrossentropy()

    def against_one_hot(truth: Any, prediction: Any) -> Any:
        one_hot = keras.ops.one_hot(keras.ops.reshape(truth, (-1,)), units, dtype=prediction.dtype)
        if name == "crossentropy":
            return keras.losses.categorical_crossentropy(one_hot, prediction, label_smoothing=label_smoothing)
        return keras.losses.mean_squared_error(one_hot, prediction)

    return against_one_hot
