"""What a search optimises: a metric, a direction, and which epoch of a trial counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from automl.dataset_spec import Task
from automl.errors import RequestError, UnknownNameError
from automl.records import EpochReport, TrialRecord

TASK_METRICS: Mapping[Task, tuple[str, ...]] = {
    Task.REGRESSION: ("loss", "rmse", "mae", "r2"),
    Task.BINARY: ("loss", "accuracy", "auc"),
    Task.MULTICLASS: ("loss", "accuracy"),
    Task.MULTILABEL: ("loss", "accuracy", "auc"),
}
"""Metrics that a trial of each task reports, for training rows and, prefixed with `val_`, for validation rows."""

_DEFAULT_METRIC: Mapping[Task, str] = {
    Task.REGRESSION: "val_rmse",
    Task.BINARY: "val_accuracy",
    Task.MULTICLASS: "val_accuracy",
    Task.MULTILABEL: "val_auc",
}
_MAXIMISED = ("accuracy", "auc", "r2")


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
    def for_task(cls, task: Task, request: str | None = None) -> Objective:
        """Read `metric[:min|max]`, or take the task's default where nothing is requested.

        Args:
            task: The task whose metrics may be named.
            request: Such as `"val_loss"` or `"val_auc:max"`; None for the default.

        Raises:
            UnknownNameError: The task reports no such metric.
            RequestError: The direction is neither `min` nor `max`.
        """
        name, _, direction = (request or _DEFAULT_METRIC[task]).partition(":")
        known = [prefix + metric for metric in TASK_METRICS[task] for prefix in ("", "val_")]
        if name not in known:
            raise UnknownNameError(f"objective for a {task} task", name, known)
        natural: Literal["max", "min"] = "max" if name.removeprefix("val_") in _MAXIMISED else "min"
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
