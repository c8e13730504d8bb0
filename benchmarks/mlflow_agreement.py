"""Whether MLflow has what a study has: every metric of every epoch of every training, each once, and why it failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from automl.records import TrialRecord, TrialState
from automl.study_record import StudyRecord
from automl.tracking.mlflow_values import EPOCH_MARK, state_tags

EXACT = 1e-6
"""What an epoch's metrics may differ by where it was trained twice, once more from a checkpoint."""

_MESSAGE = "automl.message"

_Key = tuple[str, int, int]  # kind, trial, seed


def compare(record: StudyRecord, uri: str, *, is_whole: bool) -> tuple[int, list[str]]:
    """Compare a study with its runs in an MLflow store that has no other study.

    Args:
        record: The study.
        uri: MLflow's tracking URI.
        is_whole: MLflow has all of it; otherwise it may lag behind the study.

    Returns:
        How many epochs are the same, and what is not.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    found = client.search_runs(experiments, "tags.`automl.kind` != 'study'", max_results=50_000)
    runs = {_key(run.data.tags): run for run in found}
    ours = _trainings(record)
    differences = _differing_keys(Counter(_key(run.data.tags) for run in found), ours, is_whole=is_whole)
    epochs = 0
    for key in runs.keys() & ours.keys():
        same, different = _compare_epochs(client, runs[key].info.run_id, ours[key], is_whole=is_whole)
        epochs += same
        differences += [f"{key}: {one}" for one in different]
        if is_whole and runs[key].data.tags.get(_MESSAGE) != state_tags(ours[key]).get(_MESSAGE):
            differences.append(f"{key}: MLflow does not have its message")
    return epochs, differences


def _trainings(record: StudyRecord) -> dict[_Key, TrialRecord]:
    trials = {("trial", one.number, 0): one for one in record.trials if one.state is not TrialState.WAITING}
    finalists = {("finalist", one.number, one.seed): one for one in record.finalists}
    refit = {} if record.refit is None else {("refit", record.refit.number, record.refit.seed): record.refit}
    return trials | finalists | refit


def _key(tags: Mapping[str, str]) -> _Key:
    kind = tags["automl.kind"]
    return kind, int(tags["automl.trial"]), 0 if kind == "trial" else int(tags["automl.seed"])


def _differing_keys(theirs: Counter[_Key], ours: Mapping[_Key, TrialRecord], *, is_whole: bool) -> list[str]:
    twice = [f"MLflow has {key} {count} times" for key, count in theirs.items() if count > 1]
    # The study keeps one refit; MLflow those of earlier winners too, which a larger budget has pushed aside.
    foreign = [f"the study lacks {key}" for key in theirs.keys() - ours.keys() if key[0] != "refit"]
    missing = [f"MLflow lacks {key}" for key in ours.keys() - theirs.keys()] if is_whole else []
    return twice + foreign + missing


def _compare_epochs(client: Any, run_id: str, trial: TrialRecord, *, is_whole: bool) -> tuple[int, list[str]]:
    differences, known = [], []
    # By its steps only: of an epoch that was trained twice MLflow has the first time, the study the second.
    for name in [*(trial.epochs[0].metrics if trial.epochs else ()), EPOCH_MARK]:
        theirs = sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
        ours = [(one.epoch, one.metrics.get(name)) for one in trial.epochs]
        if not _is_part(theirs, ours) or (is_whole and len(theirs) < len(ours)):
            differences.append(f"MLflow has {name} as {theirs}, the study as {ours}")
        known.append(len(theirs))
    return min(known), differences


def _is_part(theirs: list[tuple[int, float]], ours: list[tuple[int, float | None]]) -> bool:
    """Return True where MLflow has the first epochs of the study, or all, and nothing else."""
    if [step for step, _ in theirs] != [step for step, _ in ours[: len(theirs)]]:
        return False
    pairs = zip(theirs, ours, strict=False)
    return all(value is None or abs(value - known) <= EXACT for (_, known), (_, value) in pairs)
