"""Metrics against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from automl.dataset_spec import OutputSpec, Task
from automl.training.metrics import accuracy, auc, in_target_units, mae, r2, rmse, score

_RANDOM = np.random.default_rng(0)
_ROWS = 400
_CLASSES = _RANDOM.integers(0, 5, _ROWS).astype("int32")
_SCORES = _RANDOM.random((_ROWS, 5)).astype("float32")
_LABELS = (_RANDOM.random((_ROWS, 3)) > 0.7).astype("float32")
_PROBABILITIES = np.clip(_LABELS * 0.3 + _RANDOM.random((_ROWS, 3)) * 0.7, 0, 1).astype("float32")
_VALUES = _RANDOM.normal(10, 4, (_ROWS, 2))
_GUESSES = _VALUES + _RANDOM.normal(0, 2, (_ROWS, 2))


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
    assert set(found) == {"val_kind_accuracy", "val_flags_accuracy", "val_flags_auc"}
