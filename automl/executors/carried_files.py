"""A trial's files where driver and worker share no folder: checkpoints, and the weights of a finalist.

They travel beside the trial's reports, so that the driver has them when the worker's machine is gone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from automl.training.job import TrialJob


@dataclass(frozen=True, kw_only=True)
class CarriedFiles:
    """Files of a trial.

    Attributes:
        checkpoints: Content by name of every checkpoint; None for one that the receiver has already.
        weights: Content of the weights' file; None where it is not sent.
    """

    checkpoints: Mapping[str, bytes | None]
    weights: bytes | None = None


def collect_files(job: TrialJob, *, known: Collection[str] = (), with_weights: bool = True) -> CarriedFiles:
    """Read a trial's files.

    Args:
        job: The trial.
        known: Names of checkpoints that the receiver has; a checkpoint never changes under its name.
        with_weights: Read the weights too.
    """
    names = [] if job.checkpoint_folder is None else [path.name for path in job.checkpoint_folder.glob("*-*.npz")]
    checkpoints = {name: None if name in known else _content(job.checkpoint_folder, name) for name in names}
    gone = {name for name, content in checkpoints.items() if content is None and name not in known}
    weights = job.weights_path
    return CarriedFiles(
        checkpoints={name: content for name, content in checkpoints.items() if name not in gone},
        weights=_content(weights.parent, weights.name) if with_weights and weights is not None else None,
    )


def place_files(job: TrialJob, files: CarriedFiles) -> None:
    """Write a trial's files where the job says, and delete checkpoints that there are no more."""
    folder = job.checkpoint_folder
    if folder is not None:
        for name, content in files.checkpoints.items():
            if content is not None:
                _write(folder / name, content)
        for path in folder.glob("*-*.npz"):
            if path.name not in files.checkpoints:
                path.unlink()
    if job.weights_path is not None and files.weights is not None:
        _write(job.weights_path, files.weights)


def _content(folder: Path | None, name: str) -> bytes | None:
    assert folder is not None
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:  # the worker trains on, and has replaced it
        return None


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
