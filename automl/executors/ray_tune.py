"""The Ray executor: Ray Tune runs trials wherever a cluster has room, in one warm actor a slot.

A trial's own faults are found in its slot, as on one machine (`ray_slot.py`). Tune (`ray_tuner.py`) finds room for
slots, and starts a trial again elsewhere whose actor or node is lost. Here it is given runs, and its actors get their
orders: a trial that was lost goes on from its last checkpoint, and epochs that it repeats are not reported twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from automl.errors import AutomlError, SurroundingsError, disk_error
from automl.executors.backends import TENSORFLOW
from automl.executors.base import Ended, Event, Reported, T, Waiting, say_nothing
from automl.executors.carried_files import CarriedFiles, collect_files, place_files
from automl.executors.inbox import Inbox
from automl.executors.local import prepare_message
from automl.executors.messages import Prepare
from automl.executors.ray_cluster import (
    Cluster,
    available,
    connect,
    has_room,
    in_one_line,
    put_folder,
    users_modules_by_value,
)
from automl.executors.ray_request import RayRequest, words
from automl.executors.ray_runs import Run, Slot
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
from automl.executors.ray_trainable import REST
from automl.executors.ray_tuner import LOST_SLOTS, Began, Broken, GivenUp, Heard, Lost, Offer, Said, TunerThread
from automl.records import Decision, FailureReason, TrialResult, TrialState
from automl.search_space import Build
from automl.training.job import TrialJob

_PLACE_SECONDS = 60.0  # what a cluster is given to find room for a slot
_SETUP_SECONDS = 600.0  # the same where Ray first sets up what a `runtime_env` names, or to start an actor in its room
_TICK_SECONDS = 0.25  # between two looks at how long a call takes
_CLOSE_SECONDS = 10.0  # what the actor for calls is given to end its worker


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
        self._tuner: TunerThread | None = None
        self._heard: Inbox[Heard | _Answered] = Inbox()
        self._slots: list[Slot] = []
        self._runs: dict[int, Run] = {}  # those that have not ended, by number
        self._run_count = 0
        self._desk: Slot | None = None  # on the driver's node, for calls whose files must come here
        self._events: list[Event] = []
        self._message: Prepare | None = None
        self._data: FolderRefs | None = None
        self._unplaced = 0  # slots that have had no actor yet
        self._false_starts = 0  # actors that were lost one after the other, none of them ever ready
        self._asked = 0.0  # `time.monotonic()` when the slots were needed first; nobody is late before
        self._seen = 0.0  # the same when there was a slot last

    @property
    def slot_count(self) -> int:
        """Trials that can run at a time: slots that are lost count again when there is room for them elsewhere."""
        return max(1, self._unplaced + len(self._slots))

    @property
    def running(self) -> Sequence[TrialJob]:
        """Jobs that have been submitted and have not ended."""
        return [run.job for run in self._runs.values()]

    @property
    def shares_cores(self) -> bool:
        """False: the cluster has placed its slots."""
        return False

    def training_seconds(self, job: TrialJob) -> float:
        """Return how long a worker has been at a running job; 0 while it waits for a worker to start."""
        run = self._run_of(job)
        return 0.0 if run is None else run.seconds

    def start(self) -> None:
        """Connect, and ask for the actors; returns before they are there.

        Raises:
            RequestError: The cluster does not answer, has no room for what is asked, or refuses the `runtime_env`.
        """
        self._cluster = connect(self._request)
        if self._shares_files:
            self._marker.write_text(self._plan.marker_text, "utf-8")
        self._plan = replace(self._plan, threads=self._cluster.threads, gpus=self._cluster.demand.get("GPU", 0.0))
        self._unplaced = self._cluster.slots
        self._tuner = TunerThread(
            demand=self._cluster.demand, slots=self._cluster.slots, plan=lambda: self._plan, hear=self._heard.put
        )
        self._tuner.start()

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
        self._asked = self._seen = time.monotonic()
        for slot in self._actors:
            self._prepare_slot(slot)

    def submit(self, job: TrialJob) -> None:
        """Give a job to the next slot that is free."""
        self._run_count += 1
        run = self._runs[self._run_count] = Run(number=self._run_count, job=job)
        self._offer(run)

    def concentrate(self, slots: int) -> None:
        """Do nothing: the cluster has placed its slots, and others may wait for what they leave."""

    def decide(self, job: TrialJob, decision: Decision) -> None:
        """Answer the last report of a job; ignored where the job has ended meanwhile."""
        run = self._run_of(job)
        if run is None:
            return
        run.decision = decision
        if run.slot is None:
            self._end_unplaced(run)
        elif run.slot.awaits_order:
            run.slot.decide(decision)

    def abandon(self, job: TrialJob, result: TrialResult) -> None:
        """End a job at once, wherever it is; an `Ended` with `result` follows."""
        run = self._run_of(job)
        if run is None:
            return
        run.ending = result
        if run.slot is not None and run.slot.is_ready:
            run.slot.abandon(run)
        else:  # no worker has it
            self._end(run, result)

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
            raise _own_error(_cause(error)) from None
        except RayError as error:
            slot.is_ready = False  # Tune is about to say so
            self._desk = None if slot is self._desk else self._desk
            raise SurroundingsError(f"a worker died with its Ray actor ({_first_line(error)})") from None
        return value

    def close(self) -> None:
        """End every worker and actor, and leave the cluster."""
        if self._cluster is None:
            return
        if self._desk is not None:
            ray.wait([self._desk.actor.close.remote()], timeout=_CLOSE_SECONDS)
        if self._tuner is not None:
            self._tuner.end()
        for slot in self._actors:
            slot.kill()
        self._marker.unlink(missing_ok=True)
        self._slots, self._desk, self._runs, self._unplaced = [], None, {}, 0
        self._cluster.disconnect()
        self._cluster = self._tuner = None

    @property
    def _actors(self) -> list[Slot]:
        return self._slots if self._desk is None else [*self._slots, self._desk]

    def _run_of(self, job: TrialJob) -> Run | None:
        return next((run for run in self._runs.values() if run.job is job), None)

    def _offer(self, run: Run) -> None:
        assert self._tuner is not None
        self._tuner.offer(Offer(number=run.number, is_over=lambda: run.number not in self._runs))
        self._make_room()

    def _make_room(self) -> None:
        """Let slots that rest go to runs that wait for one."""
        waiting = sum(run.slot is None for run in self._runs.values())
        on_their_way = sum(slot.run is None and not slot.is_resting for slot in self._slots)
        for slot in [slot for slot in self._slots if slot.is_resting][: max(0, waiting - on_their_way)]:
            slot.is_resting = False
            slot.order(REST)

    def _caller(self) -> Slot:
        """Return a free slot of a machine that sees the driver's files; one is opened beside the others if need be."""
        while not (ready := [slot for slot in self._slots if slot.is_ready and slot.is_resting]):
            self._receive(1.0)
        near = next((slot for slot in ready if slot.sees_home), None)
        if near is not None or not self._shares_files:
            return near or ready[0]
        if self._desk is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            actor: Any = ray.remote(RemoteSlot)
            self._desk = Slot(actor.options(num_cpus=0, scheduling_strategy=here).remote(self._plan))
            self._prepare_slot(self._desk)
        while self._desk is not None and not self._desk.is_ready:
            self._receive(1.0)
        return self._desk or self._caller()

    def _receive(self, timeout_seconds: float) -> None:
        """Take in what the Tuner and its actors say."""
        heard = self._heard.take(timeout_seconds)
        while heard is not None:
            self._take(heard)
            heard = self._heard.take()
        self._check_placed()

    def _take(self, heard: Heard | _Answered) -> None:
        match heard:
            case Began(trial, number, actor):
                self._begin(trial, self._runs.get(number), actor)
            case Said(trial, said):
                self._hear(self._slot_of(trial), said)
            case Lost(trial, number, cause):
                self._lose(self._slot_of(trial), self._runs.get(number), cause)
            case GivenUp(number):
                if run := self._runs.get(number):  # its actor was lost just as it was given the run
                    self._offer(run)
            case Broken(error):
                raise SurroundingsError(f"Ray Tune has failed: {in_one_line(error)}") from error
            case _Answered(slot, answer):
                self._open(slot, answer)

    def _slot_of(self, trial: str) -> Slot | None:
        return next((slot for slot in self._slots if slot.trial == trial), None)

    def _begin(self, trial: str, run: Run | None, actor: Any) -> None:
        """Give a run to the actor that Tune has found for it; without a run, the actor rests."""
        slot = next((slot for slot in self._slots if slot.actor == actor), None)
        if slot is None:
            slot = Slot(actor)
            self._slots.append(slot)
            self._unplaced = max(0, self._unplaced - 1)
            if self._message is not None:
                self._prepare_slot(slot)
        slot.begin(trial, run)
        if run is None:
            self._make_room()
        elif slot.is_ready:
            self._send(run, slot)

    def _send(self, run: Run, slot: Slot) -> None:
        run.began = run.began or time.monotonic()
        slot.order("run", run.number, run.job, None if slot.sees_home else collect_files(run.job))

    def _prepare_slot(self, slot: Slot) -> None:
        slot.is_ready = False
        if slot.message is None:  # else it is asked again once it has answered: the second could overtake the first
            slot.message = self._message
            self._ask(slot, "prepare", self._message, self._plan.log_path)

    def _ask(self, slot: Slot, method: str, *arguments: Any) -> None:
        """Call a method of an actor; the answer is heard with all else."""
        answer = getattr(slot.actor, method).remote(*arguments).future()
        answer.add_done_callback(lambda done: self._heard.put(_Answered(slot, done)))

    def _open(self, slot: Slot, answered: Future[Prepared]) -> None:
        """Let a slot work, once it has the dataset."""
        try:
            answer = answered.result()
        except RayTaskError as error:
            raise _own_error(_cause(error)) from None
        except RayError:  # Tune says so too, and starts another
            self._desk = None if slot is self._desk else self._desk
            return
        _check_versions(answer)
        message, slot.message = slot.message, None
        if message is not self._message:
            self._prepare_slot(slot)
            return
        if not answer.has_data:
            slot.message = message
            self._ask(slot, "fetch", self._pieces())
            return
        self._false_starts = 0
        slot.is_ready, slot.sees_home, slot.node = True, answer.sees_home, answer.node
        if slot.run is not None:
            self._send(slot.run, slot)

    def _pieces(self) -> FolderRefs:
        assert self._message is not None
        if self._data is None:
            self._data = put_folder(Path(self._message.prepared_folder))
        return self._data

    def _hear(self, slot: Slot | None, said: Happened | Exception) -> None:
        if isinstance(said, Exception):
            raise _own_error(said) from None
        if slot is not None:
            for event in said.events:
                self._note(slot, event, said.files)

    def _note(self, slot: Slot, event: Event, files: CarriedFiles | None) -> None:
        run = slot.run
        assert run is not None
        if files is not None:
            place_files(run.job, files)
        if isinstance(event, Ended):
            self._end(run, run.ended_as(event.result))
        elif run.ending is not None:
            slot.order("go_on")  # it is being ended
        elif event.report.epoch < run.reported_epoch:
            slot.decide(Decision.CONTINUE)  # it went on after this epoch in the slot that was lost
        elif event.report.epoch > run.reported_epoch:
            run.reported_epoch, run.decision, slot.awaits_order = event.report.epoch, None, True
            self._events.append(Reported(run.job, event.report))
        elif run.decision is not None:
            slot.decide(run.decision)
        else:
            slot.awaits_order = True

    def _end(self, run: Run, result: TrialResult) -> None:
        if result.reason == FailureReason.OOM and run.slot is not None:  # a slot knows of no others
            beside = any(one.run and one.node == run.slot.node for one in self._slots if one is not run.slot)
            result = replace(result, is_transient=result.is_transient or beside)
        self._events.append(Ended(run.job, replace(result, wall_seconds=run.seconds)))
        if run.slot is not None:
            run.slot.run = None
        del self._runs[run.number]

    def _lose(self, slot: Slot | None, run: Run | None, cause: str) -> None:
        """Do without a slot whose actor or node is gone; Tune lets its trial go on elsewhere.

        Raises:
            SurroundingsError: Nothing but actors that die before they are ready comes of it.
        """
        if slot is not None:
            self._slots.remove(slot)
        if slot is None or not slot.is_ready:
            self._false_starts += 1
        if self._false_starts > LOST_SLOTS and not any(one.is_ready for one in self._slots):
            raise SurroundingsError(
                f"the Ray cluster ends every worker before it is ready, {self._false_starts} one after the other "
                f"({cause})"
            )
        if run is None:
            return
        run.slot = None
        run.moves += 1
        if run.moves > LOST_SLOTS and run.ending is None:
            message = f"the slots that ran it were lost, {run.moves} one after the other"
            run.ending = TrialResult(state=TrialState.FAILED, reason=FailureReason.CRASHED.value, message=message)
        self._end_unplaced(run)
        self._make_room()

    def _end_unplaced(self, run: Run) -> None:
        """End a run that no slot has, if there is nothing left to be done but to say so."""
        if run.decision is Decision.STOP and run.job.weights_path is None and run.ending is None:
            run.ending = TrialResult(state=TrialState.PRUNED)
        if run.ending is not None:
            self._end(run, run.ending)

    def _check_placed(self) -> None:
        """Do without slots that find no room; without any, there is nothing to go on with."""
        assert self._cluster is not None
        if self._slots:
            self._seen = time.monotonic()
        patience = _SETUP_SECONDS if self._cluster.sets_up else _PLACE_SECONDS
        if self._message is None or time.monotonic() - self._asked < patience:
            return
        self._unplaced = 0
        waited = time.monotonic() - self._seen
        if waited > patience and not has_room():
            raise SurroundingsError(
                f"the Ray cluster has found no room for a trial within {patience:.0f} s: a trial asks for "
                f"{words(self._cluster.demand)}, and free are {available()}"
            )
        if waited > _SETUP_SECONDS:
            raise SurroundingsError(
                f"the Ray cluster has found room for a trial, and started no actor in it for {_SETUP_SECONDS:.0f} s: "
                "look into Ray's logs on its nodes, or free the processors of what else runs there"
            )


@dataclass(frozen=True)
class _Answered:
    """An actor has answered what it was asked directly."""

    slot: Slot
    answer: Future[Prepared]


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


def _own_error(error: BaseException) -> AutomlError | OSError:
    """Return what an actor has raised, as an error of ours or of a disk."""
    if isinstance(error, AutomlError):
        return error
    if isinstance(error, OSError) and disk_error(error) is not None:
        return error
    return SurroundingsError(f"an actor on the Ray cluster failed: {_first_line(error)}")


def _cause(error: RayTaskError) -> BaseException:
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
