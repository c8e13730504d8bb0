"""Real MLflow stores and servers for tests, and what is in them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracked_studies import SPEC

from automl.study_record import StudyRecord
from automl.tracking.mlflow import MlflowTracker, embedded_uri

EPOCH_METRICS = ["accuracy", "epoch_seconds", "learning_rate", "loss", "val_accuracy", "val_loss"]


def track(home: Path, *records: StudyRecord) -> int:
    """Write records as one process would, from its first update to its end."""
    tracker = MlflowTracker(embedded_uri(home), artifact_root=home / "artifacts")
    for record in records:
        tracker.update(record)
    return tracker.close(timeout_seconds=30)


def runs(client: Any, kind: str, dataset: str = "digits") -> list[Any]:
    """Return the runs of one kind that are not in the trash, by name."""
    experiment = client.get_experiment_by_name(dataset)
    found = client.search_runs([experiment.experiment_id], f"tags.`automl.kind` = '{kind}'")
    return sorted(found, key=lambda run: str(run.info.run_name))


def steps(client: Any, run: Any, metric: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run.info.run_id, metric)]


def assert_written_once(client: Any, record: StudyRecord) -> None:
    """Compare everything that can be written twice with the record."""
    children = runs(client, "trial")
    assert [run.data.tags["automl.trial"] for run in children] == [str(one.number) for one in record.trials]
    for run, one in zip(children, record.trials, strict=True):
        for metric in EPOCH_METRICS:
            assert steps(client, run, metric) == [report.epoch for report in one.epochs]
        assert steps(client, run, "value") == [0]
        assert run.data.tags["automl.state"] == one.state
        assert run.data.params["hidden.1.units"] == "32"
        assert run.inputs.dataset_inputs[0].dataset.digest == SPEC.fingerprint[:36]
    (parent,) = runs(client, "study")
    assert steps(client, parent, "value") == [one.number for one in record.trials]
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def server(home: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", embedded_uri(home)]
    command += ["--artifacts-destination", str(home / "served")]
    environment = os.environ | {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (home / "server.log").open("a") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home, start_new_session=True)
        try:
            _wait_for(port)
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # An outage does not say goodbye.
            process.wait(timeout=20)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the MLflow server does not listen")
