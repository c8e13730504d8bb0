"""What a trial is worth so far: its record as the storage has it, its value, and what a scheduler hears of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from optuna.trial import FrozenTrial

from automl.objective import Objective
from automl.records import EpochReport, TrialRecord, TrialResult, TrialState


def read_running(objective: Objective, frozen: FrozenTrial) -> TrialRecord:
    """Return a trial of the storage's, with the epochs that it has, as if it were running."""
    attributes = frozen.user_attrs
    epochs = [EpochReport.from_json(value) for name, value in attributes.items() if name.startswith("epoch:")]
    attempts = [(name, value) for name, value in attributes.items() if name.startswith("attempt:")]
    record = TrialRecord(
        number=frozen.number,
        config=attributes["config"],
        seed=attributes["seed"],
        state=TrialState.RUNNING,
        epochs=tuple(sorted(epochs, key=lambda one: one.epoch)),
        attempts=tuple(TrialResult.from_json(value) for _, value in sorted(attempts)),
    )
    return with_value(objective, record)


def with_value(objective: Objective, record: TrialRecord) -> TrialRecord:
    """Return the record with the value of the epoch that counts."""
    best = objective.counted_epoch(record.epochs)
    if best is None:
        return record
    return replace(record, value=best.metrics[objective.metric], best_epoch=best.epoch)


def losses_by_epoch(objective: Objective, record: TrialRecord) -> Mapping[int, float]:
    """Return by epoch what a scheduler hears: the loss that counts by then, from the first usable epoch on.

    It looks at no later epoch: a trial that runs again has them already, and must be judged as it was.
    """
    losses: dict[int, float] = {}
    so_far = math.inf
    for report in record.epochs:
        value = report.metrics.get(objective.metric, math.nan)
        if math.isfinite(value):
            own = objective.loss(value)
            so_far = own if objective.epoch == "last" else min(so_far, own)
        if so_far < math.inf:
            losses[report.epoch] = so_far
    return losses
