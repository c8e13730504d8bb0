"""The Ray executor: the contract, and what only a cluster can show, on one cluster of three nodes for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from contract import (
    CONTINUE,
    PAUSE,
    STOP,
    ExecutorContract,
    epochs_of,
    finish,
    make_build,
    make_job,
    reports_of,
    result_of,
    return_spec_name,
    wait_until,
)
from ray.cluster_utils import Cluster

from automl.errors import RequestError, SurroundingsError
from automl.executors import ray_actors
from automl.executors.base import Event, Reported
from automl.executors.ray_actors import RayExecutor
from automl.executors.ray_cluster import connect
from automl.executors.ray_request import RayRequest
from automl.records import TrialState

MakeRay = Callable[[], RayExecutor]
_STORE_BYTES = 100 * 2**20
_EDGE = {"edge": 1.0}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that has room for the contract, and two nodes with an `edge` each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        own = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, **own})
        for _ in range(2):
            cluster.add_node(num_cpus=1, resources=_EDGE, object_store_memory=_STORE_BYTES)
        joined = connect(RayRequest(address=cluster.address))
        try:
            yield cluster
        finally:
            joined.disconnect()
            assert not ray.is_initialized()
            cluster.shutdown()


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "workers.log"


@pytest.mark.usefixtures("cluster")
class TestRayExecutor(ExecutorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_executor(cls, log_path: Path) -> MakeRay:
        return lambda: RayExecutor(RayRequest(workers=2), log_path=log_path)

    def test_what_a_trial_prints_goes_to_the_log(
        self, executor: RayExecutor, prepared_folder: Path, log_path: Path
    ) -> None:
        def build(config: object, spec: object) -> None:
            print("printed in a worker")  # noqa: T201

        try:
            executor.prepare(prepared_folder, build)
            result = result_of(finish(executor, make_job()))
        finally:
            executor.prepare(prepared_folder, make_build())
        assert (result.state, result.reason) == (TrialState.FAILED, "invalid_model")
        assert "printed in a worker" in log_path.read_text()

    def test_an_actor_that_dies_is_replaced_and_its_trial_goes_on(self, executor: RayExecutor) -> None:
        job = make_job(epochs=4)
        executor.submit(job)
        events = _until_epoch(executor, 2, job.number)
        os.kill(_actor_of(executor), 9)
        executor.decide(job, CONTINUE)
        events += wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == [1, 2, 3, 4]
        assert result_of(events).state is TrialState.COMPLETE

    def test_a_stop_holds_where_the_actor_is_dead(self, executor: RayExecutor) -> None:
        job = make_job(epochs=4)
        executor.submit(job)
        _until_epoch(executor, 2, job.number)
        os.kill(_actor_of(executor), 9)
        executor.decide(job, STOP)
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == []
        assert result_of(events).state is TrialState.PRUNED


def test_slots_that_share_no_files_get_the_data_and_give_back_what_they_write(
    cluster: Cluster, prepared_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "driver").mkdir()
    theirs = {"env_vars": {"TMPDIR": str(tmp_path / "node")}}
    log_path = tmp_path / "driver" / "workers.log"
    executor = RayExecutor(RayRequest(workers=1, runtime_env=theirs), log_path=log_path, shares_files=False)
    folder, weights = tmp_path / "driver" / "000000", tmp_path / "driver" / "weights.npz"
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        job = make_job(epochs=4, checkpoint_folder=folder, weights_path=weights)
        before = finish(executor, job, decide=lambda event: PAUSE if event.report.epoch == 2 else CONTINUE)
        assert result_of(before).state is TrialState.PAUSED
        assert [path.name[:6] for path in folder.iterdir()] == ["000002"]
        after = finish(executor, job)
        assert reports_of(after)[:2] == reports_of(before)  # not trained again
        assert epochs_of(after) == [1, 2, 3, 4]
        assert weights.stat().st_size > 4 * 64 * 10
        (fetched,) = (tmp_path / "node").glob("automl-datasets-*/*/spec.json")
        assert fetched.read_bytes() == (prepared_folder / "spec.json").read_bytes()
    finally:
        executor.close()
    assert not log_path.exists()  # it was written on the node


def test_what_there_is_no_room_for_is_refused_at_once(cluster: Cluster, log_path: Path) -> None:
    room = (
        r"has room for 2 trials, and was asked for 3 trials at a time, each with 1 CPU, 1 edge; it has node .*: 4 CPU"
    )
    with pytest.raises(RequestError, match=room):
        connect(RayRequest(workers=3, resources=_EDGE))
    with pytest.raises(RequestError, match=r"room for 0 trials.* a trial with 1 CPU, 0.25 GPU"):
        connect(RayRequest(gpus_per_trial=0.25))


def test_room_that_others_have_taken_is_not_waited_for_for_ever(
    cluster: Cluster, prepared_folder: Path, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_actors, "_PLACE_SECONDS", 1.0)
    hold: Any = ray.remote(num_cpus=4)(Holder)
    holder = hold.remote()
    ray.get(holder.held.remote())
    executor = RayExecutor(RayRequest(workers=1, cpus_per_trial=4), log_path=log_path)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        executor.submit(make_job())
        with pytest.raises(SurroundingsError, match=r"no room .* asks for 4 CPU, and free are .*edge"):
            wait_until(executor, lambda _: False)
    finally:
        executor.close()
        ray.kill(holder)


class Holder:
    """Takes resources."""

    def held(self) -> None: ...


def test_a_killed_node_loses_no_trial_and_repeats_no_report(
    cluster: Cluster, prepared_folder: Path, log_path: Path
) -> None:
    """Last of the tests: it takes a node from the others."""
    executor = RayExecutor(RayRequest(resources=_EDGE), log_path=log_path)
    jobs = [make_job(number, epochs=4) for number in range(8)]
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        assert executor.slot_count == 2
        executor.submit(jobs[0])
        executor.submit(jobs[1])
        events = _until_epoch(executor, 2, 0, 1)
        cluster.remove_node(cluster.worker_nodes[-1], allow_graceful=False)
        executor.decide(jobs[0], CONTINUE)
        executor.decide(jobs[1], CONTINUE)
        waiting = jobs[2:]
        while waiting or executor.running:
            events += wait_until(executor, lambda _: len(executor.running) < executor.slot_count)
            if waiting:
                executor.submit(waiting.pop(0))
        assert executor.slot_count == 1
    finally:
        executor.close()
    for job in jobs:
        assert epochs_of(events, job.number) == [1, 2, 3, 4]
        assert result_of(events, job.number).state is TrialState.COMPLETE


def _until_epoch(executor: RayExecutor, epoch: int, *numbers: int) -> list[Event]:
    """Go on until all these trials wait for the decision on an epoch."""
    events: list[Event] = []
    while not all(epoch in epochs_of(events, number) for number in numbers):
        for event in executor.wait(1.0):
            events.append(event)
            if isinstance(event, Reported) and event.report.epoch < epoch:
                executor.decide(event.job, CONTINUE)
    return events


def _actor_of(executor: RayExecutor) -> int:
    """Return the process of the actor that runs the one trial: its worker is the child of it that works."""
    _, idle = executor.call(return_spec_name, suffix="")
    actors = [one for one in psutil.process_iter(["name", "pid"]) if "RemoteSlot" in (one.info["name"] or "")]
    (busy,) = [one.pid for one in actors if idle not in {child.pid for child in one.children()}]
    return int(busy)
