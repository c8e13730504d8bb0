"""The Ray executor: one warm actor a slot, wherever the cluster has room.

A trial's own faults are found in its slot, as on one machine (`ray_slot.py`). Here is what a cluster adds: a slot
whose node or actor is lost is opened again elsewhere, and its trial goes on there from its last checkpoint. Epochs that
it repeats are not reported twice.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automl.errors import AutomlError, RequestError, SurroundingsError, disk_error
from automl.executors.backends import TENSORFLOW
from automl.executors.base import Ended, Event, Reported, T, Waiting, say_nothing
from automl.executors.carried_files import CarriedFiles, collect_files, place_files
from automl.executors.local import prepare_message
from automl.executors.messages import Prepare
from automl.executors.ray_cluster import Cluster, available, connect, in_one_line, put_folder, users_modules_by_value
from automl.executors.ray_request import RayRequest, words
from automl.executors.ray_slot import (
    FolderRefs,
    Happened,
    Prepared,
    RemoteSlot,
    SlotExecutor,
    SlotPlan,
    installed_versions,
    local_executor,
)
from automl.records import Decision, FailureReason, TrialResult, TrialState
from automl.search_space import Build
from automl.training.job import TrialJob

_PLACE_SECONDS = 60.0  # what a cluster is given to find room for a slot
_SETUP_SECONDS = 600.0  # the same where Ray first sets up what a `runtime_env` names
_CLOSE_SECONDS = 10.0  # what actors are given to end their workers
_TICK_SECONDS = 0.25  # between two looks at how long a call takes
_MOVES = 3  # slots that a trial may be lost with, before it is taken for the cause
_FALSE_STARTS = 3  # actors that may be lost one after the other before they are ready, before the cluster is at fault


class RayExecutor:
    """Runs trials in actors of a Ray cluster."""

    def __init__(
        self,
        request: RayRequest,
        *,
        log_path: Path,
        backend: str = TENSORFLOW,
        compiled: Path | None = None,
        shares_files: bool = True,
        make_executor: Callable[[SlotPlan, Path], SlotExecutor] = local_executor,
    ) -> None:
        """Plan the slots; `start` connects to the cluster.

        Args:
            request: What is asked of the cluster.
            log_path: File that takes what workers print; on machines that do not see it, a file of their own.
            backend: What Keras runs on in the workers, one of `BACKENDS`.
            compiled: Folder that keeps compiled code for later searches; by default beside `log_path`.
            shares_files: Use the driver's folders on nodes that see them; False to send files to every node.
            make_executor: Makes what runs in each actor.
        """
        self._request = request
        self._marker = log_path.with_name(f".ray-{secrets.token_hex(8)}")
        self._shares_files = shares_files
        self._plan = SlotPlan(
            threads=1,
            gpus=0.0,
            backend=backend,
            log_path=log_path.absolute(),
            compiled=(compiled or log_path.parent / "compiled").absolute(),
            marker=self._marker.absolute(),
            marker_text=secrets.token_hex(8),
            make_executor=make_executor,
        )
        self._cluster: Cluster | None = None
        self._slots: list[_Slot] = []
        self._desk: _Slot | None = None  # on the driver's node, for calls whose files must come here
        self._waiting: list[_Run] = []  # for another slot than the one that they were lost with
        self._events: list[Event] = []
        self._message: Prepare | None = None
        self._data: FolderRefs | None = None
        self._runs = 0

    @property
    def slot_count(self) -> int:
        """Trials that can run at a time: slots that are lost count again when there is room for them elsewhere."""
        return max(1, sum(slot.is_open for slot in self._slots))

    @property
    def running(self) -> Sequence[TrialJob]:
        """Jobs that have been submitted and have not ended."""
        return [run.job for run in [*(slot.run for slot in self._slots), *self._waiting] if run is not None]

    @property
    def shares_cores(self) -> bool:
        """False: the cluster has placed its slots."""
        return False

    def training_seconds(self, job: TrialJob) -> float:
        """Return how long a worker has been at a running job; 0 while it waits for a worker to start."""
        runs = [*(slot.run for slot in self._slots), *self._waiting]
        return next((run.seconds for run in runs if run is not None and run.job is job), 0.0)

    def start(self) -> None:
        """Connect, and ask for the actors; returns before they are there.

        Raises:
            RequestError: The cluster does not answer, has no room for what is asked, or refuses the `runtime_env`.
        """
        self._cluster = connect(self._request)
        if self._shares_files:
            self._marker.write_text(self._plan.marker_text, "utf-8")
        self._plan = replace(self._plan, threads=self._cluster.threads, gpus=self._cluster.demand.get("GPU", 0.0))
        self._slots = [self._placed() for _ in range(self._cluster.slots)]

    def log_to(self, path: Path) -> None:
        """Move what workers print to another file of the same file system; actors are told by `prepare`."""
        self._plan = replace(self._plan, log_path=path.absolute())

    def prepare(self, prepared_folder: Path, build: Build) -> None:
        """Tell every worker what is searched.

        Raises:
            SpaceError: The builder cannot be sent to another process.
        """
        with users_modules_by_value():
            self._message = prepare_message(prepared_folder, build)
        self._data = None
        for slot in self._actors:
            slot.ask("prepare", self._message, self._plan.log_path)

    def submit(self, job: TrialJob) -> None:
        """Give a job to a free slot, one that is there if possible."""
        free = [slot for slot in self._slots if slot.run is None and slot.is_open] or self._slots
        self._runs += 1
        self._give(_Run(number=self._runs, job=job), next((slot for slot in free if slot.is_ready), free[0]))

    def concentrate(self, slots: int) -> None:
        """Do nothing: the cluster has placed its slots, and others may wait for what they leave."""

    def decide(self, job: TrialJob, decision: Decision) -> None:
        """Answer the last report of a job; ignored where the job has ended meanwhile."""
        for slot in self._slots:
            if (run := slot.run) is not None and run.job is job:
                run.decision = decision
                if slot.ref is None:
                    slot.ask("decide", decision)
        for run in self._waiting:
            if run.job is job:
                run.decision = decision
        self._end_waiting()

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        """End a job at once, wherever it is; an `Ended` with `result` follows."""
        for slot in self._slots:
            if (run := slot.run) is not None and run.job is job:
                run.ending = result
                if slot.is_ready:
                    slot.abandon(run)
                else:  # nothing was sent yet
                    self._end(slot, result)
        for run in self._waiting:
            if run.job is job:
                run.ending = result
        self._end_waiting()

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Return what has happened, after at most `timeout_seconds`.

        Raises:
            SurroundingsError: The cluster has no room for any slot, or its machines are not like this one.
        """
        if not self._events:
            self._receive(timeout_seconds)
        events, self._events = self._events, []
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
        """Run `function(build, prepared, **arguments)` in a free worker that sees the driver's files.

        Args:
            function: A function of ours at the top of a module.
            backend: Keras's backend that it needs; None for the one that trains.
            timeout_seconds: How long a worker that is ready may be at it before it is ended; None for no bound.
            waiting: Told a few times a second for how long a worker has been at it.
            **arguments: Further arguments, which travel to the worker.

        Raises:
            AutomlError: What the function raised of our own errors.
            CallTimeoutError: It took longer than `timeout_seconds`; it says where the worker stood.
            SurroundingsError: The worker died.
        """
        slot, name = self._caller(), f"{function.__module__}:{function.__name__}"
        try:
            ray.get(slot.actor.wait_ready.remote())
            ref, began = slot.actor.call.remote(name, arguments, backend, timeout_seconds), time.monotonic()
            while not ray.wait([ref], timeout=_TICK_SECONDS)[0]:
                waiting(time.monotonic() - began)
            value: T = ray.get(ref)
        except RayTaskError as error:
            raise _own_error(error) from None
        except RayError as error:
            self._lose(slot, error)
            raise SurroundingsError(f"a worker died with its Ray actor ({_first_line(error)})") from None
        return value

    def close(self) -> None:
        """End every worker and actor, and leave the cluster."""
        if self._cluster is None:
            return
        ends = []
        for slot in self._actors:
            if slot.is_ready:
                slot.actor.interrupt.remote()
                ends.append(slot.actor.close.remote())
        if ends:
            ray.wait(ends, num_returns=len(ends), timeout=_CLOSE_SECONDS)
        for slot in self._actors:
            slot.kill()
        self._marker.unlink(missing_ok=True)
        self._slots, self._desk, self._waiting = [], None, []
        self._cluster.disconnect()
        self._cluster = None

    @property
    def _actors(self) -> list[_Slot]:
        return self._slots if self._desk is None else [*self._slots, self._desk]

    def _placed(self, *, replaces: bool = False) -> _Slot:
        """Ask for an actor somewhere."""
        assert self._cluster is not None
        demand = dict(self._cluster.demand)
        options = {"num_cpus": demand.pop("CPU"), "num_gpus": demand.pop("GPU", 0), "resources": demand}
        slot = _Slot(self._actor(scheduling_strategy="SPREAD", **options), is_open=not replaces)
        if self._message is not None:
            slot.ask("prepare", self._message, self._plan.log_path)
        return slot

    def _actor(self, **options: Any) -> Any:
        assert self._cluster is not None
        environment = {"runtime_env": dict(self._cluster.actor_env)} if self._cluster.actor_env else {}
        actor: Any = ray.remote(concurrency_groups={"control": 1})(RemoteSlot)  # type: ignore[call-overload]
        try:
            return actor.options(max_restarts=0, **options, **environment).remote(self._plan)
        except (TypeError, ValueError) as error:
            if not environment:
                raise
            raise RequestError(f"--runtime-env: {in_one_line(error)}") from error

    def _caller(self) -> _Slot:
        """Return a free slot of a machine that sees the driver's files; one is opened beside the others if need be."""
        while not (ready := [slot for slot in self._slots if slot.is_ready and slot.run is None]):
            self._receive(1.0)
        near = next((slot for slot in ready if slot.sees_home), None)
        if near is not None or not self._shares_files:
            return near or ready[0]
        if self._desk is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            self._desk = _Slot(self._actor(scheduling_strategy=here, num_cpus=0))
            self._desk.ask("prepare", self._message, self._plan.log_path)
        while not self._desk.is_ready:
            self._receive(1.0)
        return self._desk

    def _give(self, run: _Run, slot: _Slot) -> None:
        slot.run = run
        if slot.is_ready:
            self._send(run, slot)

    def _send(self, run: _Run, slot: _Slot) -> None:
        run.began = run.began or time.monotonic()
        slot.ask("run", run.number, run.job, None if slot.sees_home else collect_files(run.job))

    def _receive(self, timeout_seconds: float) -> None:
        """Take in what actors answer."""
        by_ref = {slot.ref: slot for slot in self._actors if slot.ref is not None}
        if not by_ref:
            time.sleep(timeout_seconds)
            return
        answered, rest = ray.wait(list(by_ref), timeout=timeout_seconds)
        if answered and rest:
            answered += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        for ref in answered:
            self._take(by_ref[ref])
        self._check_placed()
        self._place_waiting()

    def _take(self, slot: _Slot) -> None:
        ref, slot.ref = slot.ref, None
        try:
            answer = ray.get(ref)
            slot.is_placed = True
        except RayTaskError as error:
            raise _own_error(error) from None
        except RayError as error:
            if isinstance(error, RayActorError) and error.actor_init_failed:
                last = str(error).strip().splitlines()[-1]
                raise SurroundingsError(f"a worker cannot start on the Ray cluster: {last}") from None
            self._lose(slot, error)
            return
        if isinstance(answer, Prepared):
            self._open(slot, answer)
        elif isinstance(answer, Happened):
            for event in answer.events:
                self._note(slot, event, answer.files)

    def _open(self, slot: _Slot, answer: Prepared) -> None:
        """Let a slot work, once it has the dataset."""
        _check_versions(answer)
        if not answer.has_data:
            slot.ask("fetch", self._pieces())
            return
        slot.is_ready = slot.is_open = True
        slot.sees_home, slot.node = answer.sees_home, answer.node
        if slot.run is not None:
            self._send(slot.run, slot)

    def _pieces(self) -> FolderRefs:
        assert self._message is not None
        if self._data is None:
            self._data = put_folder(Path(self._message.prepared_folder))
        return self._data

    def _note(self, slot: _Slot, event: Event, files: CarriedFiles | None) -> None:
        run = slot.run
        assert run is not None
        if files is not None:
            place_files(run.job, files)
        if isinstance(event, Ended):
            self._end(slot, run.ended_as(event.result))
        elif run.ending is not None:
            slot.ask("go_on")  # it is being ended
        elif event.report.epoch < run.reported_epoch:
            slot.ask("decide", Decision.CONTINUE)  # it went on after this epoch in the slot that was lost
        elif event.report.epoch > run.reported_epoch:
            run.reported_epoch, run.decision = event.report.epoch, None
            self._events.append(Reported(run.job, event.report))
        elif run.decision is not None:
            slot.ask("decide", run.decision)

    def _end(self, slot: _Slot, result: TrialResult) -> None:
        assert slot.run is not None
        if result.reason == FailureReason.OOM:  # a slot knows of no others
            beside = any(one.run and one.node == slot.node for one in self._slots if one is not slot)
            result = replace(result, is_transient=result.is_transient or beside)
        self._events.append(Ended(slot.run.job, replace(result, wall_seconds=slot.run.seconds)))
        slot.run = None

    def _lose(self, slot: _Slot, error: RayError) -> None:
        """Open another slot for one whose actor or node is gone; its trial goes on elsewhere.

        Raises:
            SurroundingsError: Nothing but actors that die before they are ready comes of it.
        """
        slot.kill()
        if slot is self._desk:
            self._desk = None
            return
        false_starts = 0 if slot.is_ready else slot.false_starts + 1
        after = self._placed(replaces=True)
        after.false_starts = false_starts
        self._slots[self._slots.index(slot)] = after
        if all(one.false_starts > _FALSE_STARTS for one in self._slots):
            raise SurroundingsError(
                f"the Ray cluster ends every worker before it is ready, {false_starts} one after the other "
                f"({in_one_line(error)})"
            )
        run, slot.run = slot.run, None
        if run is None:
            return
        run.moves += 1
        if run.moves > _MOVES and run.ending is None:
            message = f"the slots that ran it were lost, {run.moves} one after the other"
            run.ending = TrialResult(state=TrialState.FAILED, reason=FailureReason.CRASHED.value, message=message)
        self._waiting.append(run)
        self._end_waiting()

    def _end_waiting(self) -> None:
        for run in self._waiting:
            if run.is_stopped and run.ending is None:
                run.ending = TrialResult(state=TrialState.PRUNED)
            if run.ending is not None:
                self._events.append(Ended(run.job, replace(run.ending, wall_seconds=run.seconds)))
        self._waiting = [run for run in self._waiting if run.ending is None]

    def _place_waiting(self) -> None:
        for slot in self._slots:
            if self._waiting and slot.is_ready and slot.run is None:
                self._give(self._waiting.pop(0), slot)

    def _check_placed(self) -> None:
        """Do without slots that find no room; without any, there is nothing to go on with."""
        assert self._cluster is not None
        patience = _SETUP_SECONDS if self._cluster.sets_up else _PLACE_SECONDS
        late = [slot for slot in self._slots if not slot.is_placed and slot.asked_seconds > patience]
        for slot in late:
            slot.is_open = False
            if slot.run is not None:
                self._waiting.append(slot.run)
                slot.run = None
        if late and not any(slot.is_placed for slot in self._slots):
            raise SurroundingsError(
                f"the Ray cluster has found no room for a trial within {patience:.0f} s: a trial asks for "
                f"{words(self._cluster.demand)}, and free are {available()}"
            )


@dataclass(eq=False)
class _Run:
    """A job on its way, from slot to slot if need be."""

    number: int
    job: TrialJob
    reported_epoch: int = 0
    decision: Decision | None = None  # on that report; it holds in whichever slot the job goes on
    moves: int = 0
    ending: TrialResult | None = None  # what it ends with, whatever its slot says
    began: float | None = None  # `time.monotonic()` when a worker was given it first

    def ended_as(self, result: TrialResult) -> TrialResult:
        """Return how it ended of which its slot says this: where both mean the same, the slot knows more."""
        ending = self.ending or result
        return result if (result.state, result.reason) == (ending.state, ending.reason) else ending

    @property
    def seconds(self) -> float:
        """How long workers have been at it."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    @property
    def is_stopped(self) -> bool:
        """True where nothing is left to be done but to say so."""
        return self.decision is Decision.STOP and self.job.weights_path is None


class _Slot:
    """One actor, what it was last asked, and what it is doing."""

    def __init__(self, actor: Any, *, is_open: bool = False) -> None:
        self.actor = actor
        self.ref: Any = None
        self.is_open = is_open  # counts as a slot
        self.is_placed = False  # it has answered: what it does then may take as long as it takes
        self.is_ready = False
        self.false_starts = 0  # actors before this one that were lost in its place, none of them ever ready
        self.sees_home = False
        self.node = ""
        self.run: _Run | None = None
        self._asked: float | None = None

    @property
    def asked_seconds(self) -> float:
        """How long ago it was asked first; an actor that nobody has asked is not late, however old it is."""
        return 0.0 if self._asked is None else time.monotonic() - self._asked

    def ask(self, method: str, *arguments: Any) -> None:
        """Call a method; `ref` is its answer to come."""
        self._asked = self._asked or time.monotonic()
        self.ref = getattr(self.actor, method).remote(*arguments)

    def abandon(self, run: _Run) -> None:
        """Have a run ended that was sent; the next answer says so."""
        self.actor.abandon.remote(run.number, run.ending)
        if self.ref is None:  # its worker waits for a decision
            self.ask("go_on")

    def kill(self) -> None:
        with contextlib.suppress(RayError, ValueError):  # it is gone already
            ray.kill(self.actor)


def _check_versions(answer: Prepared) -> None:
    """Refuse machines on which a trial would not be the same.

    Raises:
        SurroundingsError: They have other versions than this one.
    """
    here = installed_versions()
    differing = {
        name: (answer.versions.get(name), own) for name, own in here.items() if answer.versions.get(name) != own
    }
    if differing:
        told = ", ".join(f"{name} {theirs} instead of {own}" for name, (theirs, own) in differing.items())
        raise SurroundingsError(f"node {answer.node} of the Ray cluster has {told}: install the same versions there")


def _own_error(error: RayTaskError) -> AutomlError | OSError:
    """Return what an actor's method raised, as an error of ours or of a disk."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, AutomlError):
        return cause
    if isinstance(cause, OSError) and disk_error(cause) is not None:
        return cause
    return SurroundingsError(f"an actor on the Ray cluster failed: {_first_line(cause or error)}")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
