"""Schedulers: they look at epoch reports and decide whether a trial goes on.

They work on values alone, lower being better, and keep their own tables: a decision costs the same at the
ten-thousandth trial as at the first, touches no storage, and can be tested in microseconds. (Optuna's pruners scan
all trials, write to the storage at every report, and know only "stop".) Rebuilt on resume by replaying the reports.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

from automl.errors import UnknownNameError
from automl.records import Decision


class Scheduler(Protocol):
    """Decides after every epoch of every trial."""

    def report(self, trial: int, epoch: int, loss: float) -> Decision:
        """Take note of a value and decide.

        Args:
            trial: The trial's number.
            epoch: Finished epochs, from 1.
            loss: The trial's best value so far, as something to be minimised.
        """


class NoScheduler:
    """Lets every trial run to its end."""

    def report(self, trial: int, epoch: int, loss: float) -> Decision:
        """Continue."""
        return Decision.CONTINUE


class AshaScheduler:
    """Asynchronous successive halving, in its stopping form.

    A trial that reaches a rung goes on only if it is among the best 1/`reduction` of all that reached the rung so far;
    as long as they are too few for that, only if it is the best of them. So the first at a rung goes on.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, section 3; the stopping form
    is that of its section 3.3 as Ray Tune and Syne Tune have it.

    Example:
        >>> scheduler = AshaScheduler(9, reduction=3)
        >>> scheduler.rungs
        (1, 3)
    """

    def __init__(self, max_epochs: int, *, reduction: int = 3, rung_count: int = 3) -> None:
        """Place the rungs.

        Args:
            max_epochs: The epoch cap.
            reduction: A trial must be among the best 1/`reduction`.
            rung_count: Rungs below the cap, at cap/reduction, cap/reduction², ...; those below one epoch are left out.
        """
        levels = {max_epochs // reduction**power for power in range(1, rung_count + 1)}
        self.rungs = tuple(sorted(levels - {0}))
        self._reduction = reduction
        self._losses: dict[int, list[float]] = {rung: [] for rung in self.rungs}

    def report(self, trial: int, epoch: int, loss: float) -> Decision:
        """Stop a trial that is not among the best of its rung."""
        if epoch not in self._losses:
            return Decision.CONTINUE
        losses = self._losses[epoch]
        bisect.insort(losses, loss)
        kept = max(1, len(losses) // self._reduction)
        return Decision.CONTINUE if loss <= losses[kept - 1] else Decision.STOP


class HyperbandScheduler:
    """Several ASHA ladders that differ in how early they judge; trials take turns.

    It hedges against curves whose first epochs mislead: in the most patient bracket nothing is stopped.

    Source: Li et al., "Hyperband", JMLR 2018, section 3; asynchronous brackets as in section 3.3 of the ASHA paper.
    """

    def __init__(self, max_epochs: int, *, reduction: int = 3) -> None:
        """Make one ladder each of 3, 2, 1 and 0 rungs; arguments as for `AshaScheduler`."""
        self._brackets = [
            AshaScheduler(max_epochs, reduction=reduction, rung_count=count) for count in range(3, -1, -1)
        ]

    def report(self, trial: int, epoch: int, loss: float) -> Decision:
        """Ask the trial's bracket, which follows from its number."""
        return self._brackets[trial % len(self._brackets)].report(trial, epoch, loss)


class MedianScheduler:
    """Stops a trial whose best value so far is worse than the median of the others' at the same epoch.

    Source: Golovin et al., "Google Vizier", KDD 2017, section 3.2.2.
    """

    def __init__(self, *, grace_epochs: int = 3, min_trials: int = 5) -> None:
        """Set what must be seen before anything is stopped.

        Args:
            grace_epochs: Epochs that every trial is given.
            min_trials: Trials that must have reached an epoch before it is judged.
        """
        self._grace_epochs = grace_epochs
        self._min_trials = min_trials
        self._losses: defaultdict[int, list[float]] = defaultdict(list)

    def report(self, trial: int, epoch: int, loss: float) -> Decision:
        """Stop a trial that is worse than the median."""
        losses = self._losses[epoch]
        median = losses[len(losses) // 2] if losses else loss
        ready = epoch >= self._grace_epochs and len(losses) >= self._min_trials
        bisect.insort(losses, loss)
        return Decision.STOP if ready and loss > median else Decision.CONTINUE


_SCHEDULERS: Mapping[str, Callable[[int], Scheduler]] = {
    "asha": AshaScheduler,
    "hyperband": HyperbandScheduler,
    "median": lambda max_epochs: MedianScheduler(),
    "none": lambda max_epochs: NoScheduler(),
}
SCHEDULERS = tuple(_SCHEDULERS)


def check_scheduler(name: str) -> str:
    """Return `name`.

    Raises:
        UnknownNameError: No scheduler has that name.
    """
    if name not in _SCHEDULERS:
        raise UnknownNameError("scheduler", name, SCHEDULERS)
    return name


def make_scheduler(name: str, *, max_epochs: int) -> Scheduler:
    """Return the scheduler of that name for trials of at most `max_epochs`."""
    return _SCHEDULERS[check_scheduler(name)](max_epochs)
