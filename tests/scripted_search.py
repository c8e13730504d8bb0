"""A driver over a real study and a scripted executor, for tests of the driver's loop.

No model is trained: the executor plays curves that follow from each config, on a clock of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from digits_spec import SPEC

from automl import driver, search_loop
from automl.driver import Progress
from automl.executors.base import Ended, Event, Reported
from automl.finalists import score_on_test
from automl.objective import Objective
from automl.parameters import Choice, Float, Int
from automl.records import Decision, EpochReport, FinalScore, TrialResult, TrialState
from automl.search_loop import SearchLoop
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.storage import open_storage
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.training.job import TrialJob
from automl.training.weights import save_arrays

SPACE = SearchSpace("scripted", [Float("quality", 0.0, 1.0), Choice("kind", ["good"])], print)
FINITE = SearchSpace("finite", [Int("quality", 0, 3)], print)
CRASHED = TrialResult(state=TrialState.FAILED, reason="crashed", message="the worker died (SIGKILL)")


@dataclass
class Clock:
    """Time that passes only while the executor is waited for."""

    seconds: float = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class _Run:
    job: TrialJob
    began: float
    epoch: int = 0
    decision: Decision | None = Decision.CONTINUE


@dataclass
class ScriptedExecutor:
    """Satisfies `Executor`: every wait is one epoch of every running job."""

    clock: Clock
    slot_count: int = 1
    shares_cores: bool = False
    epoch_seconds: float = 1.0
    hangs: Callable[[TrialJob], bool] = lambda job: False
    fails: Callable[[TrialJob], bool] = lambda job: False
    failure: TrialResult = CRASHED
    submitted: list[TrialJob] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    most_at_once: int = 0
    _runs: list[_Run] = field(default_factory=list)
    _waiting: list[Event] = field(default_factory=list)

    @property
    def running(self) -> Sequence[TrialJob]:
        return [run.job for run in self._runs]

    def start(self) -> None: ...

    def log_to(self, path: Path) -> None: ...

    def prepare(self, prepared_folder: Path, build: Any) -> None: ...

    def submit(self, job: TrialJob) -> None:
        assert len(self._runs) < self.slot_count
        self.submitted.append(job)
        self._runs.append(_Run(job, self.clock.seconds))
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

    def is_stopped(self, job: TrialJob) -> bool:
        return any(run.job is job and run.decision is Decision.STOP for run in self._runs)

    def training_seconds(self, job: TrialJob) -> float:
        return next(self.clock.seconds - run.began for run in self._runs if run.job is job)

    def wait(self, timeout_seconds: float) -> list[Event]:
        self.clock.seconds += self.epoch_seconds
        for run in list(self._runs):
            self._advance(run)
        events, self._waiting = self._waiting, []
        return events

    def call(self, function: Any, *, backend: str | None = None, **arguments: Any) -> Any:
        assert function is score_on_test
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
            save_arrays([np.zeros(1)], run.job.weights_path)
        if run.job.refit_epochs is not None:
            return EpochReport(epoch=run.epoch, metrics={"loss": 0.5}, seconds=self.epoch_seconds)
        luck = (run.job.seed % 100) / 10_000
        value = run.job.config["quality"] * run.epoch / run.job.epochs + luck
        metrics = {"val_accuracy": value, "val_loss": 1 - value}
        return EpochReport(epoch=run.epoch, metrics=metrics, seconds=self.epoch_seconds)

    def _end(self, run: _Run, result: TrialResult) -> None:
        self._runs.remove(run)
        self._waiting.append(Ended(run.job, replace(result, wall_seconds=self.clock.seconds - run.began)))


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
        parts = driver.Driver(
            self.study,
            self.executor,
            self.tracker,
            progress=self.seen.append,
            is_interrupted=is_interrupted,
            started=self.clock.seconds,
        )
        SearchLoop(parts).run()
        return self.study.record

    def in_optuna(self) -> list[optuna.trial.FrozenTrial]:
        """Return what the storage holds, trials included that the study hides."""
        storage = open_storage(self.folder, None, read_only=True)
        return optuna.load_study(study_name=self.folder.name, storage=storage).trials

    def anew(self, **changes: Any) -> Driver:
        """Begin the same search once more, from nothing."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        asked = {"space": SPACE, "spec": SPEC, "objective": Objective("val_accuracy", "max")}
        study = Study.create(self.folder, storage=None, settings=self.study.settings, **asked)
        return Driver(self.folder, study, ScriptedExecutor(self.clock, **changes), self.clock)

    def reopen(self, space: SearchSpace = SPACE, **changes: Any) -> Driver:
        """Go on as a new driver would."""
        executor = ScriptedExecutor(self.clock, **changes)
        return Driver(self.folder, Study.open(self.folder, storage=None, space=space), executor, self.clock)


Drive = Callable[..., Driver]


def driver_maker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Return a function that makes a driver of a new study in `folder`."""
    clock = Clock()
    for module in (driver, search_loop):
        monkeypatch.setattr(module, "time", clock)

    def make(
        space: SearchSpace = SPACE, *, script: dict[str, Any] | None = None, enqueue: Any = (), **settings: Any
    ) -> Driver:
        folder.mkdir(exist_ok=True)
        values = {"trials": 5, "seconds": None, "epochs": 3, "finalists": 0, "refit": False}
        values |= {"scheduler": "none", "sampler": "random"}
        study = Study.create(
            folder,
            storage=None,
            space=space,
            spec=SPEC,
            objective=Objective("val_accuracy", "max"),
            settings=SearchSettings(**(values | settings)),
            enqueue=enqueue,
        )
        return Driver(folder, study, ScriptedExecutor(clock, **(script or {})), clock)

    return make
