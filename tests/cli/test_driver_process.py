"""A real driver that is killed, joined by a second one, or told to stop twice; a worker outlives none of them."""

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

import psutil
from command import Run
from shared_memory import shared_memory_of

import automl as automl_package
from automl.records import TrialRecord, TrialState

_OPTIONS = ["--workers", "1", "--finalists", "0", "--no-mlflow", "--scheduler", "none", "--patience", "0"]


@contextmanager
def _driving(folder: Path, *arguments: str, until: str = "trial ", **more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a driver until it says a line that begins so: by default, that its first trial has ended.

    Args:
        folder: The home folder is made in it.
        *arguments: Of the command.
        until: The line's beginning.
        **more: Environment variables.
    """
    command = [str(Path(sys.executable).with_name("automl")), *arguments]
    environment = {**os.environ, "AUTOML_HOME": str(folder / "home"), **more}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stderr is not None
            assert any(line.startswith(until) for line in driver.stderr)
            yield driver
        finally:
            driver.kill()


def _workers(driver: subprocess.Popen[str]) -> list[psutil.Process]:
    workers = psutil.Process(driver.pid).children(recursive=True)
    assert workers
    return workers


def test_a_killed_driver_leaves_no_worker_and_its_study_to_the_next(tmp_path: Path, automl: Run) -> None:
    search = ["search", "digits", "--name", "one", "--trials", "3", "--epochs", "30", *_OPTIONS]
    with _driving(tmp_path, *search) as driver:
        refused = automl("resume", "one")
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert f"is being searched by process {driver.pid}" in refused.err
        workers = _workers(driver)
        shared = shared_memory_of([psutil.Process(driver.pid), *workers])
        driver.kill()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive
        assert not [path for path in shared if path.exists()]
    before = [one for one in automl_package.load_result("one", home=tmp_path / "home").trials if one.state.is_final]
    ran = automl("resume", "one")
    assert ran.code == 0, ran.err
    after = automl_package.load_result("one", home=tmp_path / "home").trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * 3
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


def test_a_second_signal_while_the_last_words_are_written_still_says_how_to_go_on(tmp_path: Path) -> None:
    """Nobody answers where MLflow should, which the end of a search waits for."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        mlflow = f"http://127.0.0.1:{bound.getsockname()[1]}"
        options = [option for option in _OPTIONS if option != "--no-mlflow"]
        search = ["search", "digits", "--name", "three", "--trials", "500", "--epochs", "9", *options]
        with _driving(tmp_path, *search, until="MLflow at", MLFLOW_TRACKING_URI=mlflow) as driver:
            workers = _workers(driver)
            driver.send_signal(signal.SIGINT)
            _, alive = psutil.wait_procs(workers, timeout=30)
            assert not alive
            time.sleep(0.2)
            driver.send_signal(signal.SIGTERM)
            assert driver.stderr is not None
            rest = driver.stderr.read()
            assert driver.wait(30) == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "automl: interrupted: everything is kept; go on with: automl resume three"


_SLOW_SPACE = """
import time

from automl import SearchSpace, input_layers, output_layers, training_parameters

def build(config, spec):
    import keras
    import tensorflow as tf

    class Resting(keras.layers.Layer):
        def call(self, rows):
            return tf.ensure_shape(tf.numpy_function(self.rest, [rows], tf.float32), rows.shape)

        def rest(self, rows):
            time.sleep(0.9)  # a step of training, and one of validation: two epochs take longer than the least wait
            return rows

    inputs, x = input_layers(spec)
    return keras.Model(inputs, output_layers(Resting()(x), spec))

space = SearchSpace("resting", [*training_parameters(batch_size=256)], build)
"""


def _only_trial(folder: Path) -> TrialRecord | None:
    trials = automl_package.load_result("four", home=folder / "home").trials
    return trials[0] if trials else None


def test_one_ctrl_c_waits_for_the_checkpoints_of_long_epochs(tmp_path: Path, automl: Run) -> None:
    (tmp_path / "resting.py").write_text(_SLOW_SPACE)
    options = [*_OPTIONS, "--trials", "1", "--epochs", "4"]
    search = ["search", "iris", "--space", str(tmp_path / "resting.py:space"), "--name", "four", *options]
    with _driving(tmp_path, *search, until="four: searching") as driver:
        while (running := _only_trial(tmp_path)) is None or not running.epochs:
            assert driver.poll() is None
            time.sleep(0.2)
        driver.send_signal(signal.SIGINT)
        assert driver.stderr is not None
        rest = driver.stderr.read()
        assert driver.wait(30) == 130
    assert "running trials write checkpoints first" in rest
    paused = _only_trial(tmp_path)
    assert paused is not None
    assert 1 < len(paused.epochs) < 4
    assert list((tmp_path / "home" / "studies" / "four" / "checkpoints").glob("*/*.npz"))
    ran = automl("resume", "four")
    assert ran.code == 0, ran.err
    ended = _only_trial(tmp_path)
    assert ended is not None
    assert ended.state is TrialState.COMPLETE
    assert ended.epochs[: len(paused.epochs)] == paused.epochs  # with their seconds: they were not trained again
