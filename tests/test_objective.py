from __future__ import annotations

import math
from dataclasses import replace

import pytest

from automl.dataset_spec import OutputSpec, Task
from automl.errors import RequestError, UnknownNameError
from automl.objective import TASK_METRICS, Objective
from automl.records import EpochReport, TrialRecord, TrialState
from automl.training.metrics import METRICS

NAN = math.nan
HIGH = Objective("val_accuracy", "max")
LOW = Objective("val_rmse", "min")


def _output(task: Task, name: str = "target") -> OutputSpec:
    return OutputSpec(name=name, task=task, units=1)


def reports(name: str, *values: float, losses: tuple[float, ...] = ()) -> list[EpochReport]:
    ties: list[dict[str, float]] = [{"val_loss": loss} for loss in losses] or [{} for _ in values]
    return [
        EpochReport(epoch=number, metrics={name: value, **tie}, seconds=0.1)
        for number, (value, tie) in enumerate(zip(values, ties, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("task", "request_", "expected"),
    [
        (Task.MULTICLASS, None, Objective("val_accuracy", "max")),
        (Task.BINARY, None, Objective("val_accuracy", "max")),
        (Task.MULTILABEL, None, Objective("val_auc", "max")),
        (Task.REGRESSION, None, Objective("val_rmse", "min")),
        (Task.REGRESSION, "val_r2", Objective("val_r2", "max")),
        (Task.REGRESSION, "mae", Objective("mae", "min")),
        (Task.BINARY, "val_auc:max", Objective("val_auc", "max")),
        (Task.BINARY, "val_loss", Objective("val_loss", "min")),
        (Task.BINARY, "val_accuracy:min", Objective("val_accuracy", "min")),
    ],
)
def test_a_request_is_read(task: Task, request_: str | None, expected: Objective) -> None:
    assert Objective.for_outputs([_output(task)], request_) == expected
    assert Objective.for_outputs([_output(task)], request_).epoch == "best"


@pytest.mark.parametrize("task", list(Task))
def test_every_metric_that_a_task_reports_can_be_the_objective(task: Task) -> None:
    assert set(TASK_METRICS[task]) == set(METRICS[task])
    for name in ("loss", *TASK_METRICS[task]):
        minimised = name in ("loss", "rmse", "mse", "mae")
        assert Objective.for_outputs([_output(task)], f"val_{name}").direction == ("min" if minimised else "max")


def test_objectives_of_several_outputs_carry_their_names() -> None:
    outputs = [_output(Task.BINARY, "income"), _output(Task.REGRESSION, "hours")]
    assert Objective.for_outputs(outputs) == Objective("val_loss", "min")
    assert Objective.for_outputs(outputs, "val_income_auc") == Objective("val_income_auc", "max")
    assert Objective.for_outputs(outputs, "hours_mae") == Objective("hours_mae", "min")
    odd = [_output(Task.BINARY, "a:b"), _output(Task.REGRESSION, "c")]
    assert Objective.for_outputs(odd, "val_a:b_auc") == Objective("val_a:b_auc", "max")
    assert Objective.for_outputs(odd, "val_a:b_auc:min") == Objective("val_a:b_auc", "min")
    with pytest.raises(UnknownNameError, match="objective for a binary and regression task 'val_accuracy'"):
        Objective.for_outputs(outputs, "val_accuracy")


def test_a_wrong_request_is_refused() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown objective for a binary task 'val_acc'; did you mean 'val_auc'"
    ):
        Objective.for_outputs([_output(Task.BINARY)], "val_acc")
    with pytest.raises(UnknownNameError, match="unknown objective for a multiclass task 'val_rmse'"):
        Objective.for_outputs([_output(Task.MULTICLASS)], "val_rmse")
    with pytest.raises(RequestError, match="direction is 'min' or 'max', not 'up': try val_accuracy:max"):
        Objective.for_outputs([_output(Task.BINARY)], "val_accuracy:up")
    with pytest.raises(RequestError, match="direction is 'max' or 'min', not 'maximize'"):
        Objective("val_accuracy", "maximize")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="epoch is 'best' or 'last', not 'first'"):
        Objective("val_accuracy", "max", "first")  # type: ignore[arg-type]


def test_better_is_strict_and_nan_is_never_better() -> None:
    assert HIGH.better(0.9, 0.8)
    assert not HIGH.better(0.8, 0.8)
    assert not HIGH.better(0.7, 0.8)
    assert LOW.better(0.7, 0.8)
    assert not LOW.better(0.8, 0.8)
    assert not LOW.better(0.9, 0.8)
    assert not any(one.better(NAN, 0.5) for one in (HIGH, LOW))
    assert (HIGH.loss(0.9), LOW.loss(0.9)) == (-0.9, 0.9)


@pytest.mark.parametrize(
    ("objective", "epochs", "expected"),
    [
        (HIGH, reports("val_accuracy", 0.5, 0.9, 0.7), 2),
        (LOW, reports("val_rmse", 0.5, 0.9, 0.4, 0.7), 3),
        (HIGH, reports("val_accuracy", 0.9, 0.9, 0.9, losses=(0.3, 0.2, 0.2)), 2),
        (HIGH, reports("val_accuracy", 0.9, 0.9), 1),
        (HIGH, reports("val_accuracy", 0.9, 0.9, losses=(NAN, 5.0)), 2),
        (HIGH, reports("val_accuracy", NAN, 0.1, math.inf), 2),
        (LOW, reports("val_rmse", -math.inf, 0.1, NAN), 2),
        (replace(HIGH, epoch="last"), reports("val_accuracy", 0.9, 0.5, 0.6), 3),
        (replace(HIGH, epoch="last"), reports("val_accuracy", 0.9, 0.5, NAN), 2),
        (HIGH, reports("val_accuracy", NAN), None),
        (HIGH, reports("val_loss", 0.1), None),
        (HIGH, [], None),
    ],
)
def test_the_epoch_that_counts(objective: Objective, epochs: list[EpochReport], expected: int | None) -> None:
    counted = objective.counted_epoch(epochs)
    assert (counted.epoch if counted is not None else None) == expected


def test_trials_rank_best_first_ties_by_loss_and_those_without_a_value_last() -> None:
    def trial(number: int, epochs: list[EpochReport]) -> TrialRecord:
        best = HIGH.counted_epoch(epochs)
        return TrialRecord(
            number=number,
            config={},
            seed=0,
            state=TrialState.COMPLETE,
            best_epoch=best.epoch if best else None,
            epochs=tuple(epochs),
        )

    trials = [
        trial(0, []),
        trial(1, reports("val_accuracy", 0.8, losses=(0.1,))),
        trial(2, reports("val_accuracy", 0.9, 0.2, losses=(0.5, 0.1))),
        trial(3, reports("val_accuracy", 0.9, losses=(0.4,))),
        trial(4, reports("val_accuracy", NAN, losses=(0.0,))),
    ]
    assert [one.number for one in sorted(trials, key=HIGH.rank)] == [3, 2, 1, 0, 4]
