"""A conditional space, and trials that are reported and told without training anything."""

from __future__ import annotations

from typing import Any

from automl.parameters import Choice, Float, Int, Repeat
from automl.records import EpochReport, TrialRecord, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.study.study import Study

SPACE = SearchSpace(
    "conditional",
    [
        Repeat("hidden", 1, 3, [Int("units", 8, 64, log=True), Float("dropout", 0.0, 0.6, step=0.1)], default=2),
        Choice("optimizer", ["adam", "sgd"]),
        Float("momentum", 0.0, 0.99, when={"optimizer": ["sgd"]}),
        Float("learning_rate", 1e-4, 1e-1, log=True),
    ],
    print,
)
FINITE = SearchSpace("finite", [Choice("activation", ["relu", "tanh"]), Int("units", 1, 3)], print)


def epoch(number: int, accuracy: float, **metrics: float) -> EpochReport:
    return EpochReport(epoch=number, metrics={"val_accuracy": accuracy, "val_loss": 1 - accuracy, **metrics}, seconds=1)


def quality(config: dict[str, Any]) -> float:
    """A made-up accuracy that depends on every part of a config of `SPACE`."""
    units = sum(layer["units"] * (1 - layer["dropout"]) for layer in config["hidden"])
    bonus = config.get("momentum", 0.5) / 10
    return float(min(0.99, 0.3 + units / 400 + bonus + min(config["learning_rate"], 0.01) * 10))


def run(study: Study, trial: TrialRecord, *, epochs: int = 2) -> TrialRecord:
    """Report and tell a trial as if it had been trained."""
    for number in range(1, epochs + 1):
        study.report(trial.number, epoch(number, quality(trial.config) * number / epochs))
    return study.tell(trial.number, TrialResult(state=TrialState.COMPLETE, reason="epochs", parameter_count=7))
