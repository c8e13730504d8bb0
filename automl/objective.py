"""What a search optimises: a metric, a direction, and which epoch of a trial counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from automl.dataset_spec import OutputSpec, Task
from automl.errors import RequestError, UnknownNameError
from automl.records import EpochReport, TrialRecord

_CLASS_METRICS = ("accuracy", "precision", "recall", "f1", "auc")
TASK_METRICS: Mapping[Task, tuple[str, ...]] = {
    Task.REGRESSION: ("rmse", "mse", "mae", "r2"),
    Task.BINARY: _CLASS_METRICS,
    Task.MULTICLASS: _CLASS_METRICS,
    Task.MULTILABEL: _CLASS_METRICS,
}
"""Metrics of each task beside `loss`, for training rows and, prefixed with `val_`, for validation rows."""

_DEFAULT_METRIC: Mapping[Task, str] = {
    Task.REGRESSION: "val_rmse",
    Task.BINARY: "val_accuracy",
    Task.MULTICLASS: "val_accuracy",
    Task.MULTILABEL: "val_auc",
}
_MINIMISED = ("loss", "rmse", "mse", "mae")


@dataclass(frozen=True)
class Objective:
    """What a search optimises.

    Attributes:
        metric: Name of a reported metric, such as `"val_accuracy"`.
        direction: `"max"` or `"min"`.
        epoch: `"best"`: a trial counts with its best epoch; `"last"`: with its last.

    Raises:
        RequestError: Another direction or epoch.

    Example:
        >>> Objective("val_accuracy", "max").better(0.9, 0.8)
        True
    """

    metric: str
    direction: Literal["max", "min"]
    epoch: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        """Check direction and epoch."""
        if self.direction not in ("max", "min"):
            raise RequestError(f"the objective's direction is 'max' or 'min', not {self.direction!r}")
        if self.epoch not in ("best", "last"):
            raise RequestError(f"the objective's epoch is 'best' or 'last', not {self.epoch!r}")

    @classmethod
    def for_outputs(cls, outputs: Sequence[OutputSpec], request: str | None = None) -> Objective:
        """Read `metric[:min|max]`, or take the default where nothing is requested.

        Args:
            outputs: The dataset's outputs. One output's metrics have plain names (`val_accuracy`); those of several
                carry the output's name (`val_income_accuracy`).
            request: Such as `"val_loss"` or `"val_auc:max"`; None for the task's default, with several outputs
                `val_loss`.

        Raises:
            UnknownNameError: No output reports such a metric.
            RequestError: The direction is neither `min` nor `max`.
        """
        default = _DEFAULT_METRIC[outputs[0].task] if len(outputs) == 1 else "val_loss"
        metrics = {"loss": "loss"} | {
            f"{output.name}_{metric}" if len(outputs) > 1 else metric: metric
            for output in outputs
            for metric in TASK_METRICS[output.task]
        }
        known = {prefix + full: metric for full, metric in metrics.items() for prefix in ("", "val_")}
        name, colon, direction = (request or default).rpartition(":")
        if not colon or request in known:  # an output's name may have a colon too
            name, direction = request or default, ""
        if name not in known:
            tasks = " and ".join(output.task.value for output in outputs)
            raise UnknownNameError(f"objective for a {tasks} task", name, known)
        natural: Literal["max", "min"] = "min" if known[name] in _MINIMISED else "max"
        if direction not in ("", "min", "max"):
            raise RequestError(f"the objective's direction is 'min' or 'max', not {direction!r}: try {name}:{natural}")
        return cls(name, natural if not direction else "max" if direction == "max" else "min")

    def better(self, value: float, than: float) -> bool:
        """Return True when `value` is strictly better than `than`."""
        return value > than if self.direction == "max" else value < than

    def loss(self, value: float) -> float:
        """Return the value as something to be minimised."""
        return -value if self.direction == "max" else value

    def counted_epoch(self, reports: Sequence[EpochReport]) -> EpochReport | None:
        """Return the epoch that a trial counts with: its best (ties by `val_loss`, then the earlier) or its last.

        Epochs whose value is not finite never count.
        """
        usable = [report for report in reports if math.isfinite(report.metrics.get(self.metric, math.nan))]
        if not usable:
            return None
        return usable[-1] if self.epoch == "last" else min(usable, key=lambda report: self._rank(report.metrics))

    def rank(self, trial: TrialRecord) -> tuple[float, float]:
        """Return a sort key for trials, best first; a trial without a value sorts last."""
        return self._rank(trial.best_metrics)

    def _rank(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        value = metrics.get(self.metric, math.nan)
        tie = metrics.get("val_loss", math.inf)
        return (
            self.loss(value) if math.isfinite(value) else math.inf,
            tie if math.isfinite(tie) else math.inf,
        )
