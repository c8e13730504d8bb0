"""What a tracker is: it projects a study into somebody else's store, from the driver, and catches up by itself."""

from __future__ import annotations

from typing import Protocol

from automl.study_record import StudyRecord


class Tracker(Protocol):
    """Projects a study into a store of runs.

    A tracker never holds the only copy of anything: whatever it has not written yet it finds again in the study.
    """

    def update(self, record: StudyRecord) -> None:
        """Say what the study knows now. Returns at once; writing happens beside the search."""

    def close(self, timeout_seconds: float) -> int:
        """Write what is left for at most `timeout_seconds`, then stop; return how many trials are still unsent."""


class NullTracker:
    """Tracks nothing."""

    def update(self, record: StudyRecord) -> None:
        """Do nothing."""

    def close(self, timeout_seconds: float) -> int:
        """Do nothing; nothing is unsent."""
        return 0
