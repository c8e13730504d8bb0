"""`StudyRecord`: all that is known of one study at one moment, as a frozen value.

The study makes it; the tracker, the results and through them the dashboards read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from automl.dataset_spec import DatasetSpec
from automl.objective import Objective
from automl.records import FinalScore, TrialRecord, TrialState


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """All that is known of one study at one moment.

    Attributes:
        name: The study's name, unique within its home folder.
        folder: The study's folder.
        dataset: What was searched on.
        space: Name of the search space.
        space_table: One row a parameter of the space: `name`, `range`, `default`, `when`, all strings.
        objective: What is optimised.
        settings: What else was asked for: `sampler`, `scheduler`, `seed`, `epochs`, `patience`, `trials`, `seconds`,
            `workers`, ...
        trials: Every trial, by number. Waiting ones included, duplicates left out.
        finalists: Re-trainings of the top configs on fresh seeds; `number` is the trial whose config they repeat.
        refit: The winner's training on all rows that are not sealed, once it has ended; it has no value.
        final: The sealed test's verdict, once there is one.
        elapsed_seconds: Wall-clock seconds that a driver was alive, over all resumes.
    """

    name: str
    folder: Path
    dataset: DatasetSpec
    space: str
    space_table: tuple[Mapping[str, str], ...]
    objective: Objective
    settings: Mapping[str, Any]
    trials: tuple[TrialRecord, ...]
    finalists: tuple[TrialRecord, ...] = ()
    refit: TrialRecord | None = None
    final: FinalScore | None = None
    elapsed_seconds: float = 0.0

    @cached_property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """Complete and pruned trials that have a value, best first."""
        usable = [
            trial
            for trial in self.trials
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and trial.value is not None
        ]
        return tuple(sorted(usable, key=self.objective.rank))

    @property
    def best(self) -> TrialRecord | None:
        """The winner: the config that the finalists chose; before there are any, the best trial of the search.

        None too where the winner's record is lost, which `automl doctor` tells.
        """
        ranked = self.ranked
        if self.final is not None:
            return next((trial for trial in self.trials if trial.number == self.final.trial), None)
        return ranked[0] if ranked else None

    @property
    def test_metric(self) -> str:
        """Name of the objective's metric as the sealed test reports it, such as `accuracy`."""
        return self.objective.metric.removeprefix("val_")

    def count(self, state: TrialState) -> int:
        """Return how many trials are in `state`."""
        return sum(trial.state is state for trial in self.trials)

    def finalist_values(self, number: int) -> tuple[float, ...]:
        """Return the objective's values of one config's re-trainings."""
        return tuple(
            finalist.value for finalist in self.finalists if finalist.number == number and finalist.value is not None
        )


def mean_and_spread(values: tuple[float, ...]) -> tuple[float, float]:
    """Return mean and sample standard deviation (0.0 for a single value) of at least one value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0
