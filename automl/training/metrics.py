"""Metrics of predictions, in numpy: one definition for training, validation and test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.dataset_spec import OutputSpec, Task

Array: TypeAlias = npt.NDArray[Any]


def accuracy(truth: Array, prediction: Array) -> float:
    """Return the share of right classes: (rows,) indices against (rows, classes), or 0/1 against probabilities."""
    if prediction.shape != truth.shape:
        return float(np.mean(prediction.argmax(axis=-1) == truth))
    return float(np.mean((prediction > 0.5) == (truth > 0.5)))


def auc(truth: Array, prediction: Array) -> float:
    """Return the area under the ROC curve, averaged over the labels that have both classes.

    NaN where no label has both, or a prediction is not finite.
    """
    from sklearn.metrics import roc_auc_score

    if not np.isfinite(prediction).all():
        return float("nan")
    both = [k for k in range(truth.shape[1]) if truth[:, k].min() != truth[:, k].max()]
    scores = [roc_auc_score(truth[:, k], prediction[:, k]) for k in both]
    return float(np.mean(scores)) if scores else float("nan")


def rmse(truth: Array, prediction: Array) -> float:
    """Return the root of the mean squared error, over rows and units."""
    return float(np.sqrt(np.mean((prediction - truth) ** 2)))


def mae(truth: Array, prediction: Array) -> float:
    """Return the mean absolute error, over rows and units."""
    return float(np.mean(np.abs(prediction - truth)))


def r2(truth: Array, prediction: Array) -> float:
    """Return the explained share of variance, averaged over units; 0 where a unit is constant."""
    variance = truth.var(axis=0)
    error = np.mean((prediction - truth) ** 2, axis=0)
    return float(np.mean(np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1), 0.0)))


METRICS: Mapping[Task, Mapping[str, Callable[[Array, Array], float]]] = {
    Task.REGRESSION: {"rmse": rmse, "mae": mae, "r2": r2},
    Task.BINARY: {"accuracy": accuracy, "auc": auc},
    Task.MULTICLASS: {"accuracy": accuracy},
    Task.MULTILABEL: {"accuracy": accuracy, "auc": auc},
}


def in_target_units(values: Array, output: OutputSpec) -> Array:
    """Return scaled regression values, shape (rows, units), in the units of the target; other tasks unchanged."""
    if output.task is not Task.REGRESSION:
        return values
    scaled: Array = np.asarray(values, "float64") * np.asarray(output.scale) + np.asarray(output.offset)
    return scaled


def score(
    truths: Sequence[Array], predictions: Sequence[Array], outputs: Sequence[OutputSpec], *, prefix: str = ""
) -> dict[str, float]:
    """Return every metric of every output; with several outputs their names come first, such as `income_accuracy`.

    Args:
        truths: Encoded targets, one array an output.
        predictions: The model's outputs, one array an output.
        outputs: The outputs' specs.
        prefix: Put before each name, such as `"val_"`.
    """
    values = {}
    for truth, prediction, output in zip(truths, predictions, outputs, strict=True):
        own = f"{output.name}_" if len(outputs) > 1 else ""
        raw_truth, raw_prediction = in_target_units(truth, output), in_target_units(prediction, output)
        for name, metric in METRICS[output.task].items():
            values[f"{prefix}{own}{name}"] = metric(raw_truth, raw_prediction)
    return values
