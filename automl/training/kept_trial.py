"""`KeptTrial`: what keeps a trial's models on the disk while they are trained, and brings them back after a crash."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol

from automl.dataset_spec import DatasetSpec
from automl.records import EpochReport
from automl.training.checkpoint import Checkpoint, Checkpoints, Pace
from automl.training.job import TrialJob
from automl.training.metrics import Array
from automl.training.weights import load_arrays, save_arrays

_BYTES_PER_WEIGHT = 12  # in float32, with two slots of an optimizer

_log = logging.getLogger(__name__)


class Restorable(Protocol):
    """A model that can be brought back to where it was."""

    def state(self) -> list[Array] | None:
        """Return all that training changes; None where it cannot be brought back."""

    def restore(self, arrays: Sequence[Array]) -> None:
        """Go back to a state that `state` returned."""


class KeptTrial:
    """Writes checkpoints of a trial's models when they are due, and reads them back."""

    def __init__(
        self, job: TrialJob, models: Sequence[Restorable], spec: DatasetSpec, *, epochs: int, parameter_count: int
    ) -> None:
        """Read nothing yet.

        Args:
            job: The trial; where it has no folder for checkpoints, nothing is kept.
            models: Its models, ready for their first epoch.
            spec: The dataset.
            epochs: Epochs that schedules run over.
            parameter_count: Weights of one model.
        """
        self._job = job
        self._models = models
        self._spec = spec
        self._epochs = epochs
        self._pace = Pace(expected_bytes=_BYTES_PER_WEIGHT * parameter_count * len(models))
        self._saved_epoch = 0

    def restore(self) -> list[EpochReport]:
        """Bring the models to where the newest good checkpoint was written, and return the epochs until then."""
        folder = self._job.checkpoint_folder
        states = self._states() if folder is not None and folder.exists() else None
        found = self._checkpoints(states).newest() if states is not None else None
        if states is None or found is None:
            return []
        for model, now, then in zip(self._models, states, found.models, strict=True):
            # Views, because what is no type of numpy's own (bfloat16) is read as mere bytes.
            model.restore([array.view(like.dtype) for array, like in zip(then, now, strict=True)])
        if found.best_weights is not None and self._job.weights_path is not None:
            save_arrays(found.best_weights, self._job.weights_path)
        self._saved_epoch = found.epoch
        return list(found.reports)

    def trained(self, seconds: float) -> None:
        """Count an epoch that was trained, from which it follows when a checkpoint is due."""
        self._pace.trained(seconds)

    def save_if_due(self, reports: Sequence[EpochReport]) -> None:
        """Write a checkpoint of the last of these epochs where one is due."""
        if self._pace.is_due:
            self.save(reports)

    def save(self, reports: Sequence[EpochReport]) -> None:
        """Write a checkpoint of the last of these epochs; a disk that takes none is no reason to fail."""
        if self._job.checkpoint_folder is None or self._saved_epoch == len(reports):
            return
        started = time.monotonic()
        try:
            self._write(reports)
        except OSError as error:
            _log.warning("trial %d: no checkpoint of epoch %d: %s", self._job.number, len(reports), error)
        self._pace.tried(time.monotonic() - started)

    def _write(self, reports: Sequence[EpochReport]) -> None:
        states = self._states()
        if states is None:
            return
        weights = self._job.weights_path
        best = load_arrays(weights) if weights is not None else None
        self._checkpoints(states).write(Checkpoint(models=states, reports=reports, best_weights=best))
        self._saved_epoch = len(reports)

    def _states(self) -> list[list[Array]] | None:
        states = [model.state() for model in self._models]
        known = [state for state in states if state is not None]
        return known if len(known) == len(states) else None

    def _checkpoints(self, states: Sequence[Sequence[Array]]) -> Checkpoints:
        assert self._job.checkpoint_folder is not None
        return Checkpoints(self._job.checkpoint_folder, self._identity(states))

    def _identity(self, states: Sequence[Sequence[Array]]) -> dict[str, Any]:
        """Return all that the trial's curve depends on, and in which shape its state is written."""
        import keras

        return {
            "config": self._job.config,
            "seed": self._job.seed,
            "fold": self._job.fold,
            "refits": self._job.refit_epochs is not None,
            "epochs": self._epochs,
            "dataset": self._spec.fingerprint,
            "keras": [keras.__version__, keras.backend.backend()],
            "arrays": [[[array.dtype.name, *array.shape] for array in state] for state in states],
        }
