"""What the driver knows of its runs on a Ray cluster, and of the actors that they are in."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from automl.executors.messages import Prepare
from automl.records import Decision, TrialResult
from automl.training.job import TrialJob


@dataclass(eq=False)
class Run:
    """A job on its way, from slot to slot if need be."""

    number: int
    job: TrialJob
    slot: Slot | None = None
    reported_epoch: int = 0
    decision: Decision | None = None  # on that report; it holds in whichever slot the job goes on
    moves: int = 0
    ending: TrialResult | None = None  # what it ends with, whatever its slot says
    began: float | None = None  # `time.monotonic()` when a worker was given it first

    def ended_as(self, result: TrialResult) -> TrialResult:
        """Return how it ended of which its slot says this: where both mean the same, the slot knows more."""
        ending = self.ending or result
        return result if (result.state, result.reason) == (ending.state, ending.reason) else ending

    @property
    def seconds(self) -> float:
        """How long workers have been at it."""
        return 0.0 if self.began is None else time.monotonic() - self.began


class Slot:
    """One actor, and what it is doing."""

    def __init__(self, actor: Any) -> None:
        """Know nothing of what it can do yet."""
        self.actor = actor
        self.trial = ""  # Tune's, which it is in
        self.run: Run | None = None
        self.is_resting = False  # Tune's trial in it has no run
        self.awaits_order = False  # its worker waits for a decision
        self.message: Prepare | None = None  # that it is being prepared for
        self.is_ready = False
        self.sees_home = False
        self.node = ""

    def begin(self, trial: str, run: Run | None) -> None:
        """Take up a trial of Tune's; without a run, the actor rests in it."""
        self.trial, self.run, self.is_resting, self.awaits_order = trial, run, run is None, False
        if run is not None:
            run.slot = self

    def order(self, method: str, *arguments: Any) -> None:
        """Say what the step of Tune's that is under way, or the next, is to do."""
        self.awaits_order = False
        self.actor.order.remote(method, *arguments)

    def decide(self, decision: Decision) -> None:
        """Answer the last report of its run."""
        self.awaits_order = False
        self.actor.decide.remote(decision)

    def abandon(self, run: Run) -> None:
        """Have a run ended that was sent; a step says so."""
        self.actor.abandon.remote(run.number, run.ending)
        if self.awaits_order:
            self.order("go_on")

    def kill(self) -> None:
        """End the actor, and with it its worker, at once."""
        with contextlib.suppress(RayError, ValueError):  # it is gone already
            ray.kill(self.actor)
