"""The Ray executor on a cluster of three nodes: a node is lost, a driver is killed, nodes share no files.

The nodes are on this machine, each with a temporary folder of its own. One cluster serves all tests; the last one takes
a node from it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import psutil
import pytest
import ray
from contract import (
    CONTINUE,
    PAUSE,
    epochs_of,
    finish,
    is_alive,
    make_build,
    make_job,
    reports_of,
    result_of,
    wait_until,
    wait_until_dead,
)
from ray.cluster_utils import Cluster
from shared_memory import shared_memory_of

import automl
from automl.data import prepare, raw_from_arrays
from automl.driver import Progress
from automl.errors import RequestError, SpaceError, SurroundingsError
from automl.executors import ray_cluster, ray_tune
from automl.executors.devices import plan_slots
from automl.executors.local import LocalExecutor
from automl.executors.ray_cluster import connect, make_folder, users_modules_by_value
from automl.executors.ray_request import RayRequest
from automl.executors.ray_slot import SlotExecutor, SlotPlan
from automl.executors.ray_tune import RayExecutor
from automl.records import Config, TrialRecord, TrialResult, TrialState
from automl.search_space import Build, SearchSpace

_STORE_BYTES = 100 * 2**20
_OWN = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
_EDGE = {"edge": 1.0}
_EPOCHS = 12
_PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The temporary folders of the two nodes that have an `edge`."""
    return [tmp_path_factory.mktemp(f"node-{number}") for number in range(2)]


@pytest.fixture(scope="module")
def cluster(roots: list[Path]) -> Iterator[Cluster]:
    """A head, and two nodes with an `edge` each; one trial has room on each of the three."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # it kills actors where others fill this machine's memory
        patch.setenv("RAY_worker_niceness", "0")  # else other tests leave actors no processor to start on
        cluster = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **_OWN})
        try:
            for root in roots:
                patch.setenv("TMPDIR", str(root))
                cluster.add_node(resources=_EDGE, **_OWN)
            patch.delenv("TMPDIR")
            yield cluster
        finally:
            assert not ray.is_initialized()
            cluster.shutdown()


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    (tmp_path / "driver").mkdir()
    return tmp_path / "driver" / "workers.log"


def test_what_there_is_no_room_for_is_refused_at_once(cluster: Cluster) -> None:
    joined = {"address": cluster.address}
    room = (
        r"has room for 2 trials, and was asked for 3 trials at a time, each with 1 CPU, 1 edge; it has node .*: 1 CPU"
    )
    with pytest.raises(RequestError, match=room):
        connect(RayRequest(workers=3, resources=_EDGE, **joined))
    with pytest.raises(RequestError, match=r"room for 0 trials.* a trial with 1 CPU, 0.25 GPU; it has node .*: 1 CPU"):
        connect(RayRequest(gpus_per_trial=0.25, **joined))
    assert not ray.is_initialized()


def test_an_address_that_does_not_answer_is_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ray_cluster._ANSWER_SECONDS + ray_cluster._HEALTH_SECONDS <= 15.0
    monkeypatch.setattr(ray_cluster, "_HEALTH_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and says nothing
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(
            RequestError, match=r"--ray-address 127.* \(what listens there is no Ray\): start Ray there"
        ):
            connect(RayRequest(address=address))
    with pytest.raises(RequestError, match=r"--ray-address 127.* does not answer \(.*refused\): start Ray there"):
        connect(RayRequest(address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RequestError, match=r"--ray-address 127.* does not answer \(.*refused\)"):
        connect(RayRequest(address="auto"))


@pytest.fixture
def nodeless(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster whose only node has crashed."""
    folder = tempfile.mkdtemp(prefix="automl-test-", dir="/tmp")  # paths of sockets must be short
    for name, value in {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}.items():
        monkeypatch.setenv(name, value)
    try:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=0", "--num-cpus=1"]
        subprocess.run([*start, "--include-dashboard=false"], check=True, capture_output=True)
        (raylet,) = [one for one in _of_folder(folder) if one.name() == "raylet"]
        raylet.kill()
        wait_until_dead(raylet.pid)
        shutil.copy("/bin/true", uncollected := Path(folder) / "raylet")
        crashed = subprocess.Popen([uncollected])  # as a crashed node stays in a container without an init
        wait_until_dead(crashed.pid)
        yield (Path(folder) / "ray" / "ray_current_cluster").read_text()
        crashed.wait()
    finally:
        for one in _of_folder(folder):
            with suppress(psutil.NoSuchProcess):  # some end with the others
                one.kill()
        shutil.rmtree(folder)


def _of_folder(folder: str) -> list[psutil.Process]:
    return [one for one in psutil.process_iter() if folder in " ".join(_command(one))]


def test_a_cluster_without_a_node_on_this_machine_is_refused_soon(
    nodeless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    told = f"^--ray-address {nodeless}: this machine is no node of that cluster: ray start --address={nodeless}$"
    with pytest.raises(RequestError, match=told):
        connect(RayRequest(address=nodeless))
    everything = psutil.process_iter
    raylets = {one.pid for one in everything(["name"]) if one.info["name"] == "raylet"}
    with monkeypatch.context() as patch:  # as where no other test runs Ray beside this one
        patch.setattr(
            psutil, "process_iter", lambda *asked: (one for one in everything(*asked) if one.pid not in raylets)
        )
        with pytest.raises(RequestError, match="--ray-address auto finds no Ray that this machine is part of: start"):
            connect(RayRequest(address="auto"))
    assert time.monotonic() - began < 15.0
    assert not ray.is_initialized()


def test_a_cluster_of_another_ray_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ray.__version__
    monkeypatch.setattr(ray, "__version__", "0.0.1")
    told = rf"Ray: {own} Python: .* Ray: 0\.0\.1 Python: .*: install the same versions here and there$"
    with pytest.raises(RequestError, match=told):
        connect(RayRequest(address=cluster.address))
    assert not ray.is_initialized()


def test_a_node_with_another_version_of_keras_is_refused(
    cluster: Cluster, tmp_path: Path, prepared_folder: Path, log_path: Path
) -> None:
    metadata = tmp_path / "theirs" / "keras-9.9.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: keras\nVersion: 9.9\n")
    paths = os.pathsep.join([str(tmp_path / "theirs"), os.environ.get("PYTHONPATH", "")])
    theirs = RayRequest(address=cluster.address, workers=1, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    executor = RayExecutor(theirs, log_path=log_path)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        told = r"^node .* of the Ray cluster has keras 9\.9 instead of .*: install the same versions there$"
        with pytest.raises(SurroundingsError, match=told):
            wait_until(executor, lambda _: False)
    finally:
        executor.close()


def test_modules_of_a_local_folder_travel_by_the_runtime_env(
    cluster: Cluster, tmp_path: Path, prepared_folder: Path, log_path: Path
) -> None:
    package = tmp_path / "of_a_folder"  # on nobody's path
    package.mkdir()
    (package / "__init__.py").write_text("activation = 'softmax'\n")

    def build(config: Config, spec: Any) -> Any:
        import importlib

        import keras

        inputs = keras.Input(spec.input_shape)
        activation = importlib.import_module("of_a_folder").activation
        return keras.Model(inputs, keras.layers.Dense(spec.output.units, activation=activation)(inputs))

    request = RayRequest(address=cluster.address, workers=1, runtime_env={"py_modules": [str(package)]})
    result = _result_of_one(RayExecutor(request, log_path=log_path), prepared_folder, build)
    assert (result.state, result.message) == (TrialState.COMPLETE, "")


@pytest.mark.parametrize(
    ("runtime_env", "told"),
    [({"pip": 3}, "'pip'"), ({"env_vars": {"A": 1}}, "'env_vars'"), ({"working_dir": "/nowhere"}, "/nowhere")],
)
def test_a_runtime_env_that_ray_refuses_is_told(cluster: Cluster, runtime_env: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=f"^--runtime-env: .*{told}"):
        connect(RayRequest(address=cluster.address, runtime_env=runtime_env))
    assert not ray.is_initialized()


def test_a_space_that_workers_cannot_import_is_told(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a package that is installed here and not there."""
    elsewhere = ModuleType("elsewhere")
    exec("def build(config, spec): ...", vars(elsewhere))
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    space = SearchSpace("installed-here", [automl.Choice("batch_size", [32])], elsewhere.build)
    told = r"No module named 'elsewhere' on .*: install it there as well$"
    with pytest.raises(SpaceError, match=told):
        automl.search(
            "iris", space, executor="ray", ray_address=cluster.address, workers=1, home=tmp_path, mlflow=False
        )


def test_modules_of_the_users_own_travel_as_code_and_are_then_as_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own, registered = ModuleType("own"), ModuleType("registered")
    for module in (own, registered):
        module.__file__ = str(tmp_path / f"{module.__name__}.py")
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "__mp_main__", own)  # as in a process that was spawned
    cloudpickle.register_pickle_by_value(registered)
    before = cloudpickle.list_registry_pickle_by_value()
    try:
        with users_modules_by_value():
            assert {"own", "registered"} <= cloudpickle.list_registry_pickle_by_value()
        assert cloudpickle.list_registry_pickle_by_value() == before
    finally:
        cloudpickle.unregister_pickle_by_value(registered)


def test_room_that_others_have_taken_is_not_waited_for_for_ever(
    cluster: Cluster, prepared_folder: Path, log_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tune, "_PLACE_SECONDS", 1.0)
    joined = connect(RayRequest(address=cluster.address))
    request = RayRequest(address=cluster.address, workers=1, resources=_EDGE)
    executor = RayExecutor(request, log_path=log_path)

    class Holder:
        def held(self) -> None: ...

    try:
        hold: Any = ray.remote(num_cpus=0, resources=_EDGE)(Holder)
        holders = [hold.remote() for _ in range(2)]
        ray.get([holder.held.remote() for holder in holders])
        executor.start()
        executor.prepare(prepared_folder, make_build())
        executor.submit(make_job())
        with pytest.raises(SurroundingsError, match=r"no room .* asks for 1 CPU, 1 edge, and free are .*CPU"):
            wait_until(executor, lambda _: False)
    finally:
        executor.close()
        joined.disconnect()


def test_nodes_that_share_no_files_get_the_data_once_and_give_back_what_they_write(
    cluster: Cluster, roots: list[Path], prepared_folder: Path, log_path: Path
) -> None:
    request = RayRequest(address=cluster.address, resources=_EDGE)
    first, weights = log_path.with_name("000000"), log_path.with_name("weights.npz")
    executor = RayExecutor(request, log_path=log_path, shares_files=False)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        job = make_job(epochs=4, checkpoint_folder=first, weights_path=weights)
        before = finish(executor, job, decide=lambda event: PAUSE if event.report.epoch == 2 else CONTINUE)
        assert result_of(before).state is TrialState.PAUSED
        assert [path.name[:6] for path in first.iterdir()] == ["000002"]
        after = finish(executor, job, make_job(1))
        assert reports_of(after)[:2] == reports_of(before)  # not trained again
        assert epochs_of(after) == [1, 2, 3, 4]
        assert result_of(after, 1).state is TrialState.COMPLETE
        assert weights.stat().st_size > 4 * 64 * 10
        fetched = [_fetched(root) for root in roots]
        assert [path.read_bytes() for path in fetched] == [(prepared_folder / "spec.json").read_bytes()] * 2
        executor.close()
        executor = RayExecutor(request, log_path=log_path, shares_files=False)
        written = [path.stat() for path in fetched]
        executor.start()
        executor.prepare(prepared_folder, make_build())
        assert result_of(finish(executor, make_job(2)), 2).state is TrialState.COMPLETE
        assert [_fetched(root).stat().st_ino for root in roots] == [one.st_ino for one in written]  # not sent again
    finally:
        executor.close()
    assert not log_path.exists()  # it was written on the nodes
    assert not [path for root in roots for path in root.glob("automl-slot-*")]


def test_a_module_that_a_builder_imports_late_is_told_where_it_is_missing(
    cluster: Cluster, prepared_folder: Path, log_path: Path
) -> None:
    """As a helper beside the space's file, which is imported when a model is built."""

    def build(config: Config, spec: Any) -> Any:
        import importlib

        return importlib.import_module("beside_the_space").build(config, spec)

    request = RayRequest(address=cluster.address, workers=1, resources=_EDGE)
    result = _result_of_one(RayExecutor(request, log_path=log_path, shares_files=False), prepared_folder, build)
    assert (result.state, result.reason) == (TrialState.FAILED, "invalid_model")
    node = os.uname().nodename
    told = f"No module named 'beside_the_space' on node {node}, which does not have the driver's files: list it in py_"
    assert told in result.message.splitlines()[-1]


def test_a_placed_worker_may_take_its_time(
    cluster: Cluster,
    roots: list[Path],
    tmp_path: Path,
    log_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither preparing the data nor fetching it counts as a search for room."""
    monkeypatch.setattr(ray_tune, "_PLACE_SECONDS", 1.0)
    raw = raw_from_arrays("other", np.zeros((50, 8)), np.arange(50) % 2)  # no node has it yet
    prepared = prepare(raw, task=None, split_seed=0, cache=tmp_path)
    is_placed = tmp_path / "placed"

    class SlowToFetch(LocalExecutor):
        def take_up(self, message: Any) -> None:
            time.sleep(2.5)
            super().take_up(message)

    def make_executor(plan: SlotPlan, folder: Path) -> SlotExecutor:
        is_placed.touch()
        return SlowToFetch(plan_slots(1, 0), log_path=folder / "workers.log")

    request = RayRequest(address=cluster.address, workers=1, resources=_EDGE)
    executor = RayExecutor(request, log_path=log_path, shares_files=False, make_executor=make_executor)
    try:
        executor.start()
        _wait_until(is_placed.exists)
        time.sleep(1.5)  # as the driver prepares the data
        executor.prepare(prepared.folder, make_build())
        assert result_of(finish(executor, make_job())).state is TrialState.COMPLETE
    finally:
        executor.close()
        for root in roots:
            for folder in root.glob("automl-datasets-*"):
                shutil.rmtree(folder)


def _result_of_one(executor: RayExecutor, prepared_folder: Path, build: Build) -> TrialResult:
    """Run one trial in an executor of its own."""
    try:
        executor.start()
        executor.prepare(prepared_folder, build)
        return result_of(finish(executor, make_job()))
    finally:
        executor.close()


def _fetched(root: Path) -> Path:
    """Return the one description of a dataset that lies on a node, nothing half written beside it."""
    (dataset,) = [path for path in root.glob("automl-datasets-*/*") if path.is_dir()]
    return dataset / "spec.json"


def test_a_killed_driver_leaves_nothing_on_the_cluster_and_its_study_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    """The cluster lives on, so that nothing but Ray's and our own watching ends the actor and its worker."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]
    started, _, folders = _killed_driver(tmp_path, cluster.address, raylets)
    assert len(started) == 2
    _wait_until(lambda: not any(is_alive(pid) for pid in started))
    before = automl.load_result("killed", home=tmp_path)
    assert [trial.state for trial in before.trials].count(TrialState.COMPLETE) in range(2, 6)
    result = automl.resume("killed", home=tmp_path)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE] * 6
    assert all([report.epoch for report in trial.epochs] == list(range(1, 21)) for trial in result.trials)
    assert not ray.is_initialized()
    assert [folder.name.rpartition("-")[0] for folder in folders] == ["automl-tune"]
    assert not any(folder.exists() for folder in folders)  # the next driver has deleted them
    _wait_until(lambda: not _slots_below(raylets))


def test_a_killed_driver_takes_its_own_ray_along(tmp_path: Path) -> None:
    started, shared, _ = _killed_driver(tmp_path, None, [])
    assert len(started) >= 2 + 2  # raylet and head too
    _wait_until(lambda: not any(is_alive(pid) for pid in started))
    _wait_until(lambda: not any(path.exists() for path in shared))


def test_the_next_driver_deletes_what_killed_ones_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_FOLDERS", tmp_path)
    first, dead = make_folder("tune")
    second, alive = make_folder("ray")
    assert {first, second} == set(tmp_path.iterdir())
    dead.close()  # as the driver's death does
    third, alive_too = make_folder("ray")
    assert {second, third} == set(tmp_path.iterdir())
    alive.close()
    alive_too.close()


def _killed_driver(home: Path, address: str | None, raylets: list[int]) -> tuple[list[int], set[Path], list[Path]]:
    """Kill a search in the middle.

    Returns:
        What ran for it, below itself or a cluster's nodes; its shared memory; and its folders of files for Ray.
    """
    script = home / "script.py"
    script.write_text(_SCRIPT.format(address=address, home=str(home)))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "two trials have ended\n"
        started = _slots_below([driver.pid, *raylets])
        family = psutil.Process(driver.pid)
        shared = shared_memory_of([family, *family.children(recursive=True)])
        locks = [Path(file.path) for file in family.open_files() if file.path.endswith("/driver.lock")]
        driver.kill()
    return started, shared, [lock.parent for lock in locks if lock.parent.name.startswith("automl-")]


_SCRIPT = """
import time
import automl
from automl.records import TrialState

def say(progress):
    if progress.record.count(TrialState.COMPLETE) >= 2:
        print("two trials have ended", flush=True)
        time.sleep(600)

automl.search("iris", "mlp", trials=6, epochs=20, workers=1, patience=0, scheduler="none",
              sampler="random", finalists=0, executor="ray", ray_address={address!r}, name="killed", home={home!r},
              mlflow=False, progress=say)
"""


def _slots_below(pids: list[int]) -> list[int]:
    """Return the actors and workers, and a Ray of its own with its head, among what descends from processes."""
    below = [child for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    names = ("TrialSlot", "ResourceTrainable", "automl.executors.worker", "gcs_server", "raylet/raylet")
    return [one.pid for one in below if any(name in " ".join(_command(one)) for name in names)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_lost_node_loses_no_trial_and_repeats_no_epoch(cluster: Cluster, tmp_path: Path) -> None:
    """Last of the tests: it takes a node from the others."""
    random = np.random.default_rng(0)
    counts = tmp_path / "counts"
    counts.mkdir()
    killed: list[tuple[TrialRecord, int]] = []

    def kill_a_node(progress: Progress) -> None:
        if not killed and progress.record.count(TrialState.COMPLETE) >= 8:
            killed.extend(_kill_node_of_one(cluster, counts, progress.record.trials))

    result = automl.search(
        (random.normal(size=(100, 8)), np.arange(100) % 2),
        SearchSpace("counted", [automl.Int("key", 0, 10**6), automl.Choice("batch_size", [1000])], _counted(counts)),
        trials=30,
        epochs=_EPOCHS,
        patience=0,
        scheduler="none",
        sampler="random",
        finalists=0,
        executor="ray",
        ray_address=cluster.address,
        home=tmp_path / "home",
        mlflow=False,
        progress=kill_a_node,
    )
    ((lost, reported_epochs),) = killed
    assert [trial.number for trial in result.trials] == list(range(30))
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE] * 30
    for trial in result.trials:
        assert [report.epoch for report in trial.epochs] == list(range(1, _EPOCHS + 1))
        trained = Counter(_pids(counts, trial))
        if trial.number == lost.number:
            before, after = trained.values()  # it went on in another process
            assert (
                after <= _EPOCHS - reported_epochs + 1
            )  # of the epochs that were known, one at most was trained again
            assert before + after <= _EPOCHS + 2  # the other one was under way
        else:
            assert list(trained.values()) == [_EPOCHS]


def _counted(counts: Path) -> Build:
    """Return a builder whose epochs are one batch, note in which process they were trained, and are all kept."""

    def build(config: dict[str, Any], spec: Any) -> Any:
        import keras

        from automl.training import checkpoint

        checkpoint._LOST_SECONDS, checkpoint._COST_SHARE = 0.0, 1e9  # one after every epoch, however short it is

        class Counted(keras.Model):
            def train_step(self, data: Any) -> Any:
                import tensorflow as tf

                def count() -> bool:
                    with (counts / str(config["key"])).open("a") as file:
                        file.write(f"{os.getpid()}\n")
                    time.sleep(0.04)
                    return True

                with tf.control_dependencies([tf.py_function(count, [], tf.bool)]):
                    return super().train_step(data)

        inputs, x = automl.input_layers(spec)
        return Counted(inputs, automl.output_layers(keras.layers.Dense(4)(x), spec))

    return build


def _pids(counts: Path, trial: TrialRecord) -> list[int]:
    """Return the process of every epoch that was trained."""
    path = counts / str(trial.config["key"])
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _kill_node_of_one(cluster: Cluster, counts: Path, trials: Any) -> list[tuple[TrialRecord, int]]:
    """Kill the node where a trial is half trained, if there is one; return the trial, and its epochs by then."""
    nodes = {node.all_processes["raylet"][0].process.pid: node for node in cluster.worker_nodes}
    for trial in trials:
        if trial.state is TrialState.RUNNING and 3 <= len(trial.epochs) <= _EPOCHS - 4:
            parents = psutil.Process(_pids(counts, trial)[-1]).parents()
            for raylet in (parent for parent in parents if parent.pid in nodes):
                _kill(cluster, nodes[raylet.pid], raylet.children(recursive=True))
                return [(trial, len(trial.epochs))]
    return []


def _kill(cluster: Cluster, node: Any, processes: list[psutil.Process]) -> None:
    """End a node as its machine's end does: everything at once."""
    for process in processes:
        process.suspend()  # or else an actor might tell of its worker's end
    for process in processes:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)
