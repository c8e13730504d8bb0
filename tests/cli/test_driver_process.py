"""A real driver that is killed, joined by a second one, or told to stop twice; a worker outlives none of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from command import run_automl
from shared_memory import shared_memory_of

import automl as automl_package
from automl.records import TrialState

_OPTIONS = ["--workers", "1", "--finalists", "0", "--no-mlflow", "--scheduler", "none", "--patience", "0"]


@contextmanager
def _driving(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a driver until its first trial has ended."""
    command = [str(Path(sys.executable).with_name("automl")), *arguments]
    environment = {**os.environ, "AUTOML_HOME": str(folder / "home")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stderr is not None
            assert any(line.startswith("trial ") for line in driver.stderr)
            yield driver
        finally:
            driver.kill()


def _workers(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    workers = psutil.Process(driver.pid).children(recursive=True)
    assert workers
    return workers


def test_a_killed_driver_leaves_no_worker_and_its_study_to_the_next(tmp_path: Path) -> None:
    search = ["search", "digits", "--name", "one", "--trials", "4", "--epochs", "30", *_OPTIONS]
    with _driving(tmp_path, *search) as driver:
        refused = run_automl(["resume", "one"], cwd=tmp_path)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert f"is being searched by process {driver.pid}" in refused.err
        workers = _workers(driver)
        shared = shared_memory_of([psutil.Process(driver.pid), *workers])
        driver.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
        assert not [path for path in shared if path.exists()]
    before = [one for one in automl_package.load_result("one", home=tmp_path / "home").trials if one.state.is_final]
    ran = run_automl(["resume", "one"], cwd=tmp_path)
    assert ran.code == 0, ran.err
    after = automl_package.load_result("one", home=tmp_path / "home").trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * 4
    assert list(after[: len(before)]) == before


def test_a_second_ctrl_c_ends_at_once_and_sigterm_in_order(tmp_path: Path) -> None:
    first = ["search", "digits", "--name", "two", "--trials", "50", "--epochs", "9", *_OPTIONS]
    for arguments, signals in ((first, [signal.SIGINT] * 2), (["resume", "two"], [signal.SIGTERM])):
        with _driving(tmp_path, *arguments) as driver:
            workers = _workers(driver)
            for number in signals:
                driver.send_signal(number)
                time.sleep(0.1)  # two at once would be one
            assert driver.stderr is not None
            rest = driver.stderr.read()
            assert driver.wait(30) == 130
        assert "Traceback" not in rest
        assert rest.splitlines()[-1] == "automl: interrupted: everything is kept; go on with: automl resume two"
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
