"""Studies to track, made of plain records."""

from __future__ import annotations

from typing import Any

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.records import EpochReport, FinalScore, TrialRecord, TrialState

NOLOAD = "ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"
"""mlflow 3.17 with SQLAlchemy 2.1 warns so; the tracker ignores it in its own thread, the tests do here."""

SPEC = DatasetSpec(
    name="digits",
    raw_inputs=(RawInput(name="image", dtype="float32", shape=(8, 8)),),
    inputs=(InputSpec(name="image", kind=InputKind.IMAGE, shape=(8, 8, 1)),),
    outputs=(OutputSpec(name="target", task=Task.MULTICLASS, units=10, labels=tuple(range(10))),),
    train_rows=1149,
    validation_rows=288,
    test_rows=360,
    fingerprint="0123456789abcdef",
)

CONFIG = {
    "hidden": [{"units": 64, "dropout": 0.1}, {"units": 32, "dropout": 0.0}],
    "activation": "relu",
    "optimizer": "adam",
    "learning_rate": 0.001,
}


def epochs(count: int, *, best: float = 0.9, seconds: float = 0.1) -> tuple[EpochReport, ...]:
    """Return learning curves that climb to `best` in their last epoch."""
    return tuple(
        EpochReport(
            epoch=epoch,
            metrics={
                "loss": 1 / epoch,
                "accuracy": best * epoch / count,
                "val_loss": 1.1 / epoch,
                "val_accuracy": best * epoch / count,
                "learning_rate": 0.001,
            },
            seconds=seconds,
        )
        for epoch in range(1, count + 1)
    )


def trial(number: int, state: TrialState = TrialState.COMPLETE, **changes: Any) -> TrialRecord:
    """Return a trial whose value is its own, with three epochs where nothing else is said."""
    best = 0.5 + number / 100
    values: dict[str, Any] = {
        "number": number,
        "config": CONFIG,
        "seed": 1000 + number,
        "state": state,
        "value": best,
        "best_epoch": 3,
        "epochs": epochs(3, best=best),
        "reason": "epochs" if state is TrialState.COMPLETE else "",
        "parameter_count": 7000,
        "compile_seconds": 0.5,
    }
    return TrialRecord(**(values | changes))


FINAL = FinalScore(
    trial=1,
    metrics={"accuracy": 0.95, "loss": 0.2},
    interval=(0.92, 0.97),
    seed_metrics=({"accuracy": 0.95, "loss": 0.2}, {"accuracy": 0.93, "loss": 0.3}),
)
