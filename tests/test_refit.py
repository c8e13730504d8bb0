"""The winner's refit: after the finalists or in their place where time allows it, and what happens otherwise."""

from __future__ import annotations

import pytest
from scripted_search import Drive

from automl.records import TrialResult, TrialState
from automl.training.job import TrialJob


def test_the_winner_is_refit_for_its_median_best_epoch_and_that_model_is_saved(drive: Drive) -> None:
    driver = drive(trials=3, finalists=2, refit=True)
    record = driver.run()
    *_, job = driver.executor.submitted
    (call,) = driver.executor.calls
    own = [one for one in record.finalists if one.number == call["trial"]]
    assert job.number == call["trial"]
    assert (job.epochs, job.refit_epochs) == (3, 3)  # the value grows with every epoch, so that the last is the best
    assert call["refit"] == (job.seed, job.weights_path)
    assert job.seed == call["seeds_and_weights"][0][0]
    assert len(own) == len(call["seeds_and_weights"]) == 3
    assert record.refit is not None
    assert (record.refit.state, len(record.refit.epochs), record.refit.value) == (TrialState.COMPLETE, 3, None)
    assert {"finalists", "refit", "test", "done"} <= {progress.phase for progress in driver.seen}
    assert not (driver.folder / "finalists").exists()
    assert not (driver.folder / "checkpoints").exists()


def test_a_refit_that_was_interrupted_is_all_that_the_next_driver_trains(drive: Drive) -> None:
    driver = drive(trials=2, finalists=1, refit=True)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: driver.executor.submitted[-1].refit_epochs is not None)
    again = driver.reopen()
    record = again.run()
    assert [job.refit_epochs for job in again.executor.submitted] == [3]
    assert again.executor.submitted[0] == driver.executor.submitted[-1]
    assert again.executor.calls[0]["refit"] is not None
    assert record.final is not None


def test_a_refit_that_fails_leaves_the_best_finalist_and_says_so(drive: Drive) -> None:
    failure = TrialResult(state=TrialState.FAILED, reason="nan")
    script = {"fails": lambda job: job.refit_epochs is not None, "failure": failure}
    driver = drive(trials=2, finalists=1, refit=True, script=script)
    record = driver.run()
    assert driver.executor.calls[0]["refit"] is None
    assert record.final is not None
    assert driver.seen[-1].note == "the refit on training and validation rows ended early (nan)"


def test_without_time_for_a_refit_the_best_finalist_is_saved(drive: Drive) -> None:
    driver = drive(trials=None, seconds=4.0, epochs=9, finalists=3, refit=True, script={"epoch_seconds": 4.5})
    driver.run()
    assert driver.executor.calls[0]["refit"] is None
    assert "time allowed no refit" in driver.seen[-1].note


def test_where_time_allows_the_refit_alone_nothing_is_retrained_before(drive: Drive) -> None:
    """A whole run takes ten seconds, and thirty percent of the time are fifteen: one run, not two."""
    driver = drive(trials=3, seconds=52.0, epochs=10, finalists=1, refit=True)
    record = driver.run()
    (call,) = driver.executor.calls
    assert record.finalists == ()
    assert call["seeds_and_weights"] == []
    assert call["refit"] is not None
    assert record.final is not None
    assert "time allowed 1 x 0 of 1 x 3 runs" in driver.seen[-1].note


def test_where_the_refit_alone_fails_a_finalist_is_trained_after_all(drive: Drive) -> None:
    script = {"fails": lambda job: job.refit_epochs is not None, "failure": TrialResult(state=TrialState.FAILED)}
    driver = drive(trials=3, seconds=52.0, epochs=10, finalists=1, refit=True, script=script)
    record = driver.run()
    assert len(record.finalists) == 1
    assert record.final is not None
    assert driver.executor.calls[0]["refit"] is None


def test_the_deadline_leaves_time_for_the_refit(drive: Drive) -> None:
    driver = drive(trials=None, seconds=60.0, finalists=3, epochs=4, refit=True)
    record = driver.run()
    assert driver.executor.calls[0]["refit"] is not None
    assert record.elapsed_seconds <= 60


def test_a_larger_budget_refits_anew(drive: Drive) -> None:
    driver = drive(trials=1, finalists=1, refit=True, enqueue=[{"quality": 0.5}, {"quality": 0.9}])
    driver.run()
    again = driver.reopen()
    again.study.revise(trials=2)
    again.run()
    assert again.executor.submitted[-1].refit_epochs is not None
    assert again.executor.calls[0]["refit"] == (
        again.executor.submitted[-1].seed,
        again.executor.submitted[-1].weights_path,
    )


def test_a_slow_machine_costs_the_refit_before_it_costs_the_finalists(drive: Drive) -> None:
    """Re-trainings take four times as long as foreseen: they take the refit's time rather than be cut for it."""
    driver = drive(trials=4, seconds=100.0, epochs=10, finalists=2, refit=True)

    def slows(job: TrialJob) -> bool:
        driver.executor.epoch_seconds = 4.0 if job.weights_path is not None else 1.0
        return False

    driver.executor.hangs = slows
    record = driver.run()
    assert any(one.state is TrialState.COMPLETE for one in record.finalists)
    assert driver.executor.calls[0]["refit"] is None
    assert record.final is not None
