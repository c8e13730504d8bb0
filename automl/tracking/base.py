"""What a tracker is: it projects a study into somebody else's store, from the driver, and catches up by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from automl.study_record import StudyRecord

_TURN_SECONDS = 5.0  # between two questions whose turn it is


class Tracker(Protocol):
    """Projects a study into a store of runs.

    A tracker never holds the only copy of anything: whatever it has not written yet it finds again in the study.
    """

    def update(self, record: StudyRecord) -> None:
        """Say what the study knows now. Returns at once; writing happens beside the search."""

    def close(self, timeout_seconds: float) -> int:
        """Write what is left for at most `timeout_seconds`, then stop; return how many trials are still unsent."""


class TakingTurns:
    """Tracks a study that several drivers share while it is this driver's turn, so that nothing is written twice.

    A turn ends with its driver. The next one finds in the store what is there, as after any crash.
    """

    def __init__(self, tracker: Tracker, is_mine: Callable[[], bool]) -> None:
        """Wait for the turn.

        Args:
            tracker: Writes.
            is_mine: Takes the turn where nobody has it, and says whether this driver does.
        """
        self._tracker = tracker
        self._ask = is_mine
        self._is_mine = False
        self._due = 0.0

    def update(self, record: StudyRecord) -> None:
        """Pass on what the study knows now, where it is this driver's turn."""
        if not self._is_mine and time.monotonic() >= self._due:
            self._is_mine = self._ask()
            self._due = time.monotonic() + _TURN_SECONDS
        if self._is_mine:
            self._tracker.update(record)

    def close(self, timeout_seconds: float) -> int:
        """Write what is left; nothing is unsent where another driver writes."""
        return self._tracker.close(timeout_seconds)


class NullTracker:
    """Tracks nothing."""

    def update(self, record: StudyRecord) -> None:
        """Do nothing."""

    def close(self, timeout_seconds: float) -> int:
        """Do nothing; nothing is unsent."""
        return 0
