"""What passes between a trial, its study and those who read it: plain frozen values, no behaviour but JSON.

`EpochReport` and `TrialResult` travel from worker to driver, `Decision` travels back, and `TrialRecord` is what a study
knows of a trial. All of them turn into JSON values and back, because that is how a study stores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any

Config = dict[str, Any]
"""One point of a search space: active parameters only; a `Repeat` is a list of dicts."""


class Decision(Enum):
    """What a scheduler says to an epoch report."""

    CONTINUE = "continue"
    PAUSE = "pause"
    STOP = "stop"


class TrialState(StrEnum):
    """Where a trial stands. `WAITING`, `RUNNING` and `PAUSED` are not final."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """True when the trial will not be trained any further."""
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)


class FailureReason(StrEnum):
    """Why a trial failed."""

    NAN = "nan"  # a loss or the objective was not finite
    OOM = "oom"  # memory ran out, the machine's or a GPU's
    TIMEOUT = "timeout"  # it took longer than a trial may
    CRASHED = "crashed"  # training raised an error, or its process died
    INVALID_MODEL = "invalid_model"  # the config gives no model that could be trained
    DATA = "data"  # the prepared dataset cannot be read
    DISK = "disk"  # what it has to write has no room, or the disk is broken: it ends the search instead of the trial
    INTERRUPTED = "interrupted"  # somebody told its process to end
    DUPLICATE = "duplicate"


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """What one finished epoch of a trial gave.

    Attributes:
        epoch: Number of finished epochs, from 1.
        metrics: Metric values by name: `loss`, `val_loss`, `learning_rate`, and the metrics of the task
            (`accuracy` and `val_accuracy`, say). Regression metrics are in the units of the target.
        seconds: Wall-clock time of this epoch, its validation included, compilation excluded.
    """

    epoch: int
    metrics: Mapping[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"epoch": self.epoch, "metrics": dict(self.metrics), "seconds": self.seconds}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochReport:
        """Read back what `to_json` gave."""
        return cls(epoch=values["epoch"], metrics=dict(values["metrics"]), seconds=values["seconds"])


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """How a trial ended.

    Attributes:
        state: A final state (or `PAUSED`).
        reason: For `FAILED` a `FailureReason`; for `PRUNED` who stopped it (`"scheduler"` or `"deadline"`); for
            `COMPLETE` what ended it (`"epochs"` or `"patience"`).
        message: For `FAILED`, the end of the traceback; otherwise empty.
        parameter_count: Trainable and non-trainable weights of the model; 0 where none was built.
        compile_seconds: Wall-clock time of building, tracing and compiling.
        resident_memory_bytes: Resident memory of the worker when the trial ended.
        wall_seconds: Wall-clock time from when its worker began it in this session to its end; 0 where it never did.
        is_transient: For `FAILED`: the surroundings may be at fault, so that it may go well when it is run again.
    """

    state: TrialState
    reason: str = ""
    message: str = ""
    parameter_count: int = 0
    compile_seconds: float = 0.0
    resident_memory_bytes: int = 0
    wall_seconds: float = 0.0
    is_transient: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self) | {"state": self.state.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialResult:
        """Read back what `to_json` gave."""
        return cls(**{**values, "state": TrialState(values["state"])})


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """Everything a study knows of one trial.

    Attributes:
        number: Position in the study, from 0. Finalists carry the number of the trial whose config they repeat.
        config: The config that is trained.
        seed: Seed of weights, dropout and shuffling.
        state: Where the trial stands.
        value: The objective's value so far, or None before the first usable epoch.
        best_epoch: The epoch that `value` comes from, from 1, or None.
        epochs: Every reported epoch, in order.
        reason: See `TrialResult.reason`.
        message: See `TrialResult.message`.
        parameter_count: See `TrialResult.parameter_count`.
        compile_seconds: See `TrialResult.compile_seconds`.
        wall_seconds: See `TrialResult.wall_seconds`; of the run that ended it.
        is_transient: See `TrialResult.is_transient`.
        attempts: How earlier runs of it failed, after which it was run again.
    """

    number: int
    config: Config
    seed: int
    state: TrialState
    value: float | None = None
    best_epoch: int | None = None
    epochs: tuple[EpochReport, ...] = field(default=())
    reason: str = ""
    message: str = ""
    parameter_count: int = 0
    compile_seconds: float = 0.0
    wall_seconds: float = 0.0
    is_transient: bool = False
    attempts: tuple[TrialResult, ...] = ()

    @property
    def is_infeasible(self) -> bool:
        """True where the config is what failed: nothing else explains it, or it failed each time that it was run."""
        if self.state is not TrialState.FAILED or self.reason in (FailureReason.DATA, FailureReason.INTERRUPTED):
            return False
        return not self.is_transient or len(self.attempts) > 0

    @property
    def lost_seconds(self) -> float:
        """Wall-clock seconds of the runs that failed, without what the last one found in a checkpoint of theirs."""
        failed = sum(attempt.wall_seconds for attempt in self.attempts)
        if self.state is TrialState.FAILED:
            return failed + self.wall_seconds
        if not self.state.is_final:
            return failed
        used = max(0.0, self.seconds - self.wall_seconds)  # of its epochs, what it did not train itself
        return max(0.0, failed - used)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of building and of every reported epoch."""
        return self.compile_seconds + sum(report.seconds for report in self.epochs)

    @property
    def best_metrics(self) -> Mapping[str, float]:
        """Metrics of the best epoch; empty before the first usable one."""
        return next((report.metrics for report in self.epochs if report.epoch == self.best_epoch), {})

    def ended(self, result: TrialResult) -> TrialRecord:
        """Return the record with how it ended."""
        return replace(
            self,
            state=result.state,
            reason=result.reason,
            message=result.message,
            parameter_count=result.parameter_count,
            compile_seconds=result.compile_seconds,
            wall_seconds=result.wall_seconds,
            is_transient=result.is_transient,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        epochs = [report.to_json() for report in self.epochs]
        attempts = [attempt.to_json() for attempt in self.attempts]
        shallow = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return shallow | {"state": self.state.value, "epochs": epochs, "attempts": attempts}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrialRecord:
        """Read back what `to_json` gave."""
        epochs = tuple(EpochReport.from_json(report) for report in values["epochs"])
        attempts = tuple(TrialResult.from_json(attempt) for attempt in values.get("attempts", ()))
        return cls(**{**values, "state": TrialState(values["state"]), "epochs": epochs, "attempts": attempts})


@dataclass(frozen=True, kw_only=True)
class FinalScore:
    """What the sealed test split said, once.

    Attributes:
        trial: Number of the winning trial.
        metrics: Test metrics of the saved model, by name without prefix, such as `accuracy`; in the target's units.
        interval: 95 % bootstrap interval, over test rows, of the objective's metric for the saved model.
        seed_metrics: Test metrics of each re-training of the winning config, the saved model's among them unless
            `is_refit`; empty where time allowed the refit alone.
        is_refit: The saved model was trained on validation rows too.
        judged_trials: Complete and pruned trials that the finalists were chosen from.
    """

    trial: int
    metrics: Mapping[str, float]
    interval: tuple[float, float]
    seed_metrics: tuple[Mapping[str, float], ...]
    is_refit: bool = False
    judged_trials: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FinalScore:
        """Read back what `to_json` gave."""
        low, high = values["interval"]
        seeds = tuple(dict(metrics) for metrics in values["seed_metrics"])
        read = {"metrics": dict(values["metrics"]), "interval": (low, high), "seed_metrics": seeds}
        return cls(**{**values, **read})
