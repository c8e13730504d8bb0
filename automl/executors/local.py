"""The local executor: warm worker processes on this machine, one a slot.

A worker that dies fails the trial it was running and is replaced; one whose memory has grown is replaced between
trials, and one that would leave the machine without memory is ended (`memory.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from automl.errors import CallTimeoutError, SpaceError, SurroundingsError
from automl.executors.backends import TENSORFLOW, backend_environment
from automl.executors.base import Ended, Event, Reported, T, Waiting, say_nothing
from automl.executors.devices import Slot, merge_slots
from automl.executors.last_words import crash_words, final_lines, hang_place, hang_words, last_words, printed_since
from automl.executors.memory import MemoryWatch, WorkerMemory
from automl.executors.messages import Call, Decide, Prepare, Ready, Report, Result, Returned, RunTrial, Stop
from automl.executors.process_group import end, kill_group, reap
from automl.executors.sent_code import pickle_builder
from automl.executors.stack_file import StackFile
from automl.records import Decision, FailureReason, TrialResult, TrialState
from automl.search_space import Build
from automl.training.job import TrialJob

_STOP_SECONDS = 5.0  # what a worker is given to end by itself
_TICK_SECONDS = 0.25  # between two looks at how long a call takes
_START_ATTEMPTS = 3  # workers in a row that may die before they are ready
_ENDING_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # somebody's wish, not the trial's fault


def prepare_message(prepared_folder: Path, build: Build) -> Prepare:
    """Return what tells a worker of the dataset and the space.

    Raises:
        SpaceError: The builder cannot be sent to another process.
    """
    try:
        pickled = pickle_builder(build)
    except Exception as error:
        raise SpaceError(f"the space's build cannot be sent to a worker: {type(error).__name__}: {error}") from error
    folders = [str(Path(one).resolve()) for one in sys.path]  # '' is the working directory
    return Prepare(str(prepared_folder.resolve()), pickled, folders)


class LocalExecutor:
    """Runs trials in warm worker processes of this machine."""

    def __init__(
        self,
        slots: Sequence[Slot],
        *,
        log_path: Path,
        backend: str = TENSORFLOW,
        also: Collection[str] = (),
        compiled: Path | None = None,
        watch: MemoryWatch | None = None,
    ) -> None:
        """Plan the workers; `start` starts them.

        Args:
            slots: One worker each.
            log_path: File that takes what workers print: the backend's chatter, tracebacks of user code.
            backend: What Keras runs on in the workers, one of `BACKENDS`.
            also: Other backends that calls will need: a worker of each is started beside those that train.
            compiled: Folder that keeps compiled code for later searches; by default beside `log_path`.
            watch: Looks at the memory; by default at this machine's, or that of our control group.
        """
        self._slots = list(slots)
        self._log_path = log_path
        self._backend = backend
        self._compiled = compiled or log_path.parent / "compiled"
        self._watch = watch or MemoryWatch()
        self._also = set(also) - {backend}
        self._helpers: dict[str, _Worker] = {}  # by backend: workers for calls that need another one
        self._workers: list[_Worker] = []
        self._prepare: Prepare | None = None
        self._failed_starts = 0
        self._abandoned: list[Event] = []
        self._retired: list[_Worker] = []

    @property
    def slot_count(self) -> int:
        """Trials that can run at a time."""
        return len(self._slots)

    @property
    def running(self) -> Sequence[TrialJob]:
        """Jobs that have been submitted and have not ended."""
        return [worker.job for worker in self._workers if worker.job is not None]

    @property
    def shares_cores(self) -> bool:
        """True where `concentrate` gives fewer slots the cores of all: not on GPUs."""
        return merge_slots(self._slots, 1) != self._slots

    @property
    def process_ids(self) -> Sequence[int]:
        """Process ids of the workers, in the order of the slots."""
        return [worker.process.pid for worker in self._workers]

    def start(self) -> None:
        """Start the workers; returns before they are ready."""
        self._workers = [self._started(slot, self._backend) for slot in self._slots]
        self._helpers = {backend: self._started(self._slots[0], backend) for backend in self._also}

    def wait_ready(self) -> None:
        """Wait until every worker has imported keras.

        Raises:
            SurroundingsError: Workers die before they are ready.
        """
        while not all(worker.ready for worker in self._workers):
            self.wait(1.0)

    def log_to(self, path: Path) -> None:
        """Move what workers print to another file of the same file system; those that run go on writing there."""
        with contextlib.suppress(FileNotFoundError):  # another executor has the same log, and has moved it
            self._log_path.rename(path)
        self._log_path = path

    def prepare(self, prepared_folder: Path, build: Build) -> None:
        """Tell every worker what is searched.

        Raises:
            SpaceError: The builder cannot be sent to another process.
        """
        self.take_up(prepare_message(prepared_folder, build))

    def take_up(self, message: Prepare) -> None:
        """Tell every worker what is searched, as another process packed it."""
        self._prepare = message
        for worker in [*self._workers, *self._helpers.values()]:
            worker.send(message)

    def submit(self, job: TrialJob) -> None:
        """Give a job to a free slot, the one that is ready first."""
        self._free_worker().begin(job, self._log_path.stat().st_size if self._log_path.exists() else 0)

    def concentrate(self, slots: int) -> None:
        """Share the cores among so few fresh workers; workers on GPUs stay as they are."""
        merged = merge_slots(self._slots, slots)
        if merged == self._slots:
            return
        for worker in self._workers:
            worker.send(Stop())
        self._retired += self._workers
        self._slots = merged
        self._workers = [self._started(slot, self._backend) for slot in merged]

    def decide(self, job: TrialJob, decision: Decision) -> None:
        """Answer the last report of a job; ignored where the job has ended meanwhile."""
        for worker in self._workers:
            if worker.job is job:
                worker.is_stopped = decision is Decision.STOP and job.weights_path is None
                worker.send(Decide(worker.reported_epoch, decision))

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        """End a job at once by ending its worker; an `Ended` with `result` follows, which says where one hung."""
        for worker in self._workers:
            if worker.job is job:
                if result.reason == FailureReason.TIMEOUT and worker.ready:
                    said = hang_words(self._kept(worker.ask_stacks()))
                    result = replace(result, message="\n".join([*said, result.message]))
                worker.kill()
                self._abandoned.append(worker.ended(result))
                self._replace(worker)

    def training_seconds(self, job: TrialJob) -> float:
        """Return how long a worker has been at a running job; 0 while it waits for a worker to start."""
        return next((worker.training_seconds for worker in self._workers if worker.job is job), 0.0)

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return what has happened, after at most `timeout_seconds`.

        Raises:
            SurroundingsError: Workers die before they are ready.
        """
        self._end_largest()
        events, self._abandoned = self._abandoned, []
        timeout = 0.0 if events else timeout_seconds
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), timeout):
            assert isinstance(connection, Connection)
            events += self._receive(by_connection[connection])
        return events

    def call(
        self,
        function: Callable[..., T],
        *,
        backend: str | None = None,
        timeout_seconds: float | None = None,
        waiting: Waiting = say_nothing,
        **arguments: Any,
    ) -> T:
        """Run `function(build, prepared, **arguments)` in a free worker and return what it returns.

        Args:
            function: A function of ours at the top of a module.
            backend: Keras's backend that it needs; None for the one that trains. For another one a worker is started
                where there is none yet, and kept for later calls.
            timeout_seconds: How long a worker that is ready may be at it before it is ended; None for no bound.
            waiting: Told a few times a second for how long a worker has been at it.
            **arguments: Further arguments, which travel to the worker.

        Raises:
            AutomlError: What the function raised of our own errors.
            CallTimeoutError: It took longer than `timeout_seconds`; it says where the worker stood.
            SurroundingsError: The worker died.
        """
        name = f"{function.__module__}:{function.__name__}"
        value: T = self.call_named(name, arguments, backend=backend, timeout_seconds=timeout_seconds, waiting=waiting)
        return value

    def call_named(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        backend: str | None = None,
        timeout_seconds: float | None = None,
        waiting: Waiting = say_nothing,
    ) -> Any:
        """Run a function that is given as `module:name`, which this process need not be able to import."""
        worker = self._free_worker() if backend in (None, self._backend) else self._helper(backend)
        worker.take_up(Call(function, arguments))
        while True:
            while not worker.connection.poll(_TICK_SECONDS):
                waiting(worker.busy_seconds)
                if timeout_seconds is not None and worker.busy_seconds > timeout_seconds:
                    raise self._hung(worker, timeout_seconds)
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                cause = _described(worker.exit_code())
                self._kept(worker.stacks.read())
                self._replace(worker)
                raise SurroundingsError(
                    f"a worker died ({cause}; its last words: {self._last_words}); see: automl doctor"
                ) from None
            if isinstance(message, Ready):
                worker.become_ready(message.held_bytes)
            elif isinstance(message, Returned):
                if message.error is not None:
                    raise message.error
                return message.value

    def close(self) -> None:
        """End every worker, and whatever runs in it."""
        workers = [*self._workers, *self._helpers.values()]
        for worker in workers:
            is_idle = worker.ready and worker.job is None
            worker.send(Stop()) if is_idle else worker.kill()
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in [*workers, *self._retired]:
            worker.end(deadline)
        self._workers, self._helpers, self._retired = [], {}, []

    def _started(self, slot: Slot, backend: str) -> _Worker:
        worker = _Worker(slot, self._log_path, backend_environment(backend, slot, self._compiled))
        if self._prepare is not None:
            worker.send(self._prepare)
        return worker

    def _helper(self, backend: str) -> _Worker:
        if backend not in self._helpers:
            self._helpers[backend] = self._started(self._slots[0], backend)
        return self._helpers[backend]

    def _free_worker(self) -> _Worker:
        free = [worker for worker in self._workers if worker.job is None]
        return next((worker for worker in free if worker.ready), free[0])

    def _hung(self, worker: _Worker, timeout_seconds: float) -> CallTimeoutError:
        """End a worker that is at a call for too long, and say where it was."""
        place = hang_place(self._kept(worker.ask_stacks()))
        worker.kill()
        self._replace(worker)
        return CallTimeoutError(timeout_seconds, place)

    def _receive(self, worker: _Worker) -> list[Event]:
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            return self._lost(worker)
        job = worker.job
        match message:
            case Ready(held_bytes):
                worker.become_ready(held_bytes)
                self._failed_starts = 0
            case Report(report) if job is not None:
                worker.reported_epoch = report.epoch
                return [Reported(job, report)]
            case Result(result) if job is not None:
                if result.reason == FailureReason.OOM:
                    result = replace(result, is_transient=self._is_crowded(worker))
                ended = worker.ended(result)
                share = self._watch.share_bytes(len(self._workers))
                if worker.memory.has_grown(result.resident_memory_bytes, share):
                    worker.send(Stop())
                    self._replace(worker)
                return [ended]
        return []

    def _lost(self, worker: _Worker) -> list[Event]:
        self._lost_start(worker)
        events: list[Event] = [worker.ended(self._death(worker))] if worker.job is not None else []
        self._replace(worker)
        return events

    def _death(self, worker: _Worker) -> TrialResult:
        """Say how the trial of a worker that has died ended."""
        if worker.is_stopped:  # it died in the epoch that it trained ahead of the decision, which does not count
            return TrialResult(state=TrialState.PRUNED)
        code = worker.exit_code()
        if code == -signal.SIGKILL and self._watch.has_run_out(worker.memory):
            return self._out_of_memory(worker, "was killed")
        said = crash_words(self._kept(worker.stacks.read())) or self._printed(worker)
        died = f"the worker died ({_described(code)}); its last words are in {self._log_path}"
        return TrialResult(
            state=TrialState.FAILED,
            reason=FailureReason.INTERRUPTED if -code in _ENDING_SIGNALS else FailureReason.CRASHED,
            message="\n".join([*said, died]),  # its last line is the headline
            is_transient=True,
        )

    def _printed(self, worker: _Worker) -> list[str]:
        """Return what the log has got last since a worker began its job, and say that others write there too."""
        lines = final_lines(printed_since(self._log_path, worker.log_bytes))
        return [f"printed last in {self._log_path.name}, by this worker or another:", *lines] if lines else []

    def _kept(self, stacks: bytes) -> bytes:
        """Write into the log what only a file without a name has; the trial gets no more than a few lines of it."""
        with contextlib.suppress(OSError), self._log_path.open("ab") as log:  # what has no room there matters less
            log.write(stacks)
        return stacks

    def _end_largest(self) -> None:
        """End the worker, if any, that would leave the machine without memory."""
        training = {worker.memory: worker for worker in self._workers if worker.job is not None}
        largest = self._watch.look(list(training))
        worker = training[largest] if largest is not None else None
        if worker is not None and worker.job is not None:
            stopped = TrialResult(state=TrialState.PRUNED)
            self.abandon(worker.job, stopped if worker.is_stopped else self._out_of_memory(worker, "was ended"))

    def _out_of_memory(self, worker: _Worker, end: str) -> TrialResult:
        return TrialResult(
            state=TrialState.FAILED,
            reason=FailureReason.OOM,
            message=f"the worker {end} for want of memory: {self._watch.describe(worker.memory)}",
            is_transient=self._is_crowded(worker),
        )

    def _is_crowded(self, worker: _Worker) -> bool:
        """Return True where a worker was short of memory that others took, the machine's or a GPU's."""
        others = [other for other in self._workers if other is not worker and other.job is not None]
        gpu = worker.slot.environment.get("CUDA_VISIBLE_DEVICES")
        shares_gpu = any(gpu and other.slot.environment.get("CUDA_VISIBLE_DEVICES") == gpu for other in others)
        return shares_gpu or self._watch.is_crowded(worker.memory, [other.memory for other in others])

    def _lost_start(self, worker: _Worker) -> None:
        if worker.ready:
            return
        self._failed_starts += 1
        if self._failed_starts >= _START_ATTEMPTS:
            cause = _described(worker.exit_code())
            raise SurroundingsError(
                f"workers die before they are ready ({cause}; last words: {self._last_words}); see: automl doctor"
            )

    @property
    def _last_words(self) -> str:
        """What workers said last; an error repeats it, because a search that was never begun leaves no log."""
        return last_words(self._log_path.read_bytes() if self._log_path.exists() else b"")

    def _replace(self, worker: _Worker) -> None:
        self._retired = [one for one in [*self._retired, worker] if not one.is_gone()]
        if worker in self._workers:
            self._workers[self._workers.index(worker)] = self._started(worker.slot, self._backend)
        else:  # the next call starts another
            self._helpers = {backend: one for backend, one in self._helpers.items() if one is not worker}


class _Worker:
    """One worker process, the driver's end of its pipe, and what it is doing."""

    def __init__(self, slot: Slot, log_path: Path, environment: Mapping[str, str]) -> None:
        self.slot = slot
        self.ready = False
        self.job: TrialJob | None = None
        self.is_stopped = False  # the job has been sent STOP
        self.reported_epoch = 0
        self.log_bytes = 0  # what the log had before its job
        self._began: float | None = None  # when it took up its job or call
        self.stacks = StackFile()
        ours, theirs = socket.socketpair()
        with theirs, log_path.open("ab") as log:
            inherited = [theirs.fileno(), self.stacks.descriptor]
            command = [sys.executable, "-m", "automl.executors.worker", *map(str, [*inherited, slot.threads])]
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **QUIET, **environment},
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # the terminal's Ctrl-C must reach the driver only
            )
        self.connection = Connection(ours.detach())
        self.memory = WorkerMemory(self.process.pid)

    def send(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: the next receive says so
            self.connection.send(message)

    def begin(self, job: TrialJob, log_bytes: int) -> None:
        self.job, self.is_stopped, self.log_bytes = job, False, log_bytes
        self.take_up(RunTrial(job))

    def take_up(self, message: RunTrial | Call) -> None:
        """Let it begin as soon as it is ready."""
        self._began = time.monotonic() if self.ready else None
        self.stacks.clear()
        self.send(message)

    def become_ready(self, held_bytes: int) -> None:
        self.ready, self._began = True, time.monotonic()
        self.memory.become_ready(held_bytes)

    def ended(self, result: TrialResult) -> Ended:
        """Let go of the job, and say how it ended."""
        assert self.job is not None
        ended = Ended(self.job, replace(result, wall_seconds=self.training_seconds))
        self.job = None
        return ended

    @property
    def training_seconds(self) -> float:
        return 0.0 if self.job is None else self.busy_seconds

    @property
    def busy_seconds(self) -> float:
        """How long it has been at its job or call; 0 while it imports keras."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    def ask_stacks(self) -> bytes:
        """Return where its threads are, as far as it can still tell."""
        return self.stacks.ask(self.process.pid) if self.process.returncode is None else b""

    def kill(self) -> None:
        """End it at once, with all that a user's code has started in it; the exit code is seen to later."""
        if self.process.returncode is None:  # else its id may be another's by now
            kill_group(self.process.pid)

    def end(self, deadline: float) -> None:
        self._let_go()
        if reap(self.process, max(0.1, deadline - time.monotonic())) is None:
            end(self.process)

    def is_gone(self) -> bool:
        if reap(self.process, 0.0) is None:
            return False
        self._let_go()
        return True

    def _let_go(self) -> None:
        self.connection.close()
        self.stacks.close()

    def exit_code(self) -> int:
        """Return how it ended, once its end of the pipe is closed: by a signal where that is negative."""
        if reap(self.process, _STOP_SECONDS) is None:
            end(self.process)
        return int(self.process.returncode)


def _described(code: int) -> str:
    """Say in words what an exit code means."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow", "PYTHONUNBUFFERED": "1"}
