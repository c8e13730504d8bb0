"""The figures as data: what is drawn, in which order, and how much of it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from dashboard_studies import epochs, failed, finished_study, random_trials, study, trial

from automl.objective import Objective
from automl.records import EpochReport, TrialState
from dashboards import figures


def test_best_line_only_ever_improves() -> None:
    record = study([trial(0, 0.5), trial(1, 0.4), trial(2, 0.7), failed(3), trial(4, 0.6)])
    figure = figures.best_value_over_time(record)
    (line,) = (trace for trace in figure.data if trace.name == "best so far")
    assert list(line.x) == [0, 2, 4]
    assert list(line.y) == [0.5, 0.7, 0.7]
    assert line.line.shape == "hv"


def test_best_line_goes_down_for_a_minimised_objective() -> None:
    record = study([trial(n, value, metric="val_rmse") for n, value in enumerate([5.0, 7.0, 3.0])])
    figure = figures.best_value_over_time(replace(record, objective=Objective("val_rmse", "min")))
    (line,) = (trace for trace in figure.data if trace.name == "best so far")
    assert list(line.y) == [5.0, 3.0, 3.0]


def test_trials_are_points_by_state() -> None:
    trials = [trial(0, 0.5), trial(1, 0.6, state=TrialState.PRUNED), trial(2, 0.4, state=TrialState.RUNNING)]
    figure = figures.best_value_over_time(study([*trials, failed(3, "oom")]))
    by_name = {trace.name: trace for trace in figure.data}
    assert set(by_name) == {"best so far", "complete", "pruned", "running", "failed, no value"}
    assert list(by_name["pruned"].x) == [1]
    assert list(by_name["failed, no value"].text) == ["oom"]


def test_a_running_trial_alone_makes_no_best_line() -> None:
    figure = figures.best_value_over_time(study([trial(0, 0.4, state=TrialState.RUNNING)]))
    assert [trace.name for trace in figure.data] == ["running"]


@pytest.mark.parametrize("trials", [[], [failed(0)]])
def test_nothing_to_draw(trials: list[object]) -> None:
    record = study(trials)  # type: ignore[arg-type]
    assert figures.best_value_over_time(record) is None
    assert figures.learning_curves(record) is None
    assert figures.values_by_parameter(record) == []


def test_axis_leaves_out_a_trial_that_diverged() -> None:
    record = study([trial(n, 50.0 + n, metric="val_rmse") for n in range(20)])
    record = replace(record, objective=Objective("val_rmse", "min"))
    assert figures.best_value_over_time(record).layout.yaxis.range is None
    diverged = replace(record, trials=(*record.trials, trial(20, 1e6, metric="val_rmse")))
    low, high = figures.best_value_over_time(diverged).layout.yaxis.range
    assert 40 < low < 50
    assert 69 < high < 80


def test_axis_never_leaves_out_the_best() -> None:
    record = study([trial(n, 0.1 + n / 1000) for n in range(30)] + [trial(30, 0.99)])
    assert figures.best_value_over_time(record).layout.yaxis.range is None


def test_best_curve_is_bold_and_drawn_last() -> None:
    record = study(random_trials(60))
    figure = figures.learning_curves(record)
    best = figure.data[-1]
    assert record.best is not None
    assert best.name == f"best: trial {record.best.number}"
    assert best.line.width > max(trace.line.width for trace in figure.data[:-1])
    assert len(figure.data) == 1 + figures.HIGHLIGHTED_CURVES
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == [
        "others",
        "next best",
        best.name,
    ]


def test_the_winner_of_the_finalists_is_the_bold_curve() -> None:
    record = finished_study()
    assert record.final is not None
    assert record.final.trial != record.ranked[0].number
    assert figures.learning_curves(record).data[-1].name == f"winner: trial {record.final.trial}"


def test_at_most_two_hundred_curves() -> None:
    figure = figures.learning_curves(study(random_trials(1_000)))
    gaps = sum(value is None for value in figure.data[0].y)
    assert gaps + len(figure.data) - 1 == figures.MOST_CURVES


def test_curves_skip_epochs_without_a_finite_value() -> None:
    broken = EpochReport(epoch=3, metrics={"val_accuracy": math.nan}, seconds=0.1)
    other = EpochReport(epoch=4, metrics={"loss": 0.1}, seconds=0.1)
    curve = (*epochs(2, 0.9), broken, other)
    figure = figures.learning_curves(study([trial(0, 0.9, epochs=curve, best_epoch=2)]))
    assert list(figure.data[-1].x) == [1, 2]


def test_parameters_that_never_change_are_left_out() -> None:
    trials = [trial(n, 0.5 + n / 100, config={"fixed": 1, "units": 16 * n, "optimizer": "adam"}) for n in range(20)]
    assert [name for name, _ in figures.values_by_parameter(study(trials))] == ["units"]


def test_parameters_get_the_axis_that_suits_them() -> None:
    draw = random.Random(0)
    trials = [
        trial(
            n,
            0.5 + n / 100,
            config={
                "learning_rate": 10 ** draw.uniform(-5, -1),
                "dropout": draw.uniform(0.001, 0.6),
                "batch_size": draw.choice([128, 16, 64]),
                "optimizer": draw.choice(["sgd", None, True, 3]),
            },
        )
        for n in range(60)
    ]
    by_name = dict(figures.values_by_parameter(study(trials)))
    assert by_name["learning_rate"].layout.xaxis.type == "log"
    assert by_name["dropout"].layout.xaxis.type == "linear"
    assert by_name["batch_size"].layout.xaxis.type == "category"
    assert list(dict.fromkeys(by_name["batch_size"].layout.xaxis.categoryarray)) == ["16", "64", "128"]
    assert set(by_name["optimizer"].data[0].x) == {"sgd", "None", "True", "3"}


def test_the_best_trial_is_marked_for_each_parameter_that_it_has() -> None:
    configs = [{"optimizer": "sgd", "momentum": n / 10} for n in range(9)] + [{"optimizer": "adam"}]
    record = study([trial(n, 0.5 + n / 100, config=config) for n, config in enumerate(configs)])
    by_name = dict(figures.values_by_parameter(record))
    assert list(by_name["optimizer"].data[-1].x) == ["adam"]
    assert list(by_name["momentum"].data[-1].x) == []


def test_flat_config_counts_and_names_repeated_items() -> None:
    config = {"hidden": [{"units": 64}, {"units": 32}], "kernel": [3, 3], "none": []}
    assert figures.flat_config(config) == {
        "hidden": 2,
        "hidden.0.units": 64,
        "hidden.1.units": 32,
        "kernel": [3, 3],
        "none": 0,
    }


@pytest.mark.parametrize(("length", "most", "expected"), [(0, 5, 0), (5, 5, 5), (11, 5, 5), (10_000, 3_000, 3_000)])
def test_thinned(length: int, most: int, expected: int) -> None:
    trials = [trial(number, None) for number in range(length)]
    kept = figures.thinned(trials, most)
    assert len(kept) == expected
    assert kept[:1] == trials[:1]
    assert [one.number for one in kept] == sorted({one.number for one in kept})
