"""Trials without training: a space of eight parameters, and an executor that plays curves at a steady pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from automl.executors.base import Ended, Event, Reported
from automl.parameters import Choice, Float, Int
from automl.records import Decision, EpochReport, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.testing import example_spec
from automl.training.job import TrialJob

if TYPE_CHECKING:  # it would load ray
    from automl.executors.messages import Prepare
    from automl.executors.ray_slot import SlotPlan

T = TypeVar("T")

EPOCHS = 5

SPEC = replace(example_spec("numbers"), name="simulated")

SPACE = SearchSpace(
    "simulated",
    [
        Int("layers", 1, 4),
        Int("units", 16, 512, log=True),
        Float("dropout", 0.0, 0.6, step=0.05),
        Choice("activation", ["relu", "tanh", "elu"]),
        Choice("optimizer", ["sgd", "rmsprop", "adam"]),
        Float("learning_rate", 1e-4, 1e-1, log=True),
        Float("weight_decay", 1e-6, 1e-2, log=True),
        Choice("batch_size", [32, 64, 128, 256]),
    ],
    print,
)


def report(config: Mapping[str, Any], epoch: int) -> EpochReport:
    """Return a made-up epoch whose accuracy depends on the config."""
    ceiling = 0.5 + 0.1 * config["layers"] - 0.2 * config["dropout"] - abs(config["learning_rate"] - 0.01)
    accuracy = ceiling * epoch / EPOCHS
    metrics = {
        "loss": 1.1 - accuracy,
        "accuracy": accuracy + 0.01,
        "val_loss": 1.2 - accuracy,
        "val_accuracy": accuracy,
        "learning_rate": config["learning_rate"],
    }
    return EpochReport(epoch=epoch, metrics=metrics, seconds=0.2)


class SimulatedExecutor:
    """Satisfies `Executor`: every wait is one epoch of every running trial.

    All trials report `EPOCHS` epochs; those that the scheduler would have stopped are told as pruned.
    """

    def __init__(self, *, slot_count: int, epoch_seconds: float) -> None:
        """Set how many trials run at a time, and the wall-clock seconds of an epoch."""
        self.slot_count = slot_count
        self.shares_cores = False
        self._epoch_seconds = epoch_seconds
        self._jobs: dict[int, TrialJob] = {}
        self._epochs: dict[int, int] = {}
        self._stopped: set[int] = set()

    @property
    def running(self) -> Sequence[TrialJob]:
        """Jobs that have been submitted and have not ended."""
        return tuple(self._jobs.values())

    def start(self) -> None:
        """Do nothing: there are no workers."""

    def log_to(self, path: Path) -> None:
        """Do nothing: nobody prints."""

    def prepare(self, prepared_folder: Path, build: Callable[..., Any]) -> None:
        """Do nothing: there is no dataset."""

    def submit(self, job: TrialJob) -> None:
        """Begin a trial."""
        self._jobs[job.number], self._epochs[job.number] = job, 0

    def concentrate(self, slots: int) -> None:
        """Do nothing: there are no cores to share out."""

    def decide(self, job: TrialJob, decision: Decision) -> None:
        """Remember who was stopped."""
        if decision is Decision.STOP:
            self._stopped.add(job.number)

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        """Never called."""
        raise AssertionError("there is no deadline")

    def training_seconds(self, job: TrialJob) -> float:
        """Say nothing: there is no timeout."""
        return 0.0

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Let an epoch pass."""
        time.sleep(self._epoch_seconds)
        return [self._advance(job) for job in self.running]

    def call(self, function: Callable[..., T], **arguments: Any) -> T:
        """Never called."""
        raise AssertionError("there are no finalists")

    def close(self) -> None:
        """Do nothing: there are no workers."""

    def _advance(self, job: TrialJob) -> Event:
        if self._epochs[job.number] == EPOCHS:
            del self._jobs[job.number]
            return Ended(job, self._result(job))
        self._epochs[job.number] += 1
        return Reported(job, report(job.config, self._epochs[job.number]))

    def _result(self, job: TrialJob) -> TrialResult:
        was_stopped = job.number in self._stopped
        state, reason = (TrialState.PRUNED, "scheduler") if was_stopped else (TrialState.COMPLETE, "epochs")
        return TrialResult(state=state, reason=reason, parameter_count=10_000, compile_seconds=0.3)


class SimulatedSlot(SimulatedExecutor):
    """Satisfies `SlotExecutor`: what runs in an actor where nothing is trained."""

    def take_up(self, message: Prepare) -> None:
        """Do nothing: there is no dataset."""

    def wait_ready(self) -> None:
        """Do nothing: there are no workers."""

    def call_named(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        backend: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Never called."""
        raise AssertionError("there are no finalists")


def simulated_slot(plan: SlotPlan, folder: Path) -> SimulatedSlot:
    """Return what an actor runs that trains nothing and waits for nothing."""
    return SimulatedSlot(slot_count=1, epoch_seconds=0.0)
