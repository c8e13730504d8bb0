"""MLflow that is away, slow or answers nonsense: the search goes on, and later everything is there once."""

from __future__ import annotations

import http.client
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow_stores import assert_written_once, free_port, runs, server, steps
from tracked_studies import FINAL, NOLOAD, SPEC, trial

from automl.cli import main
from automl.errors import SurroundingsError
from automl.home import Home
from automl.objective import Objective
from automl.parameters import Int
from automl.records import EpochReport, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.tracking.mlflow import MlflowTracker, embedded_uri
from automl.tracking.mlflow_sync import send_study

pytestmark = pytest.mark.filterwarnings(NOLOAD)

Make = Callable[..., StudyRecord]


class Gate(ThreadingHTTPServer):
    """Stands before an MLflow server and lets requests through, or not."""

    daemon_threads = True

    def __init__(self, upstream_port: int) -> None:
        self.upstream_port = upstream_port
        self.mode = "open"
        self.opened = threading.Event()
        self.opened.set()
        self.requests = 0
        super().__init__(("127.0.0.1", 0), _Gatekeeper)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Gatekeeper(BaseHTTPRequestHandler):
    server: Gate

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # the client would not wait any longer
            self.close_connection = True

    def answer(self) -> None:
        self.server.requests += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.mode == "open":
            self._pass_on(body)
        elif self.server.mode == "silent":
            self.server.opened.wait(20)
        elif self.server.mode == "hanging up":
            self.connection.close()
        else:
            status, content = {"503": (503, b"out of order"), "nonsense": (200, b"<html>please log in</html>")}[
                self.server.mode
            ]
            self._write(status, content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *arguments: Any) -> None: ...

    def _pass_on(self, body: bytes) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        self._write(answer.status, answer.read())
        upstream.close()

    def _write(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate before a port where nothing listens yet."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")  # a user's own value, which stands
    gate = Gate(free_port())
    thread = threading.Thread(target=gate.serve_forever, daemon=True)
    thread.start()
    yield gate
    gate.opened.set()
    gate.shutdown()
    gate.server_close()


@contextmanager
def trouble(gate: Gate, mode: str) -> Iterator[None]:
    gate.mode = mode
    gate.opened.clear()
    yield
    gate.mode = "open"
    gate.opened.set()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_whatever_a_server_does_meanwhile_each_run_and_epoch_is_there_once(
    home: Path, client: Any, study: Make, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tracker = MlflowTracker(gate.uri, artifact_root=None)
    modes = ["503", "nonsense", "hanging up", "silent"]
    with server(home, gate.upstream_port):
        for count, mode in enumerate(modes, start=1):
            tracker.update(study(*(trial(number) for number in range(2 * count - 1))))
            wait_for(lambda count=count: len(_trials(client)) == 2 * count - 1)  # type: ignore[misc]
            with trouble(gate, mode):
                before = gate.requests
                started = time.monotonic()
                tracker.update(study(*(trial(number) for number in range(2 * count))))
                assert time.monotonic() - started < 0.2
                wait_for(lambda before=before: gate.requests > before)  # type: ignore[misc]
        record = study(*(trial(number) for number in range(9)), final=FINAL)
        tracker.update(record)
        assert tracker.close(timeout_seconds=30) == 0
        assert_written_once(client, record)
        assert steps(client, runs(client, "study")[0], "test_accuracy") == [0]
    levels = [entry.levelname for entry in caplog.records if entry.name.startswith("automl")]
    assert set(levels) == {"WARNING", "INFO"}
    assert len(levels) <= 2 * len(modes)


def _trials(client: Any) -> list[Any]:
    return runs(client, "trial") if client.get_experiment_by_name("digits") else []


def test_a_server_that_is_out_holds_up_the_end_of_a_search_for_seconds_only(
    study: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("automl.tracking.mlflow.OUTAGE_SECONDS", 1.0)
    tracker = MlflowTracker(gate.uri, artifact_root=None)
    with trouble(gate, "503"):
        tracker.update(study(trial(0), trial(1)))
        wait_for(lambda: "the search goes on" in caplog.text)
        started = time.monotonic()
        assert tracker.close(timeout_seconds=30) == 2
        assert time.monotonic() - started < 2


SILENT_SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tracked_studies import SPEC, trial
from automl.objective import Objective
from automl.study_record import StudyRecord
from automl.tracking.mlflow import MlflowTracker

tracker = MlflowTracker(sys.argv[1], artifact_root=None)
tracker.update(StudyRecord(
    name="digits-mlp-001", folder=Path("digits-mlp-001"), dataset=SPEC, space="mlp", space_table=(),
    objective=Objective("val_accuracy", "max"), settings={}, trials=(trial(0),),
))
sys.stdin.readline()
started = time.perf_counter()
assert tracker.close(timeout_seconds=60) == 1
assert time.perf_counter() - started < 9
"""


def test_a_request_without_an_answer_does_not_keep_the_driver_from_ending(gate: Gate) -> None:
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": str(here.parent.parent), "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}
    command = [sys.executable, "-W", "ignore", "-c", SILENT_SCRIPT, gate.uri, str(here)]
    with trouble(gate, "silent"):
        with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True) as driver:
            wait_for(lambda: gate.requests > 0)
            started = time.monotonic()
            driver.communicate("end\n")
        assert driver.returncode == 0
        assert time.monotonic() - started < 15


def test_sync_sends_what_is_missing_once_and_closes_what_a_dead_driver_left(
    home: Path, client: Any, study: Make
) -> None:
    half = trial(2, TrialState.RUNNING, value=None)
    partly = study(trial(0), trial(1), half)
    record = study(*(trial(number) for number in range(2)), half, trial(3), final=FINAL, finalists=(trial(1, seed=9),))
    for one, counts in ((partly, (2, 0)), (record, (2, 2)), (record, (0, 4))):
        sent = send_study(one, embedded_uri(home), home / "artifacts")
        assert (sent.sent, sent.known, sent.refused) == (*counts, 0)
    assert [run.info.status for run in runs(client, "trial")] == ["FINISHED", "FINISHED", "KILLED", "FINISHED"]
    assert all(steps(client, run, "val_loss") == [1, 2, 3] for run in runs(client, "trial"))
    assert steps(client, runs(client, "study")[0], "test_accuracy") == [0]


def test_sync_counts_what_mlflow_refuses(home: Path, client: Any, study: Make) -> None:
    sent = send_study(study(trial(0, config={"..": 1}), trial(1)), embedded_uri(home), home / "artifacts")
    assert (sent.sent, sent.known, sent.refused) == (1, 0, 1)
    assert steps(client, runs(client, "trial")[1], "loss") == [1, 2, 3]


@pytest.mark.parametrize("mode", ["503", "nonsense", "hanging up", "silent"])
def test_sync_says_in_one_line_that_mlflow_does_not_answer(mode: str, study: Make, gate: Gate) -> None:
    address = gate.uri.replace("//", "//me:secret@")
    with trouble(gate, mode), pytest.raises(SurroundingsError, match=r"MLflow at http.* does not answer: ") as caught:
        send_study(study(trial(0)), address, None)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def studies(home: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with two studies of a trial, `tracked` and `untracked`, and one that is none."""
    place = Home(home)
    place.create()
    for name in ("tracked", "untracked"):
        made = Study.create(
            place.new_study_folder(name, ""),
            storage=None,
            space=SearchSpace("made", [Int("units", 1, 9)], print),
            spec=replace(SPEC, name=name),
            objective=Objective("val_accuracy", "max"),
            settings=SearchSettings(trials=1, seconds=None),
            origin={"mlflow": name == "tracked"},
        )
        asked = made.ask()
        assert asked is not None
        made.report(asked.number, EpochReport(epoch=1, metrics={"val_accuracy": 0.8, "val_loss": 0.5}, seconds=1))
        made.tell(asked.number, TrialResult(state=TrialState.COMPLETE, reason="epochs", parameter_count=7))
    place.new_study_folder("empty", "")
    monkeypatch.setenv("AUTOML_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return place


@pytest.fixture
def automl(
    studies: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process; its exit code, and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["automl", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, printed.out, printed.err

    return run


def test_the_command_sends_and_says_so(automl: Callable[..., tuple[int, str, str]], studies: Home) -> None:
    code, out, err = automl("sync", "--all")
    assert (code, err.count("\n")) == (0, 1)
    assert "empty" in err
    assert out == f"tracked: 1 runs sent, 0 were there (MLflow at sqlite:///{studies.path / 'mlflow.db'})\n"
    code, out, err = automl("sync", "tracked", "untracked")
    assert (code, err) == (0, "")
    assert [line.partition(",")[0] for line in out.splitlines()] == [
        "tracked: nothing to send",
        "untracked: 1 runs sent",
    ]
    with studies.driving("tracked"):
        code, out, err = automl("sync", "tracked")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is being searched" in err


def test_the_command_says_that_mlflow_is_out(
    automl: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    for arguments in (["tracked"], ["--all"]):
        code, out, err = automl("sync", *arguments)
        assert (code, out) == (3, "")
        assert err.splitlines()[-1].startswith("automl: MLflow at http://127.0.0.1:")
        assert "does not answer" in err
    for arguments in ([], ["tracked", "--all"]):
        assert automl("sync", *arguments)[0] == 2
