"""What driver and worker say to each other over their pipe.

Only these classes travel. The pipe is inherited, never reachable from outside, so that what is unpickled comes from
our own process; nothing is ever unpickled from a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from automl.records import Decision, EpochReport, TrialResult
from automl.training.job import TrialJob


@dataclass(frozen=True)
class Prepare:
    """Driver to worker: what is searched. `build` is cloudpickled: functions of scripts travel too."""

    prepared_folder: str
    build: bytes
    import_path: list[str]
    sees_driver: bool = True  # the folders of `import_path` are there: the worker's machine has the driver's files


@dataclass(frozen=True)
class RunTrial:
    """Driver to worker: train."""

    job: TrialJob


@dataclass(frozen=True)
class Decide:
    """Driver to worker: the answer to the report of `epoch`."""

    epoch: int
    decision: Decision


@dataclass(frozen=True)
class Call:
    """Driver to worker: run a function of ours, given as `module:name`, with build, prepared dataset and arguments."""

    function: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Stop:
    """Driver to worker: end."""


@dataclass(frozen=True)
class Ready:
    """Worker to driver: keras is imported, and so much memory held before the first trial."""

    held_bytes: int


@dataclass(frozen=True)
class Report:
    """Worker to driver: an epoch is finished."""

    report: EpochReport


@dataclass(frozen=True)
class Result:
    """Worker to driver: the trial has ended."""

    result: TrialResult


@dataclass(frozen=True)
class Returned:
    """Worker to driver: what a call returned, or the error of ours that it raised."""

    value: Any = None
    error: BaseException | None = None
