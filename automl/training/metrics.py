"""Metrics of predictions, in numpy: one definition for training, validation and test rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.dataset_spec import OutputSpec, Task

Array: TypeAlias = npt.NDArray[Any]
Metric: TypeAlias = Callable[[Array, Array], float]


def accuracy(truth: Array, prediction: Array) -> float:
    """Return the share of right classes: (rows,) indices against (rows, classes), or 0/1 against probabilities."""
    if prediction.shape != truth.shape:
        return float(np.mean(prediction.argmax(axis=-1) == truth))
    return float(np.mean((prediction > 0.5) == (truth > 0.5)))


def precision(truth: Array, prediction: Array) -> float:
    """Return the share of right ones among what was predicted as a class, averaged over classes; 0 where none was.

    Of binary targets it is that of the positive class; of labels, the average over labels.
    """
    hits, predicted, _ = _counts(truth, prediction)
    return float(np.mean(_share(hits, predicted)))


def recall(truth: Array, prediction: Array) -> float:
    """Return the share of a class's rows that were found, averaged as for `precision`."""
    hits, _, actual = _counts(truth, prediction)
    return float(np.mean(_share(hits, actual)))


def f1(truth: Array, prediction: Array) -> float:
    """Return the harmonic mean of precision and recall of a class, averaged as for `precision`."""
    hits, predicted, actual = _counts(truth, prediction)
    return float(np.mean(_share(2 * hits, predicted + actual)))


def auc(truth: Array, prediction: Array) -> float:
    """Return the area under the ROC curve, averaged over the labels, or one class against the rest, that have both.

    NaN where none has both, or a prediction is not finite.
    """
    if not np.isfinite(prediction).all():
        return float("nan")
    if prediction.shape != truth.shape:
        truth = truth[:, None] == np.arange(prediction.shape[1])
    positive = truth > 0.5
    both = np.flatnonzero(positive.any(axis=0) & ~positive.all(axis=0))
    areas = [_area(positive[:, column], prediction[:, column]) for column in both]
    return float(np.mean(areas)) if areas else float("nan")


def mse(truth: Array, prediction: Array) -> float:
    """Return the mean squared error, over rows and units."""
    return float(np.mean((prediction - truth) ** 2))


def rmse(truth: Array, prediction: Array) -> float:
    """Return the root of the mean squared error, over rows and units."""
    return float(np.sqrt(mse(truth, prediction)))


def mae(truth: Array, prediction: Array) -> float:
    """Return the mean absolute error, over rows and units."""
    return float(np.mean(np.abs(prediction - truth)))


def r2(truth: Array, prediction: Array) -> float:
    """Return the explained share of variance, averaged over units; 0 where a unit is constant."""
    variance = truth.var(axis=0)
    error = np.mean((prediction - truth) ** 2, axis=0)
    return float(np.mean(np.where(variance > 0, 1 - error / np.where(variance > 0, variance, 1), 0.0)))


_CLASSES: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "auc": auc,
}
METRICS: Mapping[Task, Mapping[str, Metric]] = {
    Task.REGRESSION: {"rmse": rmse, "mse": mse, "mae": mae, "r2": r2},
    Task.BINARY: _CLASSES,
    Task.MULTICLASS: _CLASSES,
    Task.MULTILABEL: _CLASSES,
}

_COSTLY = {(Task.MULTICLASS, "auc")}  # sorts every row once a class: too much for every epoch of every trial


def in_target_units(values: Array, output: OutputSpec) -> Array:
    """Return scaled regression values, shape (rows, units), in the units of the target; other tasks unchanged."""
    if output.task is not Task.REGRESSION:
        return values
    scaled: Array = np.asarray(values, "float64") * np.asarray(output.scale) + np.asarray(output.offset)
    return scaled


def score(
    truths: Sequence[Array],
    predictions: Sequence[Array],
    outputs: Sequence[OutputSpec],
    *,
    prefix: str = "",
    wanted: Collection[str] = (),
) -> dict[str, float]:
    """Return the metrics of every output; with several outputs their names come first, such as `income_accuracy`.

    Args:
        truths: Encoded targets, one array an output.
        predictions: The model's outputs, one array an output.
        outputs: The outputs' specs.
        prefix: Put before each name, such as `"val_"`.
        wanted: Full names of costly metrics (the AUC of many classes) that are to be computed all the same.
    """
    values = {}
    for truth, prediction, output in zip(truths, predictions, outputs, strict=True):
        raw_truth, raw_prediction = in_target_units(truth, output), in_target_units(prediction, output)
        for name, metric in METRICS[output.task].items():
            full_name = prefix + metric_name(output, name, outputs)
            if (output.task, name) not in _COSTLY or full_name in wanted:
                values[full_name] = metric(raw_truth, raw_prediction)
    return values


def score_in_full(
    truths: Sequence[Array], predictions: Sequence[Array], outputs: Sequence[OutputSpec]
) -> dict[str, float]:
    """Return every metric, costly ones too, and the accuracy of each label of a multilabel output.

    Arguments as for `score`. A label's accuracy is named `accuracy_<label>`.
    """
    costly = [metric_name(output, name, outputs) for output in outputs for name in METRICS[output.task]]
    values = score(truths, predictions, outputs, wanted=costly)
    for truth, prediction, output in zip(truths, predictions, outputs, strict=True):
        if output.task is Task.MULTILABEL:
            for column, label in enumerate(output.labels):
                own = metric_name(output, f"accuracy_{label}", outputs)
                values[own] = accuracy(truth[:, column], prediction[:, column])
    return values


def metric_name(output: OutputSpec, metric: str, outputs: Sequence[OutputSpec]) -> str:
    """Return the full name of an output's metric: with several outputs the output's name comes first."""
    return f"{output.name}_{metric}" if len(outputs) > 1 else metric


def _counts(truth: Array, prediction: Array) -> tuple[Array, Array, Array]:
    """Return, per class or label, how often it was rightly predicted, predicted, and there."""
    if prediction.shape == truth.shape:
        predicted, actual = prediction > 0.5, truth > 0.5
        return (predicted & actual).sum(axis=0), predicted.sum(axis=0), actual.sum(axis=0)
    classes = prediction.shape[-1]
    chosen = prediction.argmax(axis=-1)
    hits = np.bincount(truth[chosen == truth], minlength=classes)
    return hits, np.bincount(chosen, minlength=classes), np.bincount(truth, minlength=classes)


def _share(part: Array, whole: Array) -> Array:
    return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)


def _area(positive: Array, score: Array) -> float:
    """Return the area under one ROC curve: the chance that a positive row is ranked above a negative one.

    It is the Mann-Whitney statistic, ties counting half (Fawcett, 2006, section 7).
    """
    from scipy.stats import rankdata

    positives = int(positive.sum())
    above = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (len(positive) - positives)))
