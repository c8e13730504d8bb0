"""Workers that really take memory under a low limit: they are stopped, replaced, and known for what they were."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from contract import blocking, finish, make_build, make_job, pid_written_to, result_of, wait_until

from automl.executors.devices import Slot
from automl.executors.local import LocalExecutor
from automl.executors.memory import MemoryWatch, WorkerMemory
from automl.memory import Memory
from automl.records import TrialState

_CPU = {"CUDA_VISIBLE_DEVICES": ""}
_MIB = 2**20
_GIB = 2**30


@dataclass
class Machine:
    """A machine as small as a test says: what its processes hold is measured, what they may hold is not."""

    limit_bytes: int = 64 * _GIB
    other_bytes: int = 0  # that others hold
    kills: int = 0

    def read(self) -> Memory:
        left = self.limit_bytes - self.held() - self.other_bytes
        return Memory(limit_bytes=self.limit_bytes, available_bytes=max(0, left))

    @staticmethod
    def held() -> int:
        total = 0
        for child in psutil.Process().children():
            memory = child.memory_info()
            total += memory.rss - memory.shared
        return total


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine()


@pytest.fixture(scope="module")
def executor(
    machine: Machine, prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalExecutor]:
    slots = [Slot(threads=1, environment=_CPU)] * 2
    watch = MemoryWatch(machine.read, count_kills=lambda: machine.kills)
    executor = LocalExecutor(slots, log_path=tmp_path_factory.mktemp("logs") / "workers.log", watch=watch)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        executor.wait_ready()
        yield executor
    finally:
        executor.close()


@pytest.fixture(autouse=True)
def _large_again(machine: Machine) -> Iterator[None]:
    yield
    machine.limit_bytes, machine.other_bytes = 64 * _GIB, 0


def _taking(mib: int, **config: object) -> dict[str, object]:
    return {"mode": "take", "mib": mib, "batch_size": 1000, **config}


def test_the_kernel_would_end_a_worker_before_the_driver(executor: LocalExecutor) -> None:
    executor.wait_ready()
    own = int(Path("/proc/self/oom_score_adj").read_text())
    for pid in executor.process_ids:
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) >= max(own, 500)


def test_memory_that_workers_do_not_hold_is_no_reason_to_end_them(executor: LocalExecutor, machine: Machine) -> None:
    executor.wait_ready()
    machine.limit_bytes = machine.held()
    before = executor.process_ids
    executor._watch._due = 0.0
    assert result_of(finish(executor, make_job())).state is TrialState.COMPLETE
    assert executor.process_ids == before


@pytest.mark.parametrize(("share_mib", "replaced"), [(9_000, 0), (300, 1)], ids=["large", "small"])
def test_a_worker_that_holds_more_than_its_share_is_replaced_between_trials(
    executor: LocalExecutor, machine: Machine, share_mib: int, replaced: int
) -> None:
    """What it keeps of the trial is less than what a worker may grow in any case."""
    executor.wait_ready()
    before = executor.process_ids
    finish(executor, make_job(0), make_job(1))
    assert executor.process_ids == before
    machine.limit_bytes, machine.other_bytes = 2 * share_mib * _MIB + 256 * _MIB, -64 * _GIB
    executor._watch._due = 0.0
    result = result_of(finish(executor, make_job(2, config=_taking(256, leaks=True))), 2)
    assert result.state is TrialState.COMPLETE
    assert len(set(before) - set(executor.process_ids)) == replaced


def test_what_would_take_all_memory_is_stopped_and_its_neighbour_is_not(
    executor: LocalExecutor, machine: Machine
) -> None:
    """It takes 16 MiB every 10 ms, up to 20 GiB: with the watch it holds a part of one when it is ended."""
    executor.wait_ready()
    machine.limit_bytes = machine.held() + 600 * _MIB
    events = finish(executor, make_job(0, config=_taking(20_000)), make_job(1, epochs=20))
    greedy, other = result_of(events, 0), result_of(events, 1)
    assert (greedy.state, greedy.reason, greedy.is_transient) == (TrialState.FAILED, "oom", False)
    assert "for want of memory: it held" in greedy.message
    assert other.state is TrialState.COMPLETE
    machine.limit_bytes = 64 * _GIB
    assert result_of(finish(executor, make_job(2)), 2).state is TrialState.COMPLETE


@pytest.mark.parametrize(("left_mib", "kills"), [(9_000, 1), (300, 0)], ids=["kernel", "short"])
def test_a_kill_is_for_want_of_memory_where_that_was_seen(
    executor: LocalExecutor, machine: Machine, tmp_path: Path, left_mib: int, kills: int
) -> None:
    """The kernel says that it has ended a process, or little was left; other kills are crashes (`test_local.py`)."""
    if left_mib < 1000:
        executor.wait_ready()
    executor.submit(make_job(config=blocking(tmp_path) | {"mib": 400, "mode": "take-and-block"}))
    pid = pid_written_to(tmp_path / "fifo-path", executor)
    pid_written_to(tmp_path / "fifo-taken", executor)
    machine.limit_bytes = machine.held() + left_mib * _MIB
    executor._watch._due = 0.0
    executor.wait(0.0)
    machine.kills += kills
    os.kill(pid, signal.SIGKILL)
    result = result_of(wait_until(executor, lambda _: not executor.running))
    assert (result.state, result.reason, result.is_transient) == (TrialState.FAILED, "oom", False)


def _worker(held_mib: int) -> WorkerMemory:
    worker = WorkerMemory(os.getpid())
    worker.held_bytes = held_mib * _MIB
    return worker


def test_neighbours_are_to_blame_where_they_held_half_as_much() -> None:
    short = MemoryWatch(lambda: Memory(limit_bytes=8 * _GIB, available_bytes=100 * _MIB), count_kills=lambda: 0)
    assert short.is_crowded(_worker(400), [_worker(100), _worker(100)])
    assert not short.is_crowded(_worker(400), [_worker(100)])
    plenty = MemoryWatch(lambda: Memory(limit_bytes=8 * _GIB, available_bytes=4 * _GIB), count_kills=lambda: 0)
    assert not plenty.is_crowded(_worker(400), [_worker(400)])
