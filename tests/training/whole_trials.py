"""Trials that are run to their end in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from automl.data import PreparedDataset
from automl.records import Decision, EpochReport, TrialResult
from automl.search_space import Build
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.run_trial import run_trial

Ran = tuple[list[EpochReport], TrialResult]


def run(
    job: TrialJob,
    build: Build,
    data: PreparedDataset,
    graphs: Graphs | None = None,
    *,
    decisions: Mapping[int, Decision] | None = None,
    seen: Callable[[EpochReport], None] = lambda report: None,
) -> Ran:
    """Train to the end, in graphs of its own where none are given."""
    trial, reports = run_trial(job, build, data, graphs), []
    try:
        report = next(trial)
        while True:
            reports.append(report)
            seen(report)
            report = trial.send((decisions or {}).get(report.epoch, Decision.CONTINUE))
    except StopIteration as stop:
        return reports, stop.value
