"""`Trainer`: trains the model of one config in a worker, and makes a report of every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Protocol

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec
from automl.records import EpochReport, FailureReason
from automl.search_space import Build
from automl.seeds import derive_seed
from automl.training.compiled_model import CompiledModel
from automl.training.failures import TrialFailure, invalid_model
from automl.training.fit_model import FitModel, keras_fit
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.kept_trial import KeptTrial, Restorable
from automl.training.rows import Rows
from automl.unions import own_fit


class TrainedModel(Restorable, Protocol):
    """One model that is trained epoch by epoch; how is its own affair."""

    def build(self, build: Build) -> int:
        """Build the model, and return how many weights it has."""

    def trace(self, shared: dict[str, Rows]) -> None:
        """Make ready for the first epoch; rows may be shared with the models of other folds."""

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train for an epoch, evaluate on the validation rows, and return the metrics."""

    def has_ended(self) -> bool:
        """Return True where no further epoch can follow."""

    def save_weights(self, path: Path) -> None:
        """Write the weights as they are."""

    def close(self) -> None:
        """End whatever runs."""


class Trainer:
    """Trains one model, or with cross-validation one a fold in lockstep; `compile()`, `train_epoch(1)`, `(2)`, ...

    Models are trained by our compiled epochs, or by a `fit`: the one that the space's builder brings, or Keras's.
    """

    def __init__(self, job: TrialJob, build: Build, data: PreparedDataset, graphs: Graphs) -> None:
        """Open the splits; nothing is built yet. Arguments as for `run_trial`."""
        self._job = job
        self._build = build
        self.epochs = min(job.epochs, int(job.config.get("epochs", job.epochs)))
        self._models: list[TrainedModel] = [
            CompiledModel(job, data, graphs, fold=fold, seed=seed, epochs=self.epochs)
            for fold, seed in _folds(job, data.spec)
        ]
        self._data = data
        self._graphs = graphs
        self._reports: list[EpochReport] = []
        self.parameter_count = 0
        self.compile_seconds = 0.0

    @property
    def last_epoch(self) -> int:
        """The epoch after which training ends at the latest."""
        return self.epochs if self._job.refit_epochs is None else min(self._job.refit_epochs, self.epochs)

    def compile(self) -> None:
        """Build, compile and trace the models; where there is a checkpoint, bring them to its epoch.

        Raises:
            TrialFailure: See `assemble`.
        """
        started = time.monotonic()
        self._take_own_fit()
        for model in self._models:
            self.parameter_count = model.build(self._build)
        shared = self._graphs.rows(of_refit=self._job.refit_epochs is not None)
        for model in self._models:
            model.trace(shared)  # the folds' rows lie in the same arrays
        self._kept = KeptTrial(
            self._job, self._models, self._data.spec, epochs=self.epochs, parameter_count=self.parameter_count
        )
        self._reports = self._kept.restore()
        self.compile_seconds = time.monotonic() - started

    def train_epoch(self, epoch: int) -> EpochReport:
        """Train every model for an epoch, and report the means of their metrics.

        An epoch that a checkpoint knows is not trained again, and its report is the one that it gave then.

        Raises:
            TrialFailure: `nan`, where a loss or the objective is no longer finite.
        """
        if epoch <= len(self._reports):
            return self._reports[epoch - 1]
        started = time.monotonic()
        every = [model.train_epoch(epoch) for model in self._models]
        metrics = {name: fmean(one[name] for one in every) for name in every[0]}
        self._check_finite(epoch, metrics)
        report = EpochReport(epoch=epoch, metrics=metrics, seconds=time.monotonic() - started)
        self._reports.append(report)
        self._kept.trained(report.seconds)
        if self._job.weights_path is not None and self._is_to_be_kept(epoch):
            self._models[0].save_weights(self._job.weights_path)
        return report

    def save(self) -> None:
        """Write a checkpoint, from which another process can go on."""
        self._kept.save(self._reports)

    def save_if_due(self) -> None:
        """Write a checkpoint where a crash would cost too much without one."""
        self._kept.save_if_due(self._reports)

    def is_out_of_patience(self, epoch: int) -> bool:
        """Return True where `patience` epochs gave nothing better than before, or a model's own training has ended."""
        if self._job.refit_epochs is None and 0 < self._job.patience <= epoch - self._best_epoch(epoch):
            return True
        return epoch < self.last_epoch and any(model.has_ended() for model in self._models)

    def close(self) -> None:
        """End whatever runs."""
        for model in self._models:
            model.close()

    def _take_own_fit(self) -> None:
        """Train by the builder's own `fit`, where it brings one for this config; on torch by Keras's."""
        fit = own_fit(self._build, self._job.config) or keras_fit()
        if fit is not None and self._job.refit_epochs is not None:
            raise invalid_model("a fit of its own validates, and is not given the validation rows to train on")
        if fit is not None:
            folds = _folds(self._job, self._data.spec)
            self._models = [
                FitModel(self._job, fit, self._data, fold=fold, seed=seed, epochs=self.epochs) for fold, seed in folds
            ]

    def _is_to_be_kept(self, epoch: int) -> bool:
        return self._job.refit_epochs is not None or epoch == self._best_epoch(epoch)

    def _best_epoch(self, until: int) -> int:
        best = self._job.objective.counted_epoch(self._reports[:until])
        return best.epoch if best is not None else 0

    def _check_finite(self, epoch: int, metrics: Mapping[str, float]) -> None:
        validated = () if self._job.refit_epochs is not None else ("val_loss", self._job.objective.metric)
        for name in ("loss", *validated):
            if not math.isfinite(metrics.get(name, math.nan)):
                raise TrialFailure(FailureReason.NAN, f"{name} is {metrics.get(name)} after epoch {epoch}")


def _folds(job: TrialJob, spec: DatasetSpec) -> list[tuple[int | None, int]]:
    """Return the folds to train, each with a seed of its own; no fold at all is one model on the whole split."""
    if not spec.folds or job.fold is not None:
        return [(job.fold, job.seed)]
    return [(fold, derive_seed(job.seed, fold)) for fold in range(spec.folds)]
