"""`SearchSettings`: how a search is to be run, apart from dataset, space and objective; stored with the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import uuid4

DEFAULT_TRIALS = 50
DEFAULT_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a search is to be run.

    Attributes:
        trials: Budget of complete and pruned trials; None for no such bound.
        seconds: Budget of wall-clock seconds, finalists included, over all resumes; None for no such bound.
        epochs: Cap on the epochs of a trial.
        patience: Epochs without a better objective after which a trial ends; 0 turns that off.
        sampler: Name of the sampler.
        scheduler: Name of the scheduler.
        seed: Seed of proposals, weights, dropout and shuffling.
        split_seed: Seed of the split, for the record.
        finalists: Configs that are re-trained on fresh seeds; 0 for none.
        refit: Train the winner once more, on training and validation rows together.
        retries: How often a trial is run again that failed for what may lie in its surroundings.
        trial_timeout_seconds: Wall-clock seconds that a trial may take, over all resumes; None for no such bound.
        workers: Worker processes, or None to choose by the machine.
        gpus_per_trial: GPUs of a worker: a part of one, or several; None to choose by the machine.
        executor: Where trials run: `local` or `ray`.
        ray_address: Ray cluster to join; None to start Ray on this machine.
        cpus_per_trial: CPU cores that a trial asks Ray for; None to choose by the machine.
        resources: Further resources that a trial asks Ray for, by name.
        runtime_env: What Ray sets up for the workers.
        backend: What Keras runs on in the workers.
        is_default_budget: Neither bound was asked for: the first one that is given later replaces both.
        study_id: Tells studies of one name apart where several homes share one MLflow server; moves with the study.
    """

    trials: int | None
    seconds: float | None
    epochs: int = 30
    patience: int = 5
    sampler: str = "tpe"
    scheduler: str = "asha"
    seed: int = 0
    split_seed: int = 0
    finalists: int = 3
    refit: bool = True
    retries: int = 1
    trial_timeout_seconds: float | None = None
    workers: int | None = None
    gpus_per_trial: float | None = None
    executor: str = "local"
    ray_address: str | None = None
    cpus_per_trial: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    runtime_env: Mapping[str, Any] = field(default_factory=dict)
    backend: str = "tensorflow"
    is_default_budget: bool = False
    study_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def failure_limit(self) -> int:
        """Failed trials after which the search gives up."""
        return max(10, self.trials or DEFAULT_TRIALS)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SearchSettings:
        """Read back what `to_json` gave."""
        return cls(**values)
