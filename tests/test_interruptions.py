"""Interruptions of the driver's loop: what is paused, what goes on, and that nothing shows afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scripted_search import CRASHED, Drive

from automl.records import TrialResult, TrialState
from automl.study_record import StudyRecord
from automl.training.checkpoint import checkpoint_folder


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(drive: Drive, tmp_path: Path) -> None:
    calls = iter(range(1000))
    driver = drive(trials=6)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) == 9)
    running = [trial for trial in driver.study.record.trials if trial.state is TrialState.RUNNING]
    assert len(running) == 1
    assert [one.epoch for one in running[0].epochs] == [1, 2]
    kept = checkpoint_folder(driver.folder, running[0].number)
    assert list(kept.parent.iterdir()) == [kept]  # of the trials that have ended nothing is left
    assert not driver.executor.running  # it was paused
    again = driver.reopen()
    record = again.run()
    assert again.executor.submitted[0].number == running[0].number
    assert again.executor.submitted[0].seed == running[0].seed
    assert again.executor.submitted[0].checkpoint_folder == kept
    assert not kept.parent.exists()
    assert [trial.number for trial in record.trials] == list(range(6))
    assert record.count(TrialState.COMPLETE) == 6
    assert all([one.epoch for one in trial.epochs] == [1, 2, 3] for trial in record.trials)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_with_one_worker_the_same_seed_tries_the_same_however_often_it_is_killed(drive: Drive, sampler: str) -> None:
    """More trials than TPE draws at random, and a driver that dies after three waits, eight, three, ..."""

    def tried(record: StudyRecord) -> list[tuple[int, float, int, int]]:
        return [(one.number, one.config["quality"], one.seed, len(one.epochs)) for one in record.trials]

    first = drive(trials=14, sampler=sampler, scheduler="asha")
    whole = first.run()
    shutil.rmtree(first.folder)
    killed = drive(trials=14, sampler=sampler, scheduler="asha")
    deaths = 0
    while True:
        left = iter([False] * (3 + 5 * (deaths % 2)))
        try:
            record = killed.run(is_interrupted=lambda left=left: next(left, True))
            break
        except KeyboardInterrupt:
            deaths += 1
            killed = killed.reopen()
    assert deaths > 5
    assert tried(record) == tried(whole)


def test_an_interruption_waits_a_few_seconds_for_what_does_not_report(drive: Drive) -> None:
    calls = iter(range(1000))
    driver = drive(trials=4, script={"slot_count": 2, "hangs": lambda job: job.number == 1})
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) == 1)
    assert [job.number for job in driver.executor.running] == [1]
    assert driver.study.record.elapsed_seconds == pytest.approx(1.0 + 3.0)
    record = driver.reopen().run()
    assert [trial.state for trial in record.trials] == [TrialState.COMPLETE] * 4


@pytest.mark.parametrize(
    ("epoch_seconds", "is_paused"), [(4.0, True), (11.0, True), (31.0, False)], ids=["slow", "slower", "too slow"]
)
def test_an_interruption_waits_for_the_epoch_under_way_and_the_next(
    drive: Drive, epoch_seconds: float, is_paused: bool
) -> None:
    """A worker trains an epoch ahead of the answer, so that PAUSE takes effect after two; half a minute is enough."""
    calls = iter(range(1000))
    driver = drive(trials=2, epochs=9, script={"epoch_seconds": epoch_seconds})
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) == 1)
    assert (not driver.executor.running) is is_paused
    assert "checkpoint" in driver.seen[-1].note


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (TrialResult(state=TrialState.FAILED, reason="nan", message="loss is nan"), TrialState.FAILED),
        (CRASHED, TrialState.RUNNING),  # what interrupts the driver may end its workers: the trial runs again
    ],
    ids=["nan", "crashed"],
)
def test_how_a_trial_ends_while_the_loop_is_interrupted(drive: Drive, failure: TrialResult, state: TrialState) -> None:
    calls = iter(range(1000))
    fails = {"fails": lambda job: job.number == 1 and next(calls) >= 2, "failure": failure}
    driver = drive(trials=2, script={"slot_count": 2, **fails})
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) >= 2)
    assert [trial.state for trial in driver.study.record.trials] == [TrialState.RUNNING, state]
