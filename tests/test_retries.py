"""Trials that are run again: which, how often, alone where memory was short, and as the same trial throughout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from scripted_search import CRASHED, Drive

from automl.errors import NoUsableModelError
from automl.records import TrialResult, TrialState
from automl.training.job import TrialJob

_DIED = replace(CRASHED, is_transient=True)
_SHORT = TrialResult(state=TrialState.FAILED, reason="oom", message="it held too much", is_transient=True)
_FINAL = [
    TrialResult(state=TrialState.FAILED, reason=reason, message="no")
    for reason in ("nan", "invalid_model", "data", "timeout", "oom")
]


def _first_runs(count: int, of: int = 1, *, after_epochs: int = 2) -> Callable[[TrialJob], bool]:
    """Return what fails the first runs of a trial, each after some epochs."""
    waits = iter([*([False] * after_epochs), True] * count)
    return lambda job: job.number == of and next(waits, False)


def test_a_trial_whose_worker_died_is_run_again_as_the_same_trial(drive: Drive) -> None:
    whole = drive(trials=3)
    expected = whole.run().trials
    driver = whole.anew(fails=_first_runs(1), failure=_DIED)
    kept = []
    driver.executor.hangs = lambda job: bool(
        kept.append(job.checkpoint_folder is not None and job.checkpoint_folder.exists())
    )
    record = driver.run()
    again = record.trials[1]
    assert [job.number for job in driver.executor.submitted] == [0, 1, 1, 2]
    assert driver.executor.submitted[1] == driver.executor.submitted[2]
    assert kept[7]  # when it is run again, its checkpoints are still there
    assert [(one.config, one.seed, one.epochs) for one in record.trials] == [
        (one.config, one.seed, one.epochs) for one in expected
    ]
    assert (again.state, len(again.attempts), again.attempts[0].reason) == (TrialState.COMPLETE, 1, "crashed")
    assert again.lost_seconds == again.attempts[0].wall_seconds == 3.0
    assert driver.study.failed == 0


@pytest.mark.parametrize(("retries", "runs"), [(0, 1), (1, 2), (3, 4)])
def test_it_is_run_again_so_often_and_counts_once(drive: Drive, retries: int, runs: int) -> None:
    driver = drive(trials=3, retries=retries, script={"fails": lambda job: job.number == 1, "failure": _DIED})
    record = driver.run()
    failed = record.trials[1]
    assert [job.number for job in driver.executor.submitted] == [0, *([1] * runs), 2, 3]
    assert (failed.state, failed.reason, len(failed.attempts)) == (TrialState.FAILED, "crashed", runs - 1)
    assert failed.lost_seconds == runs
    assert (driver.study.counted, driver.study.failed) == (3, 1)


@pytest.mark.parametrize("failure", _FINAL, ids=lambda one: one.reason)
def test_what_would_fail_again_is_not_run_again(drive: Drive, failure: TrialResult) -> None:
    driver = drive(trials=2, script={"fails": lambda job: job.number == 0, "failure": failure})
    record = driver.run()
    assert [job.number for job in driver.executor.submitted] == [0, 1, 2]
    assert (record.trials[0].reason, record.trials[0].attempts) == (failure.reason, ())


def test_what_was_short_of_memory_runs_while_no_other_does(drive: Drive) -> None:
    beside = []
    driver = drive(trials=6, script={"slot_count": 3, "fails": _first_runs(1), "failure": _SHORT})

    def look(job: TrialJob) -> bool:
        runs = [one.number for one in driver.executor.submitted].count(1)
        if job.number == 1:
            beside.append((runs, len(driver.executor.running)))
        return False

    driver.executor.hangs = look
    record = driver.run()
    assert {count for runs, count in beside if runs == 1} == {3}
    assert {count for runs, count in beside if runs == 2} == {1}
    assert record.count(TrialState.COMPLETE) == 6
    assert driver.executor.most_at_once == 3


def test_attempts_outlive_the_driver(drive: Drive) -> None:
    """It dies while one trial waits until it can run alone; the next driver lets it run alone and no more often."""
    driver = drive(trials=4, script={"slot_count": 2, "fails": _first_runs(1), "failure": _SHORT})
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: bool(driver.study.trial(1).attempts) if driver.executor.submitted else False)
    again = driver.reopen(slot_count=2, fails=lambda job: job.number == 1, failure=_SHORT)
    assert len(again.study.trial(1).attempts) == 1
    record = again.run()
    assert [job.number for job in again.executor.submitted].count(1) == 1
    assert (record.trials[1].state, record.trials[1].reason) == (TrialState.FAILED, "oom")
    assert record.trials[1].lost_seconds == 4.0
    assert record.count(TrialState.COMPLETE) == 4


def test_what_could_not_be_run_again_in_time_has_failed(drive: Drive) -> None:
    """Trial 0 takes so long that trial 1, which waits to be alone, never is."""
    fails = {"fails": lambda job: job.number == 1, "failure": _SHORT, "slot_count": 2}
    driver = drive(trials=None, seconds=8.0, epochs=20, script=fails)
    record = driver.run()
    assert [(one.state, one.reason) for one in record.trials] == [
        (TrialState.PRUNED, "deadline"),
        (TrialState.FAILED, "oom"),
    ]
    assert record.trials[1].lost_seconds == 1.0
    assert "RUNNING" not in {one.state.name for one in driver.in_optuna()}


def test_the_scheduler_hears_of_an_epoch_once(drive: Drive) -> None:
    """Heard twice, a rung would have more trials than there are, and stop others."""
    whole = drive(trials=9, epochs=9, scheduler="asha")
    expected = [(one.state, len(one.epochs)) for one in whole.run().trials]
    driver = whole.anew(fails=_first_runs(1, after_epochs=3), failure=_DIED)
    assert [(one.state, len(one.epochs)) for one in driver.run().trials] == expected


def test_a_finalist_whose_worker_died_is_trained_again(drive: Drive) -> None:
    driver = drive(trials=1, finalists=1, script={"failure": _DIED})
    died: list[int] = []

    def fails(job: TrialJob) -> bool:
        if job.weights_path is None or died:
            return False
        died.append(job.seed)
        return True

    driver.executor.fails = fails
    record = driver.run()
    assert {one.state for one in record.finalists} == {TrialState.COMPLETE}
    assert [len(one.attempts) for one in record.finalists if one.seed in died] == [1]


def test_a_search_in_which_every_worker_dies_still_ends(drive: Drive) -> None:
    driver = drive(trials=3, script={"fails": lambda job: True, "failure": _DIED, "slot_count": 2})
    with pytest.raises(NoUsableModelError):
        driver.run()
    assert driver.study.failed == 10
