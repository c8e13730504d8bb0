"""The driver's loop over a real study and a scripted executor: budgets, deadlines, finalists, interruption.

No model is trained: the executor plays curves that follow from each config, on a clock of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from automl import search_loop
from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.errors import NoUsableModelError
from automl.executors.base import Ended, Event, Executor, Reported
from automl.objective import Objective
from automl.parameters import Choice, Float, Int
from automl.records import Decision, EpochReport, FinalScore, TrialResult, TrialState
from automl.search_loop import Progress, SearchLoop
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.storage import open_storage
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.training.checkpoint import checkpoint_folder
from automl.training.job import TrialJob

_SPEC = DatasetSpec(
    name="digits",
    raw_inputs=(RawInput(name="input", dtype="float32", shape=(64,)),),
    inputs=(InputSpec(name="input", kind=InputKind.NUMERIC, shape=(64,)),),
    outputs=(OutputSpec(name="target", task=Task.MULTICLASS, units=10, labels=tuple(range(10))),),
    train_rows=1149,
    validation_rows=288,
    test_rows=360,
    fingerprint="0123456789abcdef",
)
_SPACE = SearchSpace("scripted", [Float("quality", 0.0, 1.0), Choice("kind", ["good"])], print)
_FINITE = SearchSpace("finite", [Int("quality", 0, 3)], print)
_FAILED = TrialResult(state=TrialState.FAILED, reason="crashed", message="the worker died (SIGKILL)")


@dataclass
class Clock:
    """Time that passes only while the executor is waited for."""

    seconds: float = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class _Run:
    job: TrialJob
    epoch: int = 0
    decision: Decision | None = Decision.CONTINUE


@dataclass
class ScriptedExecutor:
    """Satisfies `Executor`: every wait is one epoch of every running job."""

    clock: Clock
    slot_count: int = 1
    epoch_seconds: float = 1.0
    hangs: Callable[[TrialJob], bool] = lambda job: False
    fails: Callable[[TrialJob], bool] = lambda job: False
    failure: TrialResult = _FAILED
    submitted: list[TrialJob] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _waiting: list[Event] = field(default_factory=list)

    @property
    def running(self) -> Sequence[TrialJob]:
        return [run.job for run in self._runs]

    shares_cores = False

    def start(self) -> None: ...

    def prepare(self, prepared_folder: Path, build: Any) -> None: ...

    def submit(self, job: TrialJob) -> None:
        assert len(self._runs) < self.slot_count
        self.submitted.append(job)
        self._runs.append(_Run(job))
        self.most_at_once = max(self.most_at_once, len(self._runs))

    def concentrate(self, slots: int) -> None:
        assert not self._runs
        self.slot_count = min(slots, self.slot_count)

    def decide(self, job: TrialJob, decision: Decision) -> None:
        for run in self._runs:
            if run.job is job:
                assert run.decision is None, "decided twice"
                run.decision = decision

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        self._end(next(run for run in self._runs if run.job is job), result)

    def wait(self, timeout_seconds: float) -> list[Event]:
        self.clock.seconds += self.epoch_seconds
        for run in list(self._runs):
            self._advance(run)
        events, self._waiting = self._waiting, []
        return events

    def call(self, function: Any, *, backend: str | None = None, **arguments: Any) -> Any:
        assert function is search_loop.score_on_test
        self.calls.append(arguments)
        refit = [] if arguments["refit"] is None else [arguments["refit"]]
        assert all(path.exists() for _, path in [*arguments["seeds_and_weights"], *refit])
        return FinalScore(trial=arguments["trial"], metrics={"accuracy": 0.5}, interval=(0.4, 0.6), seed_metrics=())

    def close(self) -> None: ...

    def _advance(self, run: _Run) -> None:
        if self.hangs(run.job):
            return
        assert run.decision is not None, "a report was not answered"
        if self.fails(run.job):
            self._end(run, self.failure)
        elif run.decision is Decision.STOP:
            self._end(run, TrialResult(state=TrialState.PRUNED))
        elif run.decision is Decision.PAUSE and run.epoch < run.job.epochs:
            self._end(run, TrialResult(state=TrialState.PAUSED))
        elif run.epoch == (run.job.refit_epochs or run.job.epochs):
            self._end(run, TrialResult(state=TrialState.COMPLETE, reason="epochs"))
        else:
            assert run.job.checkpoint_folder is not None
            run.job.checkpoint_folder.mkdir(parents=True, exist_ok=True)
            run.epoch, run.decision = run.epoch + 1, None
            self._waiting.append(Reported(run.job, self._report(run)))

    def _report(self, run: _Run) -> EpochReport:
        if run.job.weights_path is not None:
            run.job.weights_path.parent.mkdir(exist_ok=True)
            run.job.weights_path.touch()
        if run.job.refit_epochs is not None:
            return EpochReport(epoch=run.epoch, metrics={"loss": 0.5}, seconds=self.epoch_seconds)
        luck = (run.job.seed % 100) / 10_000
        value = run.job.config["quality"] * run.epoch / run.job.epochs + luck
        metrics = {"val_accuracy": value, "val_loss": 1 - value}
        return EpochReport(epoch=run.epoch, metrics=metrics, seconds=self.epoch_seconds)

    def _end(self, run: _Run, result: TrialResult) -> None:
        self._runs.remove(run)
        self._waiting.append(Ended(run.job, result))


class RememberingTracker:
    def __init__(self) -> None:
        self.records: list[StudyRecord] = []

    def update(self, record: StudyRecord) -> None:
        self.records.append(record)

    def close(self, timeout_seconds: float) -> int:
        return 0


@dataclass
class Driver:
    """A study, its scripted executor, and what was seen of them."""

    folder: Path
    study: Study
    executor: ScriptedExecutor
    clock: Clock
    tracker: RememberingTracker = field(default_factory=RememberingTracker)
    seen: list[Progress] = field(default_factory=list)

    def run(self, *, is_interrupted: Callable[[], bool] = lambda: False) -> StudyRecord:
        SearchLoop(
            self.study,
            self.executor,
            self.tracker,
            progress=self.seen.append,
            is_interrupted=is_interrupted,
            started=self.clock.seconds,
        ).run()
        return self.study.record

    def in_optuna(self) -> list[optuna.trial.FrozenTrial]:
        """Return what the storage holds, trials included that the study hides."""
        storage = open_storage(self.folder, None, read_only=True)
        return optuna.load_study(study_name=self.folder.name, storage=storage).trials

    def reopen(self, space: SearchSpace = _SPACE, **changes: Any) -> Driver:
        """Go on as a new driver would."""
        executor = ScriptedExecutor(self.clock, **changes)
        return Driver(self.folder, Study.open(self.folder, storage=None, space=space), executor, self.clock)


Drive = Callable[..., Driver]


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Return a function that makes a driver of a new study."""
    clock = Clock()
    monkeypatch.setattr(search_loop, "time", clock)
    folder = tmp_path / "digits-scripted-001"

    def make(
        space: SearchSpace = _SPACE, *, script: dict[str, Any] | None = None, enqueue: Any = (), **settings: Any
    ) -> Driver:
        folder.mkdir(exist_ok=True)
        values = {"trials": 5, "seconds": None, "epochs": 3, "finalists": 0, "refit": False}
        values |= {"scheduler": "none", "sampler": "random"}
        study = Study.create(
            folder,
            storage=None,
            space=space,
            spec=_SPEC,
            objective=Objective("val_accuracy", "max"),
            settings=SearchSettings(**(values | settings)),
            enqueue=enqueue,
        )
        return Driver(folder, study, ScriptedExecutor(clock, **(script or {})), clock)

    return make


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
    with pytest.raises(NoUsableModelError, match=rf"none of {limit} trials .* most often crashed: the worker died"):
        driver.run()
    assert driver.study.failed == len(driver.executor.submitted) == limit


def test_failures_beside_one_success_still_give_a_result(drive: Drive) -> None:
    driver = drive(trials=3, script={"fails": lambda job: job.number > 0}, finalists=3)
    record = driver.run()
    assert (record.count(TrialState.COMPLETE), record.count(TrialState.FAILED)) == (1, 10)
    assert record.best is not None


def test_an_exhausted_space_ends_the_search(drive: Drive) -> None:
    record = drive(_FINITE, trials=50, script={"slot_count": 2}).run()
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
    ("failure", "state"),
    [
        (TrialResult(state=TrialState.FAILED, reason="nan", message="loss is nan"), TrialState.FAILED),
        (_FAILED, TrialState.RUNNING),  # what interrupts the driver may end its workers: the trial runs again
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
    again.study.rebudget(trials=2, seconds=None)
    record = again.run()
    assert record.final is not None
    assert record.final.trial == 1
    assert [job.number for job in again.executor.submitted] == [1, 1, 1, 1]


def test_old_finalists_are_trained_again_where_their_weights_are_gone(drive: Drive) -> None:
    driver = drive(trials=1, finalists=2, enqueue=[{"quality": 0.9}, {"quality": 0.5}])
    first = driver.run()
    again = driver.reopen()
    again.study.rebudget(trials=2, seconds=None)
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
    driver.study.rebudget(trials=4, seconds=None)
    with pytest.raises(KeyboardInterrupt):
        driver.run(is_interrupted=lambda: driver.study.counted == 4)
    record = driver.reopen().run()
    assert record.final is not None
    assert record.final.judged_trials == 4


def test_an_exhausted_space_is_named(drive: Drive) -> None:
    driver = drive(_FINITE, trials=50)
    driver.run()
    assert "exhausted" in driver.seen[-1].note


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
    again.study.rebudget(trials=2, seconds=None)
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
