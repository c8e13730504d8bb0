"""The Ray executor: the contract, on one Ray of this machine for all tests, and slots that are lost or share a GPU."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from contract import (
    CONTINUE,
    STOP,
    ExecutorContract,
    epochs_of,
    finish,
    make_build,
    make_job,
    result_of,
    return_spec_name,
    wait_until,
    wait_until_reported,
)
from executors.gpus import card, present

from automl.errors import RequestError, SurroundingsError
from automl.executors import ray_tune
from automl.executors.backends import GPU_MEMORY
from automl.executors.base import Event, Reported
from automl.executors.devices import plan_slots
from automl.executors.local import LocalExecutor
from automl.executors.ray_cluster import connect
from automl.executors.ray_request import RayRequest
from automl.executors.ray_slot import SlotPlan
from automl.executors.ray_tune import RayExecutor
from automl.records import FailureReason, TrialState
from benchmarks.simulated import EPOCHS, SPACE, simulated_slot

MakeRay = Callable[[], RayExecutor]


@pytest.fixture(scope="module", autouse=True)
def own_ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray on this machine, which as far as Ray can tell has a GPU; others have taken most of its memory."""
    with pytest.MonkeyPatch.context() as patch:
        present(patch, tmp_path_factory.mktemp("gpus") / "bin", [card(0, free="10300")])
        cluster = connect(RayRequest(workers=4, gpus_per_trial=0))
        yield
        cluster.disconnect()
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "workers.log"


class TestRayExecutor(ExecutorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_executor(cls, log_path: Path) -> MakeRay:
        return lambda: RayExecutor(RayRequest(workers=2, gpus_per_trial=0), log_path=log_path)

    def test_curves_are_those_of_the_local_executor(
        self, executor: RayExecutor, prepared_folder: Path, tmp_path: Path
    ) -> None:
        jobs = [make_job(number, epochs=4, config={"batch_size": 30 + number}) for number in range(3)]
        local = LocalExecutor(plan_slots(2, 0), log_path=tmp_path / "workers.log")
        try:
            local.start()
            local.prepare(prepared_folder, make_build())
            curves = [
                {(event.job.number, event.report.epoch): event.report.metrics for event in events}
                for events in (_reported(local, jobs), _reported(executor, jobs))
            ]
        finally:
            local.close()
        assert len(curves[0]) == 3 * 4
        assert curves[0] == curves[1]

    def test_workers_have_the_priority_of_the_driver(self, executor: RayExecutor) -> None:
        assert executor.call(return_niceness) == psutil.Process().nice()

    def test_slots_stay_warm_while_there_is_nothing_to_do(self, executor: RayExecutor) -> None:
        finish(executor, make_job(0), make_job(1))
        workers = _workers()
        assert len(workers) == 2
        for _ in range(4):
            assert executor.wait(0.5) == []
        finish(executor, make_job(2), make_job(3))
        assert _workers() == workers

    def test_an_actor_that_dies_is_replaced_and_its_trial_goes_on(self, executor: RayExecutor) -> None:
        job = make_job(epochs=4)
        executor.submit(job)
        events = _until_epoch_2(executor)
        os.kill(_actor_of(executor), signal.SIGKILL)
        executor.decide(job, CONTINUE)
        events += wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == [1, 2, 3, 4]
        assert result_of(events).state is TrialState.COMPLETE

    @pytest.mark.parametrize("has_company", [True, False])
    def test_a_trial_that_was_short_of_memory_beside_another_may_go_well_alone(
        self, executor: RayExecutor, has_company: bool
    ) -> None:
        while executor.slot_count < 2:  # an actor that died in an earlier test is being replaced
            executor.wait(1.0)
        if has_company:
            executor.submit(make_job(0, epochs=2))
            wait_until_reported(executor)  # it waits for a decision
        greedy = make_job(1, config={"batch_size": 1000, "mode": "exhaust"})
        executor.submit(greedy)
        result = result_of(wait_until(executor, lambda _: greedy not in executor.running), 1)
        assert (result.reason, result.is_transient) == (FailureReason.OOM, has_company)
        for job in executor.running:
            executor.decide(job, CONTINUE)
        wait_until(executor, lambda _: not executor.running)

    def test_a_stop_holds_where_the_actor_is_dead(self, executor: RayExecutor) -> None:
        job = make_job(epochs=4)
        executor.submit(job)
        _until_epoch_2(executor)
        os.kill(_actor_of(executor), signal.SIGKILL)
        executor.decide(job, STOP)
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == []
        assert result_of(events).state is TrialState.PRUNED


def test_of_a_trial_that_has_ended_little_is_kept(prepared_folder: Path, tmp_path: Path) -> None:
    """Tune keeps every trial to its end; what this process holds is counted in Python's blocks of memory."""
    request = RayRequest(workers=1, gpus_per_trial=0)
    executor = RayExecutor(request, log_path=tmp_path / "workers.log", make_executor=simulated_slot)
    config = SPACE.default_config()
    held = []
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        for _ in range(3):
            for number in range(100):
                finish(executor, make_job(number, epochs=EPOCHS, config=config))
            gc.collect()
            held.append(sys.getallocatedblocks())
    finally:
        executor.close()
    assert (held[2] - held[1]) / 100 < 50  # it is 32, and was 112 with a config and statistics of each


def test_workers_that_always_die_before_they_are_ready_are_not_started_for_ever(
    prepared_folder: Path, tmp_path: Path
) -> None:
    """As on a node that is out of memory, where Ray kills what it has just started."""

    class Dying:
        def start(self) -> None: ...

        def log_to(self, path: Path) -> None: ...

        def take_up(self, message: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    def make_executor(plan: SlotPlan, folder: Path) -> Any:
        return Dying()

    request = RayRequest(workers=1, gpus_per_trial=0)
    executor = RayExecutor(request, log_path=tmp_path / "workers.log", make_executor=make_executor)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        with pytest.raises(
            SurroundingsError, match=r"ends every worker before it is ready, 4 one after the other \(.*"
        ):
            wait_until(executor, lambda _: False)
    finally:
        executor.close()


@pytest.mark.parametrize("starts_in_time", [True, False])
def test_an_actor_may_take_its_time_to_start_in_the_room_that_was_found(
    prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starts_in_time: bool
) -> None:
    """As on a crowded machine. Here this process has room by a group of the test's, which leaves none for an actor."""
    monkeypatch.setattr(ray_tune, "_PLACE_SECONDS", 0.1)
    monkeypatch.setattr(ray_tune, "_SETUP_SECONDS", 600.0 if starts_in_time else 0.5)
    group = ray.util.placement_group([{"CPU": 4}])
    ray.get(group.ready())
    executor = RayExecutor(RayRequest(workers=1, gpus_per_trial=0), log_path=tmp_path / "workers.log")
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        if starts_in_time:
            for _ in range(10):
                assert executor.wait(0.1) == []
            monkeypatch.undo()
            ray.util.remove_placement_group(group)
            assert result_of(finish(executor, make_job())).state is TrialState.COMPLETE
        else:
            with pytest.raises(SurroundingsError, match=r"found room for a trial, and started no actor in it"):
                wait_until(executor, lambda _: False)
    finally:
        executor.close()
        ray.util.remove_placement_group(group)


def test_what_a_ray_that_is_running_does_not_set_up_is_told(tmp_path: Path) -> None:
    """As one that a user's script has started by `ray.init`."""
    request = RayRequest(workers=1, gpus_per_trial=0, runtime_env={"env_vars": {"A": "1"}})
    executor = RayExecutor(request, log_path=tmp_path / "workers.log")
    try:
        with pytest.raises(RequestError, match=r"^--runtime-env: this process is connected .* give it to ray\.init"):
            executor.start()
    finally:
        executor.close()
    assert ray.is_initialized()


def test_a_share_of_a_gpu_is_a_cap_on_its_memory(prepared_folder: Path, tmp_path: Path) -> None:
    executor = RayExecutor(RayRequest(workers=1, gpus_per_trial=0.25), log_path=tmp_path / "workers.log")
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        told = executor.call(return_environment, names=["CUDA_VISIBLE_DEVICES", GPU_MEMORY])
    finally:
        executor.close()
    assert told == ["GPU-00000000-aaaa", str(40960 // 4 - 600)]  # of the whole card; 600 MiB: CUDA's own


def return_niceness(build: object, prepared: object) -> int:
    return psutil.Process().nice()


def return_environment(build: object, prepared: object, *, names: list[str]) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def _reported(executor: Any, jobs: list[Any]) -> list[Reported]:
    """Run jobs two at a time."""
    events = finish(executor, *jobs[:2]) + finish(executor, *jobs[2:])
    return [event for event in events if isinstance(event, Reported)]


def _until_epoch_2(executor: RayExecutor) -> list[Event]:
    """Go on until a trial waits for the decision on its second epoch."""
    events: list[Event] = []
    while 2 not in epochs_of(events):
        for event in executor.wait(1.0):
            events.append(event)
            if isinstance(event, Reported) and event.report.epoch < 2:
                executor.decide(event.job, CONTINUE)
    return events


def _workers() -> set[int]:
    """Return the processes of this one's workers."""
    return {one.pid for one in psutil.Process().children(recursive=True) if _is_worker(one)}


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "automl.executors.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # or a zombie
        return False


def _actor_of(executor: RayExecutor) -> int:
    """Return the process of the actor that runs the one trial: it is not the one whose worker is free."""
    _, idle = executor.call(return_spec_name, suffix="")
    names = ("TrialSlot", "ResourceTrainable")  # Ray names the process by the class or by Tune's own of it
    commands = {one: " ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"])}
    actors = [one for one, command in commands.items() if any(name in command for name in names)]
    ours = [one for one in actors if psutil.Process().pid in {parent.pid for parent in one.parents()}]
    (busy,) = [one.pid for one in ours if idle not in {child.pid for child in one.children()}]
    return busy
