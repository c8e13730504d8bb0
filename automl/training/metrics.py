"""Metrics of predictions, in numpy: one definition for training, validation and test rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.dataset_spec import OutputSpec, Task

Array: TypeAlias = npt.NDArray[Any]
Metric: TypeAlias = Callable[[Array, Array], float]


def accuracy(truth: Array, prediction: Array) -> float:
    """Return the share of right classes: (rows,) indices against (rows, classes), or 0/1 against probabilities."""
    return _counts(truth, prediction).accuracy


def precision(truth: Array, prediction: Array) -> float:
    """Return the share of right ones among what was predicted as a class, averaged over classes; 0 where none was.

    Of binary targets it is that of the positive class; of labels, the average over labels.
    """
    return _counts(truth, prediction).precision


def recall(truth: Array, prediction: Array) -> float:
    """Return the share of a class's rows that were found, averaged as for `precision`."""
    return _counts(truth, prediction).recall


def f1(truth: Array, prediction: Array) -> float:
    """Return the harmonic mean of precision and recall of a class, averaged as for `precision`."""
    return _counts(truth, prediction).f1


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

COSTLY = frozenset({(Task.MULTICLASS, "auc")})
"""Metrics that sort every row once a class: too much for every epoch of every trial."""


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
        # The metrics of classes come from one count: of small networks, counting takes a fair share of an epoch.
        counted = None if output.task is Task.REGRESSION else _counts(truth, prediction)
        for name, metric in METRICS[output.task].items():
            full_name = prefix + metric_name(output, name, outputs)
            if hasattr(counted, name):
                values[full_name] = getattr(counted, name)
            elif (output.task, name) not in COSTLY or full_name in wanted:
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


@dataclass(frozen=True)
class _Counts:
    """How often each class or label was rightly predicted, predicted, and there; and of how many answers."""

    hits: Array
    predicted: Array
    actual: Array
    right: int
    answers: int

    @property
    def accuracy(self) -> float:
        return self.right / self.answers

    @property
    def precision(self) -> float:
        return float(np.mean(_share(self.hits, self.predicted)))

    @property
    def recall(self) -> float:
        return float(np.mean(_share(self.hits, self.actual)))

    @property
    def f1(self) -> float:
        return float(np.mean(_share(2 * self.hits, self.predicted + self.actual)))


def _counts(truth: Array, prediction: Array) -> _Counts:
    if prediction.shape == truth.shape:
        predicted, actual = prediction > 0.5, truth > 0.5
        right = int(np.count_nonzero(predicted == actual))
        return _Counts((predicted & actual).sum(axis=0), predicted.sum(axis=0), actual.sum(axis=0), right, truth.size)
    classes = prediction.shape[-1]
    pairs = truth.astype(np.intp) * classes + prediction.argmax(axis=-1)
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits = confusion.diagonal()
    return _Counts(hits, confusion.sum(axis=0), confusion.sum(axis=1), int(hits.sum()), len(truth))


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
