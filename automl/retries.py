"""`Retries`: trials that failed for what may lie in their surroundings, and wait to be run again."""

from __future__ import annotations

from collections.abc import Collection

from automl.records import FailureReason, TrialRecord


class Retries:
    """A queue of trials; those that were short of memory run while no other trial does.

    Example:
        >>> retries = Retries()
        >>> retries.take(running=[3]), retries.holds_back(running=[3])
        (None, False)
    """

    def __init__(self) -> None:
        """Start empty."""
        self._waiting: list[TrialRecord] = []
        self._alone: int | None = None

    def __len__(self) -> int:
        """Return how many trials wait."""
        return len(self._waiting)

    def add(self, trial: TrialRecord) -> None:
        """Let a trial wait; its last attempt says whether it must run alone."""
        self._waiting.append(trial)

    def take(self, running: Collection[int]) -> TrialRecord | None:
        """Return a trial that may be run now, beside the trials of these numbers; None where there is none."""
        if self._alone in running:
            return None
        found = next((one for one in self._waiting if not (running and must_be_alone(one))), None)
        if found is not None:
            self._waiting.remove(found)
            self._alone = found.number if must_be_alone(found) else None
        return found

    def holds_back(self, running: Collection[int]) -> bool:
        """Return True where no new trial may start: one runs alone, or waits until it can."""
        return self._alone in running or any(must_be_alone(one) for one in self._waiting)

    def drain(self) -> list[TrialRecord]:
        """Return the trials that still wait, and forget them."""
        waiting, self._waiting = self._waiting, []
        return waiting


def must_be_alone(trial: TrialRecord) -> bool:
    """Return True for a trial to be run again that was short of memory beside others."""
    return bool(trial.attempts) and trial.attempts[-1].reason == FailureReason.OOM
