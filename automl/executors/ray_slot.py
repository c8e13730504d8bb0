"""What an actor of a Ray cluster holds: a warm worker process, as the local executor keeps them on this machine.

Ray places it, counts its resources and says when it is gone; training, its failures and its memory are the local
executor's. What the driver sends is answered once something has happened; `abandon` and `interrupt` do not wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import ray

from automl.data import PreparedDataset
from automl.errors import DataError
from automl.executors.base import Ended, Event, Executor
from automl.executors.carried_files import CarriedFiles, collect_files, place_files
from automl.executors.devices import plan_slots
from automl.executors.local import LocalExecutor
from automl.executors.messages import Prepare
from automl.records import Decision, TrialResult
from automl.training.job import TrialJob

_TRIAL_FOLDER = "trial"
_TICK_SECONDS = 0.25  # how late an `abandon` or `interrupt` may be noticed


class SlotExecutor(Executor, Protocol):
    """What runs in an actor: an executor of one slot that takes what the driver has packed and named."""

    def take_up(self, message: Prepare) -> None:
        """Take note of what is searched."""

    def wait_ready(self) -> None:
        """Wait until its worker has imported keras."""

    def call_named(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        backend: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Run a function that is given as `module:name`."""


FolderRefs = Mapping[str, Sequence[Any]]
"""A folder in the object store: references to a file's pieces, in order, by its path in the folder."""


@dataclass(frozen=True, kw_only=True)
class SlotPlan:
    """What an actor is started with.

    Attributes:
        threads: Intra-op threads of its worker.
        gpus: GPUs that Ray gives it; a part of one, or several.
        backend: What Keras runs on.
        log_path: The driver's file for what workers print.
        compiled: The driver's folder of compiled code.
        marker: A file of the driver's; its content tells whether a node sees the driver's folders.
        marker_text: What it holds.
        make_executor: Makes the executor of one slot that does the work.
    """

    threads: int
    gpus: float
    backend: str
    log_path: Path
    compiled: Path
    marker: Path
    marker_text: str
    make_executor: Callable[[SlotPlan, Path], SlotExecutor]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The actor is there.

    Attributes:
        has_data: It can open the prepared dataset; else it must be told to `fetch` it.
        sees_home: It reads and writes the driver's own files.
        node: Name of its machine.
        versions: What is installed there.
    """

    has_data: bool
    sees_home: bool
    node: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Happened:
    """What the slot's executor said, with files that the driver does not see otherwise."""

    events: Sequence[Event]
    files: CarriedFiles | None = None


class RemoteSlot:
    """What an actor holds; its methods are called one after the other, but for `abandon` and `interrupt`."""

    def __init__(self, plan: SlotPlan) -> None:
        """Start the worker; it imports keras meanwhile."""
        self._plan = plan
        self._job: TrialJob | None = None  # with its files where this slot keeps them
        self._abandoned: tuple[int, TrialResult] | None = None
        self._run = 0
        self._is_interrupted = False
        self._sent: set[str] = set()
        self._executor = plan.make_executor(plan, self._folder)
        self._executor.start()
        self._message: Prepare | None = None

    def prepare(self, message: Prepare, log_path: Path) -> Prepared:
        """Open the dataset: the driver's own where this machine sees it, or else what was fetched before."""
        if self._sees_home:
            self._executor.log_to(log_path)
        return self._open(message)

    def fetch(self, files: FolderRefs) -> Prepared:
        """Take the dataset out of the object store, unless another slot of this machine has done so."""
        folder = self._fetched_folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_complete(folder):
                _write_folder(files, folder)
        assert self._message is not None
        return self._open(self._message)

    def run(self, run: int, job: TrialJob, files: CarriedFiles | None) -> Happened:
        """Train; `run` tells this run from those before and after."""
        self._run, self._sent = run, set()
        self._job = job if self._sees_home else _moved(job, self._folder)
        if files is not None:
            place_files(self._own_job, files)
            self._sent = set(files.checkpoints)
        self._executor.wait(0.0)  # a worker that has died between trials is replaced first
        self._executor.submit(self._own_job)
        return self.go_on()

    def decide(self, decision: Decision) -> None:
        """Answer the last report; `go_on` says what comes of it."""
        self._executor.decide(self._own_job, decision)

    def go_on(self) -> Happened:
        """Wait until something happens."""
        while not self._is_interrupted:
            if self._abandoned is not None and self._abandoned[0] == self._run:
                self._executor.abandon(self._own_job, self._abandoned[1])
                self._abandoned = None
            if events := self._executor.wait(_TICK_SECONDS):
                return Happened(events=events, files=self._files(events))
        return Happened(events=[])

    def wait_ready(self) -> None:
        """Wait until the worker has imported keras."""
        self._executor.wait_ready()

    def call(
        self, function: str, arguments: Mapping[str, Any], backend: str | None, timeout_seconds: float | None
    ) -> Any:
        """Run a function, given as `module:name`, in the worker."""
        return self._executor.call_named(function, arguments, backend=backend, timeout_seconds=timeout_seconds)

    def abandon(self, run: int, result: TrialResult) -> None:
        """End a run's job at once; `go_on` says so."""
        self._abandoned = (run, result)

    def interrupt(self) -> None:
        """Let what waits return: the actor is about to be closed."""
        self._is_interrupted = True

    def close(self) -> None:
        """End the worker."""
        self._executor.close()
        if not self._sees_home:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, message: Prepare) -> Prepared:
        self._message = message
        has_data = self._take_up(Path(message.prepared_folder) if self._sees_home else self._fetched_folder)
        return Prepared(
            has_data=has_data, sees_home=self._sees_home, node=os.uname().nodename, versions=installed_versions()
        )

    @cached_property
    def _sees_home(self) -> bool:
        try:
            return self._plan.marker.read_text("utf-8") == self._plan.marker_text
        except (OSError, UnicodeDecodeError):
            return False

    @cached_property
    def _folder(self) -> Path:
        """Where files of this slot lie on a machine that does not see the driver's."""
        return self._plan.log_path.parent if self._sees_home else Path(tempfile.mkdtemp(prefix="automl-slot-"))

    @property
    def _fetched_folder(self) -> Path:
        """Where datasets lie that came through the object store: once for all slots of this machine and user."""
        assert self._message is not None
        name = Path(self._message.prepared_folder).name  # the fingerprint of its content
        return Path(tempfile.gettempdir()) / f"automl-datasets-{os.getuid()}" / name

    @property
    def _own_job(self) -> TrialJob:
        assert self._job is not None
        return self._job

    def _take_up(self, folder: Path) -> bool:
        if not _is_complete(folder):
            return False
        assert self._message is not None
        self._executor.take_up(replace(self._message, prepared_folder=str(folder), sees_driver=self._sees_home))
        return True

    def _files(self, events: Sequence[Event]) -> CarriedFiles | None:
        if self._sees_home:
            return None
        has_ended = any(isinstance(event, Ended) for event in events)
        files = collect_files(self._own_job, known=self._sent, with_weights=has_ended)
        self._sent |= set(files.checkpoints)
        if has_ended:
            shutil.rmtree(self._folder / _TRIAL_FOLDER, ignore_errors=True)
        return files


def local_executor(plan: SlotPlan, folder: Path) -> LocalExecutor:
    """Return a local executor of one slot, with what Ray has given to this process of the GPUs.

    Raises:
        RequestError: There is no such GPU here, or too little of its memory is free.
    """
    # Ray counts shares of GPUs and enforces none: the worker's cap does. It sees what Ray lets this process see.
    (slot,) = plan_slots(1, plan.gpus, others_share=True)
    # The worker finds automl where this process does, which may be no installed package.
    here = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    slot = replace(slot, threads=plan.threads, environment={**slot.environment, "PYTHONPATH": here})
    is_shared = folder == plan.log_path.parent
    return LocalExecutor(
        [slot],
        log_path=folder / plan.log_path.name,
        backend=plan.backend,
        compiled=plan.compiled if is_shared else folder / "compiled",
    )


def installed_versions() -> dict[str, str]:
    """Return the versions of what trials depend on, as they are installed here."""
    return {name: _version(name) for name in ("keras-automl", "keras", "tensorflow", "numpy")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _is_complete(folder: Path) -> bool:
    try:
        return PreparedDataset.open(folder).spec.fingerprint == folder.name
    except DataError:
        return False


def _write_folder(files: FolderRefs, folder: Path) -> None:
    """Write a folder out of the object store; it appears whole or not at all."""
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    for name, pieces in files.items():
        path = temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for reference in pieces:
                piece: Any = ray.get(reference)
                file.write(piece)
    shutil.rmtree(folder, ignore_errors=True)  # one that was damaged
    os.replace(temporary, folder)


def _moved(job: TrialJob, folder: Path) -> TrialJob:
    own = folder / _TRIAL_FOLDER
    return replace(
        job,
        checkpoint_folder=own / "checkpoints" if job.checkpoint_folder else None,
        weights_path=own / job.weights_path.name if job.weights_path else None,
    )
