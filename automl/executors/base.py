"""What an executor is: it runs trials somewhere, and knows nothing of studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from automl.records import Decision, EpochReport, TrialResult
from automl.search_space import Build
from automl.training.job import TrialJob

T = TypeVar("T")


@dataclass(frozen=True)
class Reported:
    """A trial has finished an epoch and waits for a decision."""

    job: TrialJob
    report: EpochReport


@dataclass(frozen=True)
class Ended:
    """A trial has ended; its slot is free, and the result says how long a worker was at it."""

    job: TrialJob
    result: TrialResult


Event = Reported | Ended

Waiting = Callable[[float], None]
"""Is told for how many seconds a worker has been at a call."""


def say_nothing(seconds: float) -> None:
    """Wait in silence."""


class Executor(Protocol):
    """Runs trials in slots. Every executor passes one contract suite (`tests/executors/contract.py`)."""

    @property
    def slot_count(self) -> int:
        """Trials that can run at a time."""

    @property
    def running(self) -> Sequence[TrialJob]:
        """Jobs that have been submitted and have not ended."""

    @property
    def shares_cores(self) -> bool:
        """True where `concentrate` gives fewer slots the cores of all."""

    def start(self) -> None:
        """Start the workers; returns before they are ready."""

    def log_to(self, path: Path) -> None:
        """Move what workers print to another file of the same file system, before `prepare`."""

    def prepare(self, prepared_folder: Path, build: Build) -> None:
        """Tell every worker what is searched: the prepared dataset's folder and the space's builder."""

    def submit(self, job: TrialJob) -> None:
        """Give a job to a free slot; there must be one."""

    def concentrate(self, slots: int) -> None:
        """Share what all slots have among so few, where that can be done; nothing is running."""

    def decide(self, job: TrialJob, decision: Decision) -> None:
        """Answer a `Reported`; ignored where the job has ended meanwhile."""

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        """End a job at once, wherever it is; an `Ended` with `result` follows."""

    def training_seconds(self, job: TrialJob) -> float:
        """Return how long a worker has been at a running job; 0 while it waits for a worker to start."""

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return what has happened, after at most `timeout_seconds`."""

    def call(
        self,
        function: Callable[..., T],
        *,
        backend: str | None = None,
        timeout_seconds: float | None = None,
        waiting: Waiting = say_nothing,
        **arguments: Any,
    ) -> T:
        """Run `function(build, prepared, **arguments)` in a free worker and return what it returns.

        Args:
            function: A function of ours at the top of a module.
            backend: Keras's backend that it needs; None for the one that trains.
            timeout_seconds: How long a worker that is ready may be at it before it is ended; None for no bound.
            waiting: Told a few times a second for how long a worker has been at it.
            **arguments: Further arguments, which travel to the worker.

        Raises:
            AutomlError: What the function raised of our own errors, or `SurroundingsError` where the worker died.
            CallTimeoutError: It took longer than `timeout_seconds`; it says where the worker stood.
            OSError: The disk is full or broken.
        """

    def close(self) -> None:
        """End every worker, and whatever runs in it."""
