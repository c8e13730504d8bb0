"""What is new in a study since one looked last, so that a look costs the same at any number of trials."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from automl.records import TrialRecord, TrialState
from automl.study_record import StudyRecord


class StudyChanges:
    """Finds the trials whose record is another one than at the last look."""

    def __init__(self) -> None:
        """Start with a study of which nothing is known."""
        self._known: tuple[TrialRecord, ...] = ()

    def take(self, record: StudyRecord) -> list[TrialRecord]:
        """Return the trials that are new or changed. Records that did not change are the same objects."""
        if record.trials is self._known:
            return []
        pairs = zip_longest(record.trials, self._known[: len(record.trials)])
        self._known = record.trials
        return [trial for trial, known in pairs if trial is not known]


class BestCurve:
    """The best value after each trial, in the order of their numbers, up to the first still going.

    A trial that is paused holds nothing up: nobody knows whether it will ever go on.

    Attributes:
        best: The best trial so far, or None.
    """

    def __init__(self) -> None:
        """Start before the first trial."""
        self.best: TrialRecord | None = None
        self._position = 0
        self._last_number = -1

    def advance(self, record: StudyRecord, changed: Sequence[TrialRecord]) -> list[tuple[int, float]]:
        """Return (trial, best value) from where the curve ended.

        Args:
            record: The study as it is now.
            changed: What `StudyChanges` found; where it is a trial that was passed already, the curve starts over.
        """
        if any(trial.number <= self._last_number for trial in changed):
            self.best, self._position, self._last_number = None, 0, -1
        points = []
        for trial in record.trials[self._position :]:
            if trial.state in (TrialState.WAITING, TrialState.RUNNING):
                break
            self._position, self._last_number = self._position + 1, trial.number
            if self._is_best(trial, record):
                self.best = trial
            if self.best is not None and self.best.value is not None:
                points.append((trial.number, self.best.value))
        return points

    def _is_best(self, trial: TrialRecord, record: StudyRecord) -> bool:
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or trial.value is None:
            return False
        if self.best is None or self.best.value is None:
            return True
        if trial.value == self.best.value:
            return record.objective.rank(trial) < record.objective.rank(self.best)
        return record.objective.better(trial.value, self.best.value)
