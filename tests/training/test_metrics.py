"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from automl.dataset_spec import OutputSpec, Task
from automl.training.metrics import (
    accuracy,
    auc,
    f1,
    in_target_units,
    mae,
    precision,
    r2,
    recall,
    rmse,
    score,
    score_in_full,
)

_RANDOM = np.random.default_rng(0)
_ROWS = 400
_CLASSES = _RANDOM.integers(0, 5, _ROWS).astype("int32")
_SCORES = _RANDOM.random((_ROWS, 5)).astype("float32")
_LABELS = (_RANDOM.random((_ROWS, 3)) > 0.7).astype("float32")
_PROBABILITIES = np.clip(_LABELS * 0.3 + _RANDOM.random((_ROWS, 3)) * 0.7, 0, 1).astype("float32")
_VALUES = _RANDOM.normal(10, 4, (_ROWS, 2))
_GUESSES = _VALUES + _RANDOM.normal(0, 2, (_ROWS, 2))


_COUNTED = ("accuracy", "precision", "recall", "f1")


def test_accuracy_of_classes() -> None:
    assert accuracy(_CLASSES, _SCORES) == pytest.approx(
        sklearn_metrics.accuracy_score(_CLASSES, _SCORES.argmax(axis=1))
    )


def test_accuracy_of_as_many_rows_as_classes() -> None:
    assert accuracy(np.arange(5, dtype="int32"), np.eye(5, dtype="float32")) == 1.0


def test_accuracy_of_labels_is_that_of_each_label() -> None:
    wrong = sklearn_metrics.hamming_loss(_LABELS, _PROBABILITIES > 0.5)
    assert accuracy(_LABELS, _PROBABILITIES) == pytest.approx(1 - wrong)
    binary = sklearn_metrics.accuracy_score(_LABELS[:, 0], _PROBABILITIES[:, 0] > 0.5)
    assert accuracy(_LABELS[:, :1], _PROBABILITIES[:, :1]) == pytest.approx(binary)


def test_auc_is_the_mean_over_labels() -> None:
    assert auc(_LABELS, _PROBABILITIES) == pytest.approx(sklearn_metrics.roc_auc_score(_LABELS, _PROBABILITIES))


def test_auc_leaves_out_labels_of_one_class() -> None:
    truth = _LABELS.copy()
    truth[:, 1] = 1
    expected = np.mean([sklearn_metrics.roc_auc_score(truth[:, k], _PROBABILITIES[:, k]) for k in (0, 2)])
    assert auc(truth, _PROBABILITIES) == pytest.approx(expected)
    assert math.isnan(auc(np.ones((5, 1)), np.ones((5, 1))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_auc_of_what_is_not_finite_is_nan(bad: float) -> None:
    prediction = _PROBABILITIES.copy()
    prediction[0, 0] = bad
    assert math.isnan(auc(_LABELS, prediction))


def test_regression() -> None:
    assert rmse(_VALUES, _GUESSES) == pytest.approx(np.sqrt(sklearn_metrics.mean_squared_error(_VALUES, _GUESSES)))
    assert mae(_VALUES, _GUESSES) == pytest.approx(sklearn_metrics.mean_absolute_error(_VALUES, _GUESSES))
    assert r2(_VALUES, _GUESSES) == pytest.approx(sklearn_metrics.r2_score(_VALUES, _GUESSES))


def test_r2_of_a_constant_target_is_zero() -> None:
    assert r2(np.ones((5, 1)), np.zeros((5, 1))) == 0.0


def test_scores_of_regression_are_in_the_targets_units() -> None:
    output = OutputSpec(name="y", task=Task.REGRESSION, units=2, offset=(100.0, -1.0), scale=(10.0, 0.5))
    assert in_target_units(np.array([[1.0, 2.0]]), output).tolist() == [[110.0, 0.0]]
    found = score([_VALUES], [_GUESSES], [output], prefix="val_")
    raw = [values * [10.0, 0.5] + [100.0, -1.0] for values in (_VALUES, _GUESSES)]
    assert found == pytest.approx(
        {
            "val_rmse": np.sqrt(sklearn_metrics.mean_squared_error(*raw)),
            "val_mse": sklearn_metrics.mean_squared_error(*raw),
            "val_mae": sklearn_metrics.mean_absolute_error(*raw),
            "val_r2": sklearn_metrics.r2_score(*raw),
        }
    )


def test_several_outputs_put_their_names_first() -> None:
    outputs = [
        OutputSpec(name="kind", task=Task.MULTICLASS, units=5, labels=tuple(range(5))),
        OutputSpec(name="flags", task=Task.MULTILABEL, units=3, labels=tuple("abc")),
    ]
    found = score([_CLASSES, _LABELS], [_SCORES, _PROBABILITIES], outputs, prefix="val_")
    counted = {f"val_{name}_{metric}" for name in ("kind", "flags") for metric in _COUNTED}
    assert set(found) == {*counted, "val_flags_auc"}
    costly = score([_CLASSES, _LABELS], [_SCORES, _PROBABILITIES], outputs, wanted=["kind_auc"])
    assert costly["kind_auc"] == auc(_CLASSES, _SCORES)


def test_the_sealed_test_has_every_metric_and_each_label_apart() -> None:
    flags = OutputSpec(name="flags", task=Task.MULTILABEL, units=3, labels=tuple("abc"))
    found = score_in_full([_LABELS], [_PROBABILITIES], [flags])
    assert set(found) == {*_COUNTED, "auc", "accuracy_a", "accuracy_b", "accuracy_c"}
    each = [found[f"accuracy_{label}"] for label in "abc"]
    assert np.mean(each) == pytest.approx(found["accuracy"])
    kind = OutputSpec(name="kind", task=Task.MULTICLASS, units=5, labels=tuple(range(5)))
    assert set(score_in_full([_CLASSES], [_SCORES], [kind])) == {*_COUNTED, "auc"}


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_counts_of_classes_and_labels(name: str) -> None:
    ours = {"precision": precision, "recall": recall, "f1": f1}[name]
    theirs = getattr(sklearn_metrics, f"{name}_score")
    chosen = _SCORES.argmax(axis=1)
    labels = range(_SCORES.shape[1])
    expected = theirs(_CLASSES, chosen, labels=labels, average="macro", zero_division=0)
    assert ours(_CLASSES, _SCORES) == pytest.approx(expected)
    flags = _PROBABILITIES > 0.5
    assert ours(_LABELS, _PROBABILITIES) == pytest.approx(theirs(_LABELS, flags, average="macro", zero_division=0))
    positive = ours(_LABELS[:, :1], _PROBABILITIES[:, :1])
    assert positive == pytest.approx(theirs(_LABELS[:, 0], flags[:, 0], zero_division=0))
    assert ours(np.zeros((4, 1)), np.zeros((4, 1))) == 0.0


def test_auc_of_classes_is_one_against_the_rest() -> None:
    present = np.unique(_CLASSES)
    expected = [sklearn_metrics.roc_auc_score(one == _CLASSES, _SCORES[:, one]) for one in present]
    assert auc(_CLASSES, _SCORES) == pytest.approx(np.mean(expected))


def test_auc_counts_ties_half() -> None:
    truth, tied = np.array([[0], [1], [0], [1]]), np.array([[0.5], [0.5], [0.2], [0.5]])
    assert auc(truth, tied) == pytest.approx(sklearn_metrics.roc_auc_score(truth[:, 0], tied[:, 0]))
