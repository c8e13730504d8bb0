"""The loss of each output: the one that suits its task, or the one that the config names."""

from __future__ import annotations

from collections.abc import Mapping
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


def make_loss(config: Config, output: OutputSpec) -> Any:
    """Return the Keras loss of one output.

    Args:
        config: Read are `loss`, and for classes `label_smoothing` (0 to 1).
        output: The output.

    Raises:
        TrialFailure: `invalid_model`, where no task knows the loss.
    """
    import keras

    known = LOSSES[output.task]
    name = config.get("loss", known[0])
    if name not in {one for names in LOSSES.values() for one in names}:
        raise invalid_model(f"unknown loss {name!r}; known for {output.task}: {', '.join(known)}")
    name = name if name in known else known[0]
    if output.task is Task.MULTICLASS:
        return _of_classes(name, output.units, config.get("label_smoothing", 0.0))
    if name == "crossentropy":
        return keras.losses.BinaryCrossentropy(label_smoothing=config.get("label_smoothing", 0.0))
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
