"""Checkpoints of one trial: what it needs to go on after an epoch as if nothing had happened.

A checkpoint is one file, `EPOCH-SHA256.npz`, in a folder of the trial's own: plain arrays, and what else there is to
know as JSON. It is written beside its place and renamed, so that it is there whole or not at all, and its name says
what its content must be. Two are kept: should the newest be damaged, the other one serves.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from automl.durable import sync
from automl.records import EpochReport
from automl.training.metrics import Array

_FORMAT = 1
_KEPT = 2
_FREE_BYTES = 64 * 2**20  # what a checkpoint leaves on the disk: the study needs room too
_LOST_SECONDS = 30.0  # what a crash may cost, or one epoch where that is longer
_COST_SHARE = 0.02  # of the time of training, at most
_BYTES_PER_SECOND = 100e6  # of a busy disk, before the first write has been measured
_FOLDER = "checkpoints"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a trial stood at the end of an epoch.

    Attributes:
        models: All that training changes in each of the trial's models; with cross-validation there is one a fold.
        reports: Every epoch so far, from which early stopping and the best epoch follow.
        best_weights: Weights of the best epoch, where the trial saves them.
    """

    models: Sequence[Sequence[Array]]
    reports: Sequence[EpochReport]
    best_weights: Sequence[Array] | None = None

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.reports)

    @property
    def arrays(self) -> Iterator[Array]:
        """Every array, in the order of the file."""
        return chain(*self.models, self.best_weights or ())


class Checkpoints:
    """The checkpoints of one trial, in a folder of their own.

    Example:
        >>> from tempfile import mkdtemp
        >>> checkpoints = Checkpoints(Path(mkdtemp()), {"seed": 3})
        >>> report = EpochReport(epoch=1, metrics={"loss": 0.5}, seconds=1.0)
        >>> checkpoints.write(Checkpoint(models=[[np.zeros(2)]], reports=[report]))
        >>> checkpoints.newest().epoch
        1
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Create nothing yet.

        Args:
            folder: Where they lie.
            identity: What the trial's curve depends on; checkpoints of any other are not read.
        """
        self._folder = folder
        text = json.dumps(identity, sort_keys=True, default=repr)
        self._identity = hashlib.sha256(text.encode()).hexdigest()

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, and delete those that are not needed any more.

        Raises:
            OSError: The disk is full, say; the checkpoints that there were are whole.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_room(checkpoint)
        try:
            self._write(checkpoint, self._folder / f"{os.getpid()}.tmp")
        finally:
            for left in [*self._folder.glob("*.tmp"), *self._paths()[_KEPT:]]:
                left.unlink(missing_ok=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and this trial's; None where there is none."""
        for path in self._paths():
            try:
                return self._read(path)
            except (OSError, ValueError) as error:
                _log.warning("checkpoint %s is of no use: %s", path, error)
                path.unlink(missing_ok=True)  # or it would be kept in the place of a good one
        return None

    def _paths(self) -> list[Path]:
        """Return the files, the newest first."""
        return sorted(self._folder.glob("*-*.npz"), reverse=True)

    def _check_room(self, checkpoint: Checkpoint) -> None:
        needed = sum(array.nbytes for array in checkpoint.arrays)
        free = shutil.disk_usage(self._folder).free
        if needed + _FREE_BYTES > free:
            raise OSError(f"a checkpoint takes {needed} bytes, and of {free} that are free {_FREE_BYTES} must remain")

    def _write(self, checkpoint: Checkpoint, temporary: Path) -> None:
        with temporary.open("w+b") as file:
            np.savez(file, self._metadata(checkpoint), *checkpoint.arrays, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.replace(temporary, self._folder / f"{checkpoint.epoch:06d}-{digest}.npz")
        sync(self._folder)  # a new name outlives a loss of power only then

    def _metadata(self, checkpoint: Checkpoint) -> Array:
        best = checkpoint.best_weights
        metadata = {
            "format": _FORMAT,
            "identity": self._identity,
            "reports": [report.to_json() for report in checkpoint.reports],
            "models": [len(arrays) for arrays in checkpoint.models],
            "best_weights": None if best is None else len(best),
        }
        return np.frombuffer(json.dumps(metadata).encode(), dtype=np.uint8)

    def _read(self, path: Path) -> Checkpoint:
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != path.stem.partition("-")[2]:
                raise ValueError("it is damaged")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return self._checkpoint(arrays[name] for name in arrays.files)

    def _checkpoint(self, arrays: Iterator[Array]) -> Checkpoint:
        metadata = json.loads(next(arrays).tobytes())
        if metadata["format"] != _FORMAT:
            raise ValueError(f"it has format {metadata['format']}, not {_FORMAT}")
        if metadata["identity"] != self._identity:
            raise ValueError("it is of another trial, model, dataset or version")
        best = metadata["best_weights"]
        return Checkpoint(
            models=[list(islice(arrays, count)) for count in metadata["models"]],
            reports=[EpochReport.from_json(report) for report in metadata["reports"]],
            best_weights=None if best is None else list(islice(arrays, best)),
        )


class Pace:
    """Says when a checkpoint is due: so often that a crash costs little, and so rarely that writing costs next to none.

    Example:
        >>> pace = Pace(expected_bytes=1000)
        >>> pace.trained(20.0)  # the next chance is in 20 seconds: a crash before it would cost 40
        >>> pace.is_due
        True
    """

    def __init__(self, *, expected_bytes: int) -> None:
        """Begin with nothing trained.

        Args:
            expected_bytes: Size of a checkpoint, from which the time of the first one is guessed.
        """
        self._write_seconds = expected_bytes / _BYTES_PER_SECOND
        self._epoch_seconds = self._trained_seconds = self._unsaved_seconds = self._spent_seconds = 0.0

    def trained(self, seconds: float) -> None:
        """Count an epoch."""
        self._epoch_seconds = seconds
        self._trained_seconds += seconds
        self._unsaved_seconds += seconds

    def tried(self, seconds: float) -> None:
        """Count a checkpoint that was written, or could not be: the next one is as far away either way."""
        self._write_seconds = seconds
        self._spent_seconds += seconds
        self._unsaved_seconds = 0.0

    @property
    def is_due(self) -> bool:
        """True where a crash before the end of the next epoch would cost too much, and writing does not."""
        if self._unsaved_seconds + self._epoch_seconds <= _LOST_SECONDS:
            return False
        return self._spent_seconds + self._write_seconds <= _COST_SHARE * self._trained_seconds


def checkpoint_folder(study_folder: Path, number: int, repeat: int | None = None) -> Path:
    """Return where a trial's checkpoints lie while it runs; `repeat` is that of a finalist."""
    name = f"{number:06d}" if repeat is None else f"{number:06d}-{repeat:02d}"
    return study_folder / _FOLDER / name


def discard_all(study_folder: Path) -> None:
    """Delete what checkpoints there are of any trial of a study."""
    discard(study_folder / _FOLDER)


def discard(folder: Path | None) -> None:
    """Delete checkpoints that are not needed any more, where there are any."""
    if folder is None or not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:  # they take room, and do no harm
        _log.warning("checkpoints in %s cannot be deleted: %s", folder, error)
