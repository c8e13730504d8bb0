"""The driver's loop over a real study and a scripted executor: budgets, deadlines and finalists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scripted_search import FINITE, Clock, Drive, ScriptedExecutor

from automl.errors import NoUsableModelError, SurroundingsError
from automl.executors.base import Executor
from automl.finalist_plan import SEEDS
from automl.records import EpochReport, FailureReason, TrialResult, TrialState
from automl.training.job import TrialJob


def test_the_fake_has_every_part_of_the_protocol() -> None:
    parts = {name for name in vars(Executor) if not name.startswith("_")}
    assert parts <= set(dir(ScriptedExecutor(Clock())))


@pytest.mark.parametrize("slots", [1, 3])
def test_a_budget_of_trials_is_exact(drive: Drive, slots: int) -> None:
    driver = drive(trials=7, script={"slot_count": slots})
    record = driver.run()
    assert [trial.state for trial in record.trials] == [TrialState.COMPLETE] * 7
    assert all(len(trial.epochs) == 3 for trial in record.trials)
    assert driver.executor.most_at_once == slots
    assert record.final is None
    assert driver.executor.calls == []


def test_pruned_trials_count_and_failed_ones_do_not(drive: Drive) -> None:
    driver = drive(trials=12, scheduler="asha", epochs=9, script={"fails": lambda job: job.number in (1, 4, 5)})
    record = driver.run()
    counts = {state: record.count(state) for state in TrialState}
    assert counts[TrialState.FAILED] == 3
    assert counts[TrialState.PRUNED] > 0
    assert counts[TrialState.PRUNED] + counts[TrialState.COMPLETE] == 12
    pruned = [trial for trial in record.trials if trial.state is TrialState.PRUNED]
    assert {trial.reason for trial in pruned} == {"scheduler"}
    assert all(len(trial.epochs) < 9 for trial in pruned)


@pytest.mark.parametrize(("trials", "limit"), [(3, 10), (14, 14)])
def test_it_gives_up_after_too_many_failures(drive: Drive, trials: int, limit: int) -> None:
    driver = drive(trials=trials, script={"fails": lambda job: True})
    driver.executor.fails = lambda job: _fail_with(driver.executor, "nan" if job.number == 2 else "crashed")
    with pytest.raises(NoUsableModelError, match=rf"none of {limit} trials .* most often crashed: the worker died"):
        driver.run()
    assert driver.study.failed == len(driver.executor.submitted) == limit


def _fail_with(executor: ScriptedExecutor, reason: str) -> bool:
    executor.failure = replace(executor.failure, reason=reason)
    return True


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("reason", sorted({*FailureReason} - {FailureReason.DUPLICATE, FailureReason.DISK}))
def test_it_ends_early_where_the_first_trials_all_fail_alike(drive: Drive, reason: str, slots: int) -> None:
    failure = TrialResult(state=TrialState.FAILED, reason=reason, message="Traceback\nOops: what was said")
    driver = drive(trials=100, script={"fails": lambda job: True, "failure": failure, "slot_count": slots})
    with pytest.raises(NoUsableModelError) as caught:
        driver.run()
    assert 10 <= driver.study.failed < 10 + slots
    message = str(caught.value)
    assert message.startswith(f"the first {driver.study.failed} trials all failed as {reason}: Oops: what was said; ")
    assert "\n" not in message
    assert len(message.rpartition("; ")[2]) > 20  # what to do


@pytest.mark.parametrize("reasons", [["crashed"], ["crashed", "nan"]], ids=["alike", "too many"])
def test_failures_of_an_earlier_session_do_not_end_the_next(drive: Drive, reasons: list[str]) -> None:
    """Whoever resumes has mended what failed: it is judged anew, until it fails anew."""
    driver = drive(trials=4)
    driver.executor.fails = lambda job: _fail_with(driver.executor, reasons[job.number % len(reasons)])
    with pytest.raises(NoUsableModelError):
        driver.run()
    assert driver.study.failed == 10
    still_failing = driver.reopen(fails=lambda job: True, failure=TrialResult(state=TrialState.FAILED, reason="oom"))
    with pytest.raises(NoUsableModelError, match="the first 10 trials of this session all failed as oom"):
        still_failing.run()
    assert still_failing.study.failed == 20
    record = still_failing.reopen().run()
    assert (record.count(TrialState.COMPLETE), record.count(TrialState.FAILED)) == (4, 20)


def test_a_session_without_time_for_a_trial_says_what_the_earlier_ones_failed_of(drive: Drive) -> None:
    driver = drive(trials=None, seconds=12.0, script={"fails": lambda job: True})
    with pytest.raises(NoUsableModelError):
        driver.run()
    again = driver.reopen()
    again.study.spend(12.0)
    with pytest.raises(NoUsableModelError, match="the first 10 trials all failed as crashed"):
        again.run()
    assert again.executor.submitted == []


def test_a_disk_that_fails_under_a_trial_ends_the_session_and_the_trial_goes_on_in_the_next(drive: Drive) -> None:
    full = TrialResult(state=TrialState.FAILED, reason="disk", message="No space left on device")
    driver = drive(trials=3, script={"fails": lambda job: job.number == 1, "failure": full})
    with pytest.raises(OSError, match="No space left on device"):
        driver.run()
    assert [trial.state for trial in driver.study.record.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
    record = driver.reopen().run()
    assert [trial.state for trial in record.trials] == [TrialState.COMPLETE] * 3


def test_one_trial_that_goes_well_is_hope_enough(drive: Drive) -> None:
    driver = drive(trials=2, script={"fails": lambda job: job.number not in (9, 14)})
    driver.study.settings = replace(driver.study.settings, trials=20)
    record = driver.run()
    assert driver.study.failed == 20
    assert record.count(TrialState.COMPLETE) == 2


def test_failures_beside_one_success_still_give_a_result(drive: Drive) -> None:
    driver = drive(trials=3, script={"fails": lambda job: job.number > 0}, finalists=3)
    record = driver.run()
    assert (record.count(TrialState.COMPLETE), record.count(TrialState.FAILED)) == (1, 10)
    assert record.best is not None


def test_an_exhausted_space_ends_the_search(drive: Drive) -> None:
    record = drive(FINITE, trials=50, script={"slot_count": 2}).run()
    assert sorted(trial.config["quality"] for trial in record.trials) == [0, 1, 2, 3]


def test_a_deadline_prunes_what_runs_and_it_may_still_win(drive: Drive) -> None:
    driver = drive(trials=None, seconds=10.0, epochs=6, enqueue=[{"quality": 0.1}, {"quality": 0.9}])
    record = driver.run()
    first, second = record.trials
    assert (first.state, len(first.epochs)) == (TrialState.COMPLETE, 6)
    assert (second.state, second.reason) == (TrialState.PRUNED, "deadline")
    assert 0 < len(second.epochs) < 6
    assert record.best == second
    assert record.elapsed_seconds == pytest.approx(12.0, abs=1.5)


def test_what_does_not_report_is_ended_after_the_deadline(drive: Drive) -> None:
    driver = drive(trials=None, seconds=10.0, epochs=3, script={"hangs": lambda job: job.number == 2, "slot_count": 2})
    record = driver.run()
    hanging = next(trial for trial in record.trials if trial.number == 2)
    assert (hanging.state, hanging.reason, hanging.epochs) == (TrialState.PRUNED, "deadline", ())
    assert record.best is not None
    assert 15 < record.elapsed_seconds < 18


def test_no_epoch_before_the_deadline_says_so(drive: Drive) -> None:
    driver = drive(trials=None, seconds=2.0, script={"hangs": lambda job: True})
    with pytest.raises(NoUsableModelError, match="give it more --time"):
        driver.run()


def test_a_trial_that_takes_too_long_fails_at_the_end_of_its_epoch(drive: Drive) -> None:
    driver = drive(trials=2, epochs=9, trial_timeout_seconds=4.0)
    with pytest.raises(NoUsableModelError, match="all failed as timeout"):
        driver.run()
    first = driver.study.record.trials[0]
    assert (first.state, first.reason, len(first.epochs)) == (TrialState.FAILED, "timeout", 5)
    assert first.message == "it took longer than --trial-timeout allows: 4 s"


def test_a_trial_that_hangs_is_ended_and_others_go_on(drive: Drive) -> None:
    hangs = {"hangs": lambda job: job.number == 1, "slot_count": 2}
    record = drive(trials=4, trial_timeout_seconds=6.0, script=hangs).run()
    states = [(trial.state, trial.reason) for trial in record.trials]
    assert states == [(TrialState.COMPLETE, "epochs")] + [(TrialState.FAILED, "timeout")] + [states[0]] * 3


def test_the_last_trial_of_all_that_hangs_has_failed_too(drive: Drive) -> None:
    """Nothing else runs, and nothing is left to be asked for."""
    driver = drive(FINITE, trials=50, trial_timeout_seconds=6.0)
    driver.executor.hangs = lambda job: len(driver.executor.submitted) == 4  # as many as the space has configs
    record = driver.run()
    assert [trial.reason for trial in record.trials] == ["epochs"] * 3 + ["timeout"]


def test_what_was_stopped_and_hangs_since_has_not_failed(drive: Drive) -> None:
    """The scheduler stopped it; in the epoch that its worker has begun meanwhile it hangs."""
    driver = drive(trials=12, scheduler="asha", epochs=9, trial_timeout_seconds=20.0)
    driver.executor.hangs = lambda job: driver.executor.is_stopped(job)
    record = driver.run()
    assert record.count(TrialState.PRUNED) > 0
    assert record.count(TrialState.FAILED) == 0


def test_seconds_of_earlier_sessions_count_for_the_timeout(drive: Drive) -> None:
    calls = iter(range(100))
    driver = drive(trials=1, epochs=9, trial_timeout_seconds=8.5)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) == 4)
    again = driver.reopen()
    with pytest.raises(NoUsableModelError):
        again.run()
    first = again.study.record.trials[0]
    assert (first.reason, len(first.epochs)) == ("timeout", 5)


def test_a_finalist_that_takes_too_long_still_scores(drive: Drive) -> None:
    driver = drive(trials=1, finalists=1, trial_timeout_seconds=20.0)

    def hangs(job: TrialJob) -> bool:
        return job.weights_path is not None and job.weights_path.exists()

    driver.executor.hangs = hangs
    record = driver.run()
    assert {(one.state, one.reason, len(one.epochs)) for one in record.finalists} == {(TrialState.FAILED, "timeout", 1)}
    assert record.final is not None


def test_time_is_summed_over_resumes(drive: Drive) -> None:
    calls = iter(range(100))
    driver = drive(trials=None, seconds=20.0)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: next(calls) == 8)
    spent = driver.study.record.elapsed_seconds
    assert spent == pytest.approx(8.0 + 2.0)  # an epoch more, and a pause after it
    driver.clock.seconds += 500.0  # nobody was alive
    resumed = driver.clock.seconds
    record = driver.reopen().run()
    assert 20 <= record.elapsed_seconds < 23
    assert driver.clock.seconds - resumed == pytest.approx(record.elapsed_seconds - spent)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_next_trial_is_chosen_while_all_slots_train(drive: Drive, slots: int) -> None:
    driver = drive(trials=6, script={"slot_count": slots})
    chosen_ahead = []

    def look(job: TrialJob) -> bool:
        """Called for every job at every wait."""
        is_full = len(driver.executor.running) == slots
        running = [one for one in driver.in_optuna() if one.state.name == "RUNNING"]
        chosen_ahead.append((is_full, len(running) - len(driver.executor.running)))
        return False

    driver.executor.hangs = look
    driver.run()
    while_full = [ahead for is_full, ahead in chosen_ahead if is_full]
    assert set(while_full) == {0, 1}
    assert while_full[0] == 1
    assert while_full[-1] == 0  # nothing is chosen that the budget has no room for
    assert len(driver.in_optuna()) == 6


def test_no_trial_seems_to_run_when_a_search_has_ended(drive: Drive) -> None:
    driver = drive(trials=None, seconds=10.0, epochs=4)
    record = driver.run()
    states = [one.state.name for one in driver.in_optuna()]
    assert "RUNNING" not in states
    assert states.count("FAIL") == 1  # chosen ahead, and the deadline came first
    assert record.count(TrialState.FAILED) == driver.study.failed == 0
    assert len(record.trials) == len(states) - 1


def test_everyone_is_told_the_last_state(drive: Drive) -> None:
    driver = drive(trials=2)
    record = driver.run()
    assert replace(driver.tracker.records[-1], elapsed_seconds=0) == replace(record, elapsed_seconds=0)
    assert driver.seen[-1].phase == "done"
    assert driver.seen[-1].seconds_left is None
    assert [progress.phase for progress in driver.seen[:-1]] == ["search"] * (len(driver.seen) - 1)


def test_finalists_are_retrained_and_the_best_mean_is_scored_and_saved(drive: Drive) -> None:
    driver = drive(trials=5, finalists=2, script={"slot_count": 2})
    record = driver.run()
    top = [trial.number for trial in record.ranked[:2]]
    repeats = driver.executor.submitted[5:]
    assert [job.number for job in repeats] == top * 3  # a first seed for each before any second
    assert len({job.seed for job in driver.executor.submitted}) == 5 + 6
    assert len(record.finalists) == 6
    means = {number: sum(record.finalist_values(number)) / 3 for number in top}
    winner = max(top, key=lambda number: means[number])
    (call,) = driver.executor.calls
    assert (call["trial"], call["metric"], call["epochs"]) == (winner, "accuracy", 3)
    assert record.final is not None
    assert record.best is not None
    assert record.best.number == winner
    own = {one.seed: one.value for one in record.finalists if one.number == winner}
    seeds = [seed for seed, _ in call["seeds_and_weights"]]
    assert seeds == sorted(own, key=lambda seed: -own[seed])  # the best is the one to be saved
    assert not (driver.folder / "finalists").exists()
    assert {"finalists", "test", "done"} <= {progress.phase for progress in driver.seen}
    assert any(progress.running for progress in driver.seen if progress.phase == "finalists")


def test_an_interruption_among_the_finalists_repeats_only_what_is_missing(drive: Drive) -> None:
    driver = drive(trials=2, finalists=2)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: len(driver.study.record.finalists) == 2)
    (paused,) = (driver.folder / "checkpoints").iterdir()
    again = driver.reopen()
    record = again.run()
    assert len(again.executor.submitted) == 4
    assert again.executor.submitted[0].checkpoint_folder == paused
    assert not paused.parent.exists()
    assert len(record.finalists) == 6
    assert record.final is not None


def test_weights_are_on_the_disk_before_the_study_speaks_of_them(
    drive: Drive, synced_inodes: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = drive(trials=1, finalists=1, refit=True)
    kept = []
    for name, repeat in (("keep_finalist", lambda given: given[1]), ("keep_refit", lambda given: SEEDS)):
        keep = getattr(driver.study, name)

        def kept_now(*given: object, keep: Any = keep, repeat: Any = repeat) -> None:
            weights = driver.folder / "finalists" / f"000000-{repeat(given):02d}.npz"
            kept.append({weights.stat().st_ino, weights.parent.stat().st_ino} <= synced_inodes)
            keep(*given)

        monkeypatch.setattr(driver.study, name, kept_now)
    driver.run()
    assert kept == [True] * 4


@pytest.mark.parametrize("kept", [0, 100], ids=["empty", "truncated"])
def test_a_finalist_whose_weights_cannot_be_read_is_trained_again(drive: Drive, kept: int) -> None:
    driver = drive(trials=1, finalists=1)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: len(driver.study.record.finalists) == 2)
    damaged = driver.folder / "finalists" / "000000-00.npz"
    damaged.write_bytes(damaged.read_bytes()[:kept])
    again = driver.reopen()
    record = again.run()
    assert {job.weights_path.name for job in again.executor.submitted} == {"000000-00.npz", "000000-02.npz"}
    assert len(again.executor.calls[0]["seeds_and_weights"]) == 3
    assert record.final is not None


def test_a_refit_whose_weights_cannot_be_read_is_made_again(drive: Drive) -> None:
    driver = drive(trials=1, finalists=1, refit=True)

    def dies(*_: object, **__: object) -> None:
        raise SurroundingsError("the power is gone")

    driver.executor.call = dies
    with pytest.raises(SurroundingsError):
        driver.run()
    (driver.folder / "finalists" / "000000-03.npz").write_bytes(b"PK")
    again = driver.reopen()
    again.run()
    assert [job.refit_epochs for job in again.executor.submitted] == [3]
    assert again.executor.calls[0]["refit"] is not None


def test_a_finished_study_does_nothing_more(drive: Drive) -> None:
    driver = drive(trials=2, finalists=1)
    record = driver.run()
    again = driver.reopen()
    assert replace(again.run(), elapsed_seconds=0) == replace(record, elapsed_seconds=0)
    assert again.executor.submitted == []
    assert again.executor.calls == []


def test_a_larger_budget_judges_anew_and_old_finalists_do_not_win_without_weights(drive: Drive) -> None:
    """The first winner's mean is the best of all, but its weights are gone and its trial is no longer in the plan."""
    driver = drive(trials=1, finalists=1, enqueue=[{"quality": 0.5}, {"quality": 0.9}])
    driver.run()
    again = driver.reopen()
    again.study.keep_finalist(0, 0, replace(again.study.finalist(0, 0), epochs=_epochs(0.999)))
    again.study.revise(trials=2)
    record = again.run()
    assert record.final is not None
    assert record.final.trial == 1
    assert [job.number for job in again.executor.submitted] == [1, 1, 1, 1]


def test_old_finalists_are_trained_again_where_their_weights_are_gone(drive: Drive) -> None:
    driver = drive(trials=1, finalists=2, enqueue=[{"quality": 0.9}, {"quality": 0.5}])
    first = driver.run()
    again = driver.reopen()
    again.study.revise(trials=2)
    record = again.run()
    assert [job.number for job in again.executor.submitted] == [1, 0, 1, 0, 1, 0, 1]
    assert record.finalist_values(0) == first.finalist_values(0)
    assert record.final is not None
    assert record.final.trial == 0


def _epochs(value: float) -> tuple[EpochReport, ...]:
    return (EpochReport(epoch=1, metrics={"val_accuracy": value, "val_loss": 0.0}, seconds=1.0),)


def test_the_deadline_leaves_time_for_finalists_and_says_what_was_dropped(drive: Drive) -> None:
    driver = drive(trials=None, seconds=60.0, finalists=3, epochs=4)
    record = driver.run()
    assert record.final is not None
    assert record.elapsed_seconds <= 60
    assert len(record.finalists) < 9
    assert any("time allowed" in progress.note for progress in driver.seen)
    assert all("time allowed" not in progress.note for progress in driver.seen if progress.phase == "search")


def test_finalists_at_the_deadline_are_stopped_and_still_score(drive: Drive) -> None:
    """They are slower than foreseen: the first is told to stop, the second never answers, and both left weights."""
    driver = drive(trials=2, seconds=40.0, finalists=1, epochs=4, script={"slot_count": 2})
    slow = driver.executor

    def hangs(job: TrialJob) -> bool:
        if job.weights_path is None:
            return False
        slow.epoch_seconds = 5.0
        return job is slow.submitted[3] and bool(job.weights_path.exists())

    slow.hangs = hangs
    record = driver.run()
    ends = {(one.state, one.reason) for one in record.finalists}
    assert (TrialState.PRUNED, "deadline") in ends
    assert all(reason != "scheduler" for _, reason in ends)
    assert record.final is not None


def test_a_short_time_still_gives_a_model(drive: Drive) -> None:
    """The search leaves nothing of the time: one finalist is trained for an epoch all the same."""
    driver = drive(trials=None, seconds=4.0, epochs=9, finalists=3, script={"epoch_seconds": 4.5})
    record = driver.run()
    assert record.final is not None
    assert [len(finalist.epochs) for finalist in record.finalists] == [1]


def test_a_larger_budget_that_was_interrupted_among_the_finalists_is_still_judged_anew(drive: Drive) -> None:
    driver = drive(trials=2, finalists=1)
    driver.run()
    driver.study.revise(trials=4)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: driver.study.counted == 4)
    record = driver.reopen().run()
    assert record.final is not None
    assert record.final.judged_trials == 4


def test_an_exhausted_space_is_named(drive: Drive) -> None:
    driver = drive(FINITE, trials=50)
    driver.run()
    assert "exhausted" in driver.seen[-1].note
