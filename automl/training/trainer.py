"""`Trainer`: builds, compiles and trains one model in a worker, and makes a report of every epoch."""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from automl.data import PreparedDataset, Split
from automl.dataset_spec import DatasetSpec
from automl.records import Config, EpochReport, FailureReason
from automl.search_space import Build
from automl.seeds import derive_seed
from automl.training.assemble import DEFAULT_BATCH_SIZE, assemble
from automl.training.failures import TrialFailure
from automl.training.job import TrialJob
from automl.training.loop import Evaluator, Sweep, TrainingLoop
from automl.training.metrics import score
from automl.training.rows import Rows, open_rows


class Trainer:
    """Trains the model of one config, or with cross-validation one a fold; `compile()`, `train_epoch(1)`, `(2)`, ..."""

    def __init__(self, job: TrialJob, build: Build, data: PreparedDataset) -> None:
        """Open the splits; nothing is built yet. Arguments as for `run_trial`."""
        self._job = job
        self.epochs = min(job.epochs, int(job.config.get("epochs", job.epochs)))
        self._models = [
            _FoldModel(job, build, data, self.epochs, fold=fold, seed=seed) for fold, seed in _folds(job, data.spec)
        ]
        self._reports: list[EpochReport] = []
        self.parameter_count = 0
        self.compile_seconds = 0.0

    def compile(self) -> None:
        """Build, compile and trace the models.

        Raises:
            TrialFailure: See `assemble`.
        """
        started = time.monotonic()
        for model in self._models:
            self.parameter_count = model.build()
        shared: dict[str, Rows] = {}  # the folds' rows lie in the same arrays
        for model in self._models:
            model.trace(shared)
        self.compile_seconds = time.monotonic() - started

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train every model on its rows once, evaluate it on its validation rows, and report the means.

        Raises:
            TrialFailure: `nan`, where a loss or the objective is no longer finite.
        """
        started = time.monotonic()
        every = [model.train_epoch(epoch) for model in self._models]
        metrics = {name: fmean(one[name] for one in every) for name in every[0]}
        self._check_finite(epoch, metrics)
        report = EpochReport(epoch=epoch, metrics=metrics, seconds=time.monotonic() - started)
        self._reports.append(report)
        if self._job.weights_path is not None and self._best_epoch() == epoch:
            self._models[0].save_weights(self._job.weights_path)
        return report

    @property
    def is_out_of_patience(self) -> bool:
        """True when the objective has not improved for `patience` epochs."""
        return 0 < self._job.patience <= len(self._reports) - self._best_epoch()

    def _best_epoch(self) -> int:
        best = self._job.objective.counted_epoch(self._reports)
        return best.epoch if best is not None else 0

    def _check_finite(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for name in ("loss", "val_loss", self._job.objective.metric):
            if not math.isfinite(metrics.get(name, math.nan)):
                raise TrialFailure(FailureReason.NAN, f"{name} is {metrics.get(name)} after epoch {epoch}")


def _folds(job: TrialJob, spec: DatasetSpec) -> list[tuple[int | None, int]]:
    """Return the folds to train, each with a seed of its own; no fold at all is one model on the whole split."""
    if not spec.folds or job.fold is not None:
        return [(job.fold, job.seed)]
    return [(fold, derive_seed(job.seed, fold)) for fold in range(spec.folds)]


class _FoldModel:
    """One model, the rows that it trains on, and those that validate it."""

    def __init__(
        self, job: TrialJob, build: Build, data: PreparedDataset, epochs: int, *, fold: int | None, seed: int
    ) -> None:
        self._job = job
        self._build = build
        self._spec = data.spec
        self._epochs = epochs
        self._seed = seed
        self._train, self._validation = data.split("train", fold=fold), data.split("validation", fold=fold)

    def build(self) -> int:
        """Build the model, and return how many weights it has."""
        self._model = build_model(self._build, self._job.config, self._seed, self._spec, self._epochs)
        return int(self._model.count_params())

    def trace(self, shared: dict[str, Rows]) -> None:
        """Open the rows, once for all folds that share them, and trace the epoch."""
        batch_size = self._job.config.get("batch_size", DEFAULT_BATCH_SIZE)
        train, validation = (_opened(split, shared) for split in (self._train, self._validation))
        self._loop = TrainingLoop(self._model, train, batch_size=batch_size, seed=self._seed, chosen=self._train.chosen)
        self._evaluator = Evaluator(self._model, validation, chosen=self._validation.chosen)
        self._loop.trace()
        self._evaluator.trace()

    def train_epoch(self, epoch: int) -> dict[str, float]:
        metrics = self._metrics(self._loop.train_epoch(epoch), self._train, "")
        metrics |= self._metrics(self._evaluator.evaluate(), self._validation, "val_")
        metrics["learning_rate"] = float(self._model.optimizer.learning_rate)
        return metrics

    def save_weights(self, path: Path) -> None:
        """Write the weights as they are, whole or not at all: at once, since the worker may be ended at any moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, *[variable.numpy() for variable in self._model.variables])
        os.replace(temporary, path)

    def _metrics(self, sweep: Sweep, split: Split, prefix: str) -> dict[str, float]:
        metrics = {f"{prefix}{name}": value for name, value in sweep.metrics.items()}
        metrics[f"{prefix}loss"] = sweep.loss
        if sweep.predictions:
            truths = [np.asarray(output)[sweep.rows] for output in split.outputs]
            wanted = [self._job.objective.metric]
            metrics |= score(truths, sweep.predictions, self._spec.outputs, prefix=prefix, wanted=wanted)
        return metrics


def _opened(split: Split, shared: dict[str, Rows]) -> Rows:
    """Return a split's rows, once for all folds that share them."""
    key = str(split.inputs[0].filename)
    if key not in shared:
        shared[key] = open_rows(split)
    return shared[key]


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
