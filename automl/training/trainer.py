"""`Trainer`: builds, compiles and trains one model in a worker, and makes a report of every epoch."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from automl.data import PreparedDataset, Split
from automl.dataset_spec import DatasetSpec
from automl.records import Config, EpochReport, FailureReason
from automl.search_space import Build
from automl.training.assemble import DEFAULT_BATCH_SIZE, assemble
from automl.training.failures import TrialFailure
from automl.training.job import TrialJob
from automl.training.loop import Evaluator, Sweep, TrainingLoop
from automl.training.metrics import score


class Trainer:
    """Trains one model; `compile()` first, then `train_epoch(1)`, `train_epoch(2)`, ..."""

    def __init__(self, job: TrialJob, build: Build, data: PreparedDataset) -> None:
        """Open the splits; nothing is built yet. Arguments as for `run_trial`."""
        self._job = job
        self._build = build
        self._spec = data.spec
        self._train, self._validation = data.split("train"), data.split("validation")
        self._reports: list[EpochReport] = []
        self.epochs = min(job.epochs, int(job.config.get("epochs", job.epochs)))
        self.parameter_count = 0
        self.compile_seconds = 0.0

    def compile(self) -> None:
        """Build, compile and trace the model.

        Raises:
            TrialFailure: See `assemble`.
        """
        started = time.monotonic()
        self._model = build_model(self._build, self._job.config, self._job.seed, self._spec, self.epochs)
        self.parameter_count = self._model.count_params()
        batch_size = self._job.config.get("batch_size", DEFAULT_BATCH_SIZE)
        train, validation = self._train, self._validation
        self._loop = TrainingLoop(self._model, train.inputs, train.outputs, batch_size=batch_size, seed=self._job.seed)
        self._evaluator = Evaluator(self._model, validation.inputs, validation.outputs)
        self._loop.trace()
        self._evaluator.trace()
        self.compile_seconds = time.monotonic() - started

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train on every row once, evaluate on the validation rows, and report.

        Raises:
            TrialFailure: `nan`, where a loss or the objective is no longer finite.
        """
        started = time.monotonic()
        metrics = _metrics(self._loop.train_epoch(epoch), self._train, self._spec, "")
        metrics |= _metrics(self._evaluator.evaluate(), self._validation, self._spec, "val_")
        metrics["learning_rate"] = float(self._model.optimizer.learning_rate)
        self._check_finite(epoch, metrics)
        report = EpochReport(epoch=epoch, metrics=metrics, seconds=time.monotonic() - started)
        self._reports.append(report)
        if self._job.weights_path is not None and self._best_epoch() == epoch:
            self._save_weights(self._job.weights_path)
        return report

    @property
    def is_out_of_patience(self) -> bool:
        """True when the objective has not improved for `patience` epochs."""
        return 0 < self._job.patience <= len(self._reports) - self._best_epoch()

    def _save_weights(self, path: Path) -> None:
        """Write the weights as they are, whole or not at all: at once, since the worker may be ended at any moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, *[variable.numpy() for variable in self._model.variables])
        os.replace(temporary, path)

    def _best_epoch(self) -> int:
        best = self._job.objective.counted_epoch(self._reports)
        return best.epoch if best is not None else 0

    def _check_finite(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for name in ("loss", "val_loss", self._job.objective.metric):
            if not math.isfinite(metrics.get(name, math.nan)):
                raise TrialFailure(FailureReason.NAN, f"{name} is {metrics.get(name)} after epoch {epoch}")


def build_model(build: Build, config: Config, seed: int, spec: DatasetSpec, epochs: int) -> Any:
    """Return the compiled `keras.Model` of a config, its weights drawn from `seed`.

    Raises:
        TrialFailure: See `assemble`.
    """
    import keras

    keras.backend.clear_session()
    # What keras.utils.set_random_seed does, less tf.random.set_seed, which drops TensorFlow's kernel caches (half a
    # second) and which Keras's own layers and initialisers do not use.
    random.seed(seed)
    np.random.seed(seed)
    batch_size = config.get("batch_size", DEFAULT_BATCH_SIZE)
    return assemble(build, config, spec, total_steps=max(1, epochs * math.ceil(spec.train_rows / batch_size)))


def load_weights(model: Any, path: Path) -> None:
    """Give a model the weights that a `Trainer` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        for variable, name in zip(model.variables, arrays.files, strict=True):
            variable.assign(arrays[name])


def _metrics(sweep: Sweep, split: Split, spec: DatasetSpec, prefix: str) -> dict[str, float]:
    metrics = {f"{prefix}{name}": value for name, value in sweep.metrics.items()}
    metrics[f"{prefix}loss"] = sweep.loss
    if sweep.predictions:
        truths = [np.asarray(output)[sweep.rows] for output in split.outputs]
        metrics |= score(truths, sweep.predictions, spec.outputs, prefix=prefix)
    return metrics
