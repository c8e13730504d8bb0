"""A Ray cluster: started on this machine or joined, and whether it has what trials ask for."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import cloudpickle
import psutil
import ray
from ray.exceptions import RuntimeEnvSetupError

from automl.cores import core_count
from automl.errors import RequestError
from automl.executors.gpus import list_gpus
from automl.executors.ray_request import RayRequest, words
from automl.executors.ray_slot import FolderRefs

_ANSWER_SECONDS = 5.0  # what an address is given to take a connection
_HEALTH_SECONDS = 9.0  # what Ray there is given to say that it is well
_STORE_BYTES = 256 * 2**20  # of the object store of our own Ray, which carries messages only
_PIECE_BYTES = 64 * 2**20
_FOLDERS = Path("/tmp")  # not TMPDIR: the paths of Ray's sockets, 60 characters further down, may have 107 in all
_LOCK = "driver.lock"
_START_RAY = "start Ray {} with 'ray start --head', or leave the option out for a Ray on this machine"
_NO_RAY_HERE = f"--ray-address auto finds no Ray that this machine is part of: {_START_RAY.format('here')}"
_OWN_PACKAGES = ("automl", "search_spaces", "dashboards")
_TOKENS_LOGGER = "ray._private.authentication.authentication_token_setup"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else Ray warns that it will change its default
    "RAY_DEDUP_LOGS": "0",
}
_OWN_RAY = {
    "RAY_memory_monitor_refresh_ms": "0",  # workers' memory is watched by the local executor
    "RAY_worker_niceness": "0",  # by default 15: beside other work, actors take minutes to start, and train as slowly
}


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        demand: What a trial asks for, by Ray's names of resources.
        slots: Trials that have room at a time.
        threads: Intra-op threads of a trial's worker.
        sets_up: Ray sets something up before it starts an actor, which may take minutes.
        disconnect: Leaves the cluster, and ends it where it was started here.
    """

    demand: Mapping[str, float]
    slots: int
    threads: int
    sets_up: bool
    disconnect: Callable[[], None] = field(repr=False)


def connect(request: RayRequest) -> Cluster:
    """Start Ray on this machine, or join a cluster.

    A Ray that this process is connected to already (`ray.init` in a user's script) is used, and left as it is.

    Raises:
        RequestError: The address does not answer, runs another version, or has no room for what is asked; or this
            process is connected already, and something is to be set up.
    """
    if ray.is_initialized() and request.runtime_env:
        raise RequestError(
            "--runtime-env: this process is connected to Ray already, which sets things up when a process connects: "
            "give it to ray.init(runtime_env=...)"
        )
    disconnect = _connected(request)
    try:
        nodes = _nodes()
        share = core_count() // request.workers if request.workers and request.address is None else 1
        demand = request.demand(has_gpus=any(node.get("GPU") for node in nodes.values()), cpus=max(1, share))
        room = sum(_room(node, demand) for node in nodes.values())
        if room < (request.workers or 1):
            wanted = f"{request.workers} trials at a time, each with " if request.workers else "a trial with "
            raise RequestError(
                f"the Ray cluster has room for {room} trials, and was asked for {wanted}{words(demand)}; "
                f"it has {'; '.join(f'{name}: {words(node)}' for name, node in nodes.items())}: "
                "ask for less, or join a larger one by --ray-address"
            )
    except BaseException:
        disconnect()
        raise
    return Cluster(
        demand=demand,
        slots=request.workers or room,
        threads=max(1, int(demand["CPU"])),
        sets_up=bool(ray.get_runtime_context().runtime_env),
        disconnect=disconnect,
    )


def available() -> str:
    """Say what the cluster has free now."""
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return words(_counted(free))


def has_room() -> bool:
    """Return True where the cluster has given room to this process, in which an actor starts or has started."""
    groups: dict[str, dict[str, Any]] = ray.util.placement_group_table()
    job: str = ray.get_runtime_context().get_job_id()  # with which the id of each of its groups ends
    return any(name.endswith(job) and group["state"] == "CREATED" for name, group in groups.items())


def in_one_line(error: BaseException) -> str:
    """Return what Ray says in an error of many lines."""
    return " ".join(str(error).split())[:500]


def put_folder(folder: Path) -> FolderRefs:
    """Put the files of a folder into the object store, from where each node fetches them once."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): [ray.put(piece) for piece in _pieces(path)] for path in paths}


@contextmanager
def users_modules_by_value() -> Iterator[None]:
    """Let functions of a user's own modules travel as code: other machines do not have these modules."""
    known = cloudpickle.list_registry_pickle_by_value()
    # By name, because a module may be known by several: the script is, in a process that was spawned.
    found = {module.__name__: module for module in list(sys.modules.values()) if _is_users_own(module)}
    modules = [module for name, module in found.items() if name not in known]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def make_folder(kind: str) -> tuple[Path, IO[str]]:
    """Make a folder that nobody else uses, and delete those of all kinds that drivers left behind which were killed.

    Args:
        kind: What it is for; a part of its name.

    Returns:
        The folder, and a file that this process keeps locked, however it ends, until it is closed.
    """
    for path in _FOLDERS.glob(f"automl-*/{_LOCK}"):
        with suppress(OSError), path.open("a") as left:  # somebody else's, or its driver lives
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"automl-{kind}-", dir=_FOLDERS))
    lock = (folder / f"{_LOCK}.new").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.replace(folder / f"{_LOCK}.new", folder / _LOCK)  # it is locked from when others can see it
    return folder, lock


@contextmanager
def own_folder(kind: str) -> Iterator[Path]:
    """Have a folder (see `make_folder`) for as long as it is needed."""
    folder, lock = make_folder(kind)
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables that Ray reads; what is set stays."""
    fresh = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(fresh)
    try:
        yield
    finally:
        for name in fresh:
            del os.environ[name]


def _connected(request: RayRequest) -> Callable[[], None]:
    if ray.is_initialized():
        return lambda: None
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if request.address is None:
        return _start(request, options)
    address = os.environ.get("RAY_ADDRESS", request.address) if request.address == "auto" else request.address
    _check_joinable(address)
    _init(request, {"address": address, **options}, {})
    return ray.shutdown


def _start(request: RayRequest, options: Mapping[str, Any]) -> Callable[[], None]:
    crowded = request.workers if request.workers and request.cpus_per_trial is None else 0
    left = ExitStack()
    folder = left.enter_context(own_folder("ray"))
    left.callback(ray.shutdown)
    own = {
        "address": "local",
        "num_cpus": max(core_count(), crowded),
        "num_gpus": len(list_gpus()),
        "include_dashboard": False,
        "object_store_memory": _STORE_BYTES,
        "_temp_dir": str(folder),
        "_node_ip_address": "127.0.0.1",  # whoever reaches its ports can run code
    }
    logging.getLogger(_TOKENS_LOGGER).setLevel(logging.ERROR)  # it warns whichever way tokens are set up
    try:
        _init(request, {**own, **options}, _OWN_RAY)
    except BaseException:
        left.close()
        raise
    return left.close


def _init(request: RayRequest, options: Mapping[str, Any], settings: Mapping[str, str]) -> None:
    try:
        with environment({**_QUIET, **settings}), _own_signals():
            ray.init(**options, runtime_env=dict(request.runtime_env) or None)
    except (ConnectionError, RuntimeError, ValueError, TypeError, TimeoutError, OSError, RuntimeEnvSetupError) as error:
        ray.shutdown()  # it may have connected before it looked at all that it was given
        raise RequestError(_why_not(request, error)) from error


def _why_not(request: RayRequest, error: Exception) -> str:
    reason, address = in_one_line(error), request.address
    if request.runtime_env and isinstance(error, ValueError | TypeError | RuntimeEnvSetupError):
        return f"--runtime-env: {reason}"
    if address is None:
        return f"Ray cannot be started here: {reason}"
    if address == "auto" and isinstance(error, ConnectionError):
        return _NO_RAY_HERE
    remedy = ": install the same versions here and there" if reason.startswith("Version mismatch") else ""
    return f"--ray-address {address}: {reason}{remedy}"


def _check_joinable(address: str) -> None:
    """Refuse soon what `ray.init` would try for a minute or two."""
    if address == "auto":
        if not _has_node_of(None):  # Ray would look for a cluster that has crashed, as its file in /tmp remembers it
            raise RequestError(_NO_RAY_HERE)
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise RequestError(f"--ray-address takes 'auto' or HOST:PORT, received {address!r}")
    if reason := _why_not_open(host, int(port)) or _why_not_well(address):
        raise RequestError(f"--ray-address {address} does not answer ({reason}): {_START_RAY.format('there')}")
    if not _has_node_of(port):
        raise RequestError(
            f"--ray-address {address}: this machine is no node of that cluster: ray start --address={address}"
        )


def _why_not_open(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error) if isinstance(error, OSError) else "there is no such port"
    return ""


def _why_not_well(address: str) -> str:
    # In a process of its own: what connects here to something else than Ray gives up after two minutes only.
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--skip-version-check"]
    try:
        subprocess.run([*check, "--address", address], timeout=_HEALTH_SECONDS, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error) if isinstance(error, OSError) else "what listens there is no Ray"
    return ""


def _has_node_of(port: str | None) -> bool:
    """Return True where a node runs on this machine, of the cluster whose head listens on a port if there is one.

    The host is not compared: a node may know the head by another name. Neither is what may not be read: the command
    line of another user's node on some systems.
    """
    known = [one.info for one in psutil.process_iter(["name", "status", "cmdline"])]
    # A node that has crashed stays a zombie where nothing collects it, as in many containers.
    raylets = [one for one in known if one["name"] == "raylet" and one["status"] != psutil.STATUS_ZOMBIE]
    return any(port in (None, *_ports_of_heads(one["cmdline"])) or one["cmdline"] is None for one in raylets)


def _ports_of_heads(command: list[str] | None) -> list[str]:
    return [option.rpartition(":")[2] for option in command or [] if option.startswith("--gcs-address=")]


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep Ray from taking over SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _nodes() -> dict[str, Mapping[str, float]]:
    """Return by name what each living node has in all."""
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in known if node["Alive"]]
    return {f"node {node['NodeManagerHostname']}-{node['NodeID'][:4]}": _counted(node["Resources"]) for node in alive}


def _counted(resources: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is no amount to choose by: bytes of memory, names of nodes."""
    return {
        name: amount
        for name, amount in resources.items()
        if not name.startswith("node:") and name not in ("memory", "object_store_memory")
    }


def _room(node: Mapping[str, float], demand: Mapping[str, float]) -> int:
    return min(math.floor(node.get(name, 0.0) / amount + 1e-6) for name, amount in demand.items() if amount)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _is_users_own(module: ModuleType) -> bool:
    """Return True for a module that is neither Python's, nor installed, nor ours."""
    path = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "__main__")
    if path is None or name == "__main__" or name.partition(".")[0] in _OWN_PACKAGES:
        return False
    installed = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    return not any(Path(path).is_relative_to(folder) for folder in installed)
