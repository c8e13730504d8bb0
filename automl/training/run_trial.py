"""The trial function that every executor runs: a generator that yields epoch reports and is sent decisions.

It knows neither Optuna nor Ray nor MLflow, and never raises: whatever goes wrong becomes a failed `TrialResult`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import psutil

from automl.data import PreparedDataset
from automl.records import Decision, EpochReport, FailureReason, TrialResult, TrialState
from automl.search_space import Build
from automl.training.failures import as_failure
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.trainer import Trainer

Trial = Generator[EpochReport, Decision, TrialResult]


def run_trial(job: TrialJob, build: Build, data: PreparedDataset, graphs: Graphs | None = None) -> Trial:
    """Train one model, epoch by epoch; from a checkpoint on, where there is one.

    Args:
        job: What to train, and for how long at most.
        build: The space's builder.
        data: The prepared dataset; its test split is not read.
        graphs: What earlier trials of this process left to be used again; None for nothing.

    Yields:
        A report after every epoch; expects a `Decision` to be sent. Epochs that a checkpoint knows are reported once
        more: where the machine died in between, the checkpoint knows of them and the study does not.

    Returns:
        How the trial ended. `PRUNED` where it was sent `STOP` (the caller knows why), `PAUSED` where it was sent
        `PAUSE` (its checkpoint is written then), `FAILED` with a typed reason where anything was raised.

    Example:
        ```python
        trial = run_trial(job, space.build, prepared)
        report = next(trial)
        report = trial.send(Decision.CONTINUE)
        ```
    """
    graphs = graphs or Graphs()
    try:
        trainer = Trainer(job, build, data, graphs)
    except Exception as error:  # noqa: BLE001 - as below
        return _failed(error, FailureReason.DATA)
    try:
        ended = yield from _train(trainer)
    except Exception as error:  # noqa: BLE001 - the border where every error of a trial becomes a typed failure
        ended = _failed(error, FailureReason.CRASHED)
    finally:
        trainer.close()
        graphs.trial_ended(trainer.parameter_count)
    return replace(
        ended,
        parameter_count=trainer.parameter_count,
        compile_seconds=trainer.compile_seconds,
        resident_memory_bytes=psutil.Process().memory_info().rss,
    )


def _failed(error: Exception, otherwise: FailureReason) -> TrialResult:
    failure = as_failure(error, otherwise)
    return TrialResult(state=TrialState.FAILED, reason=failure.reason.value, message=failure.message)


def _train(trainer: Trainer) -> Trial:
    trainer.compile()
    for epoch in range(1, trainer.last_epoch + 1):
        decision = yield trainer.train_epoch(epoch)
        if decision is Decision.STOP:
            return TrialResult(state=TrialState.PRUNED)
        if decision is Decision.PAUSE:
            trainer.save()
            return TrialResult(state=TrialState.PAUSED)
        if trainer.is_out_of_patience(epoch):
            return TrialResult(state=TrialState.COMPLETE, reason="patience")
        if epoch < trainer.last_epoch:
            trainer.save_if_due()
    return TrialResult(state=TrialState.COMPLETE, reason="epochs")
