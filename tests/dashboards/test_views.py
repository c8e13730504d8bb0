"""What the page shows, before it is a page: rows, order and arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dashboard_studies import dataset, failed, finished_study, regression_study, study, trial

from automl.objective import Objective
from automl.records import FinalScore, TrialResult, TrialState
from automl.study_record import StudyRecord
from dashboards import views

CRASHED = TrialResult(state=TrialState.FAILED, reason="crashed", wall_seconds=4.0, is_transient=True)


def final(number: int) -> FinalScore:
    return FinalScore(trial=number, metrics={"accuracy": 0.5}, interval=(0.4, 0.6), seed_metrics=())


def best_names(*records: StudyRecord) -> list[str]:
    anchors = [f"study-{index}" for index in range(len(records))]
    return [row.study for row in views.best_per_dataset(records, anchors)]


def test_one_row_a_dataset_with_the_better_study() -> None:
    worse, better = study([trial(0, 0.8)], name="worse"), study([trial(0, 0.9)], name="better")
    other = study([trial(0, 0.1)], name="other", dataset=dataset("iris"))
    assert best_names(worse, other, better) == ["better", "other"]
    assert views.best_per_dataset([worse, better], ["a", "b"])[0].anchor == "b"
    assert views.best_per_dataset([worse, better], ["a", "b"])[0].studies == 2


def test_a_tested_study_comes_before_a_higher_search_score() -> None:
    lucky = study([trial(0, 0.99)], name="lucky")
    tested = study([trial(0, 0.9)], name="tested", final=final(0))
    assert best_names(lucky, tested) == ["tested"]


def test_studies_compete_by_their_re_trained_mean() -> None:
    lucky = study([trial(0, 0.99)], name="lucky", final=final(0), finalists=(trial(0, 0.80),))
    solid = study([trial(0, 0.95)], name="solid", final=final(0), finalists=(trial(0, 0.94),))
    assert best_names(lucky, solid) == ["solid"]


def test_other_objectives_and_other_data_do_not_compete() -> None:
    one = study([trial(0, 0.9)], name="one")
    by_loss = replace(one, name="by-loss", objective=Objective("val_loss", "min"))
    changed = replace(one, name="changed", dataset=replace(one.dataset, fingerprint="another"))
    assert best_names(one, by_loss, changed) == ["one", "by-loss", "changed"]


def test_a_study_without_a_model_never_wins() -> None:
    assert best_names(study([failed(0)], name="failed"), study([trial(0, 0.1)], name="some")) == ["some"]


def test_best_row_tells_search_re_training_and_test_apart() -> None:
    row = views.view_study(finished_study(), anchor="a").best
    assert row.test == 0.97222
    assert row.interval == (0.95556, 0.98611)
    assert row.test_seeds is not None
    assert row.test_seeds.mean == pytest.approx(0.97222, abs=1e-5)
    assert row.test_seeds.spread == pytest.approx(0.00278, abs=1e-5)
    assert row.retrained is not None
    assert row.validation is not None
    assert row.validation - row.retrained.mean == pytest.approx(0.004)
    assert row.elapsed_seconds == 83.4


def test_a_test_without_the_objective_s_metric_has_no_interval() -> None:
    record = study([trial(0, 0.9)], final=replace(final(0), metrics={"auc": 0.9}))
    row = views.view_study(record, anchor="a").best
    assert (row.test, row.interval, row.test_seeds) == (None, None, None)


def test_finalists_winner_first_then_by_re_trained_mean() -> None:
    record = finished_study()
    rows = views.view_study(record, anchor="a").finalists
    assert record.final is not None
    assert [row.is_winner for row in rows] == [True, False, False]
    assert rows[0].number == record.final.trial
    assert all(row.optimism == pytest.approx(0.004) for row in rows)
    assert rows[1].retrained is not None
    assert rows[2].retrained is not None
    assert rows[1].retrained.mean > rows[2].retrained.mean


def test_optimism_is_search_minus_re_trained_also_when_minimised() -> None:
    (row,) = views.view_study(regression_study(), anchor="a").finalists
    assert row.search is not None
    assert row.optimism == pytest.approx(row.search - 50.0)
    assert row.optimism < 0


def test_a_finalist_whose_re_trainings_failed() -> None:
    record = study([trial(0, 0.9)], finalists=(replace(failed(0)), replace(failed(0))))
    (row,) = views.view_study(record, anchor="a").finalists
    assert (row.retrained, row.optimism, row.failed) == (None, None, 2)


def test_trials_best_first_then_the_rest_by_number() -> None:
    trials = [failed(0), trial(1, 0.5), trial(2, 0.9), trial(3, 0.3, state=TrialState.RUNNING), trial(4, 0.7)]
    rows = views.view_study(study(trials), anchor="a").trials
    assert [row.number for row in rows] == [2, 4, 1, 0, 3]
    assert [row.rank for row in rows] == [1, 2, 3, None, None]
    assert [row.is_best for row in rows] == [True, False, False, False, False]


def test_failures_are_counted_by_reason_with_the_first_message() -> None:
    short = replace(failed(0, "oom", ""), wall_seconds=2.5, attempts=(CRASHED,))
    record = study([short, failed(1, "oom", "first\nlast"), *(failed(n) for n in range(2, 12))])
    nan, oom = views.view_study(record, anchor="a").failures
    assert (nan.reason, nan.count, nan.trials) == ("nan", 10, "2, 3, 4, 5, 6, 7, 8, 9, …")
    assert (nan.lost_seconds, oom.lost_seconds) == (0.0, 6.5)
    assert (oom.headline, oom.message) == ("last", "first\nlast")


def test_trials_that_were_run_again_are_told_apart_from_those_that_failed() -> None:
    record = study([trial(0, 0.5, attempts=(CRASHED,), wall_seconds=2.0), failed(1), trial(2, 0.5)])
    assert views.view_study(record, anchor="a").retries == "1 trial after 1 crashed, 4 s lost"


def test_only_errors_of_a_regression_are_in_units_of_the_target() -> None:
    record = regression_study()
    assert "units of the target" in views.view_study(record, anchor="a").direction
    for metric in ("val_loss", "val_r2"):
        other = replace(record, objective=Objective(metric, "min"), final=None)
        assert views.view_study(other, anchor="a").direction == "lower is better"
