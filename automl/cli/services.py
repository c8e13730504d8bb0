"""`automl ui` and `automl doctor`: the surroundings."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path

import click

from automl.cli.options import Common, WorkerCount, common_options, text_table
from automl.errors import AutomlError, RequestError, SurroundingsError

# No telemetry, and no job runners: they serve evaluations of language models, in nine processes of 240 MB.
_SERVER = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_LOOPBACK_NAMES = ("127.0.0.1", "localhost")
_PACKAGES = ("keras-automl", "tensorflow", "keras", "optuna", "mlflow", "ray", "numpy", "pandas")


@click.command()
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Address to listen on [127.0.0.1].")
@click.option("--port", default=5000, type=click.IntRange(1, 65535), metavar="N", help="Port to listen on [5000].")
@common_options
def ui(common: Common, host: str, port: int) -> None:
    """Serve the MLflow UI over the runs of the home folder, until Ctrl-C."""
    from automl.tracking.mlflow import store_of

    uri, _ = store_of(common.home)
    if not (common.home.path / "mlflow.db").exists() and "MLFLOW_TRACKING_URI" not in os.environ:
        raise RequestError(f"no runs in {common.home.path} yet: start with automl search DATASET")
    _check_port(host, port)
    # Without the query MLflow opens in the mode for language models, which hides the runs.
    common.say(
        f"MLflow UI: http://{_in_url(host)}:{port}/#/experiments?workflowType=machine_learning   (Ctrl-C ends it)"
    )
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += [
        "--default-artifact-root",
        str(common.home.mlflow_artifacts),
        "--host",
        host,
        "--port",
        str(port),
    ]
    if _is_loopback(host):  # a page of elsewhere whose name leads here is not served
        names = dict.fromkeys([*_LOOPBACK_NAMES, _in_url(host)])
        command += ["--allowed-hosts", ",".join(f"{name}:{port}" for name in names)]
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us in the background, deaf to SIGINT
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, "--workers", "1"], env={**os.environ, **_SERVER}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = server.wait()
        except KeyboardInterrupt:
            return
        finally:
            _end_family(server)
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
        raise RequestError(f"the MLflow server ended with exit code {code}: {lines[-1]}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _end_family(server: subprocess.Popen[bytes]) -> None:
    """End the server and every process that it started; it does not end them itself."""
    import psutil

    family = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for process in alive:
        process.kill()
    server.wait()


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise RequestError(
                f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port"
            ) from error


@click.command()
@click.option("--workers", type=WorkerCount(), default="auto", help="Worker processes that would be planned [auto].")
@click.option("--gpus-per-trial", type=float, metavar="F", help="Share of a GPU (0.5), or GPUs, a trial.")
@common_options
def doctor(common: Common, workers: int | str, gpus_per_trial: float | None) -> None:
    """Check the machine, the packages, the home folder, the studies in --storage, and that a worker starts.

    What is damaged in the home folder is repaired where that loses no result, and named where it is left alone.
    """
    storage = _storage(common)  # first: where it is a wrong request, nothing is done
    checks = [
        ("python", True, sys.version.split()[0]),
        *(_package(name) for name in _PACKAGES),
        *_machine(None if workers == "auto" else int(workers), gpus_per_trial),
        *_home(common),
        *storage,
        _worker(),
    ]
    common.give(
        [{"check": name, "ok": good, "found": found} for name, good, found in checks],
        lambda: text_table(
            ["check", "", "found"], [[name, "ok" if good else "FAILS", found] for name, good, found in checks]
        ),
    )
    if not all(good for _, good, _ in checks):
        sys.exit(3)


def _package(name: str) -> tuple[str, bool, str]:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False, "not installed: pip install keras-automl"


def _machine(workers: int | None, gpus_per_trial: float | None) -> list[tuple[str, bool, str]]:
    import psutil

    from automl.cores import core_count
    from automl.executors.devices import plan_slots
    from automl.executors.gpus import list_gpus, why_none

    memory = psutil.virtual_memory()
    slots = plan_slots(workers, gpus_per_trial)
    gpus = [
        f"{one.name}, {one.free_bytes / 2**30:.1f} of {one.memory_bytes / 2**30:.1f} GiB free" for one in list_gpus()
    ]
    return [
        ("cores", True, str(core_count())),
        ("memory", True, f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"),
        *([("gpu", True, gpu) for gpu in gpus] or [("gpu", True, f"none: {why_none()}")]),
        *(("worker", True, str(slot)) for slot in slots),
    ]


def _home(common: Common) -> list[tuple[str, bool, str]]:
    from automl.home_repair import repair_home

    try:
        findings = repair_home(common.home)
    except AutomlError as error:
        return [("home", False, str(error))]
    except OSError as error:
        return [("home", False, f"{error.filename or common.home.path}: {error.strerror or error}")]
    free = shutil.disk_usage(common.home.path).free / 2**30
    summary = f"{common.home.path}, {len(common.home.study_names())} studies, {free:.1f} GiB free"
    return [("home", True, summary), *(("repair", bool(one.done), str(one)) for one in findings)]


def _storage(common: Common) -> list[tuple[str, bool, str]]:
    """Check the storage; one that cannot be opened is a wrong request, and ends the command with that."""
    if common.storage is None:
        return []
    from automl.home_repair import check_storage
    from automl.storage_url import shown_url

    try:
        count, findings = check_storage(common.home, common.storage)
    except SurroundingsError as error:
        return [("storage", False, str(error))]
    summary = f"{shown_url(common.storage)}, {count} studies"
    return [("storage", True, summary), *(("repair", bool(one.done), str(one)) for one in findings)]


def _worker() -> tuple[str, bool, str]:
    from automl.executors.devices import plan_slots
    from automl.executors.local import LocalExecutor

    with tempfile.TemporaryDirectory() as folder:
        executor = LocalExecutor(plan_slots(1), log_path=Path(folder) / "worker.log")
        started = time.monotonic()
        try:
            executor.start()
            executor.wait_ready()
        except AutomlError as error:
            return "start", False, str(error)
        finally:
            executor.close()
    return "start", True, f"a worker is ready in {time.monotonic() - started:.1f} s"
