"""The local executor: the contract, and what only processes of this machine can show."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from called_in_worker import tell_process
from contract import (
    DEADLINE,
    TIMEOUT,
    ExecutorContract,
    blocking,
    epochs_of,
    finish,
    is_alive,
    make_build,
    make_job,
    pid_written_to,
    result_of,
    wait_until,
    wait_until_reported,
)
from mlflow import MlflowClient
from tracking.tracked_studies import NOLOAD

import automl as automl_package
from automl.data import PreparedDataset
from automl.driver import Driver
from automl.errors import NoUsableModelError, SurroundingsError
from automl.executors.devices import Slot, merge_slots
from automl.executors.local import LocalExecutor
from automl.objective import Objective
from automl.parameters import Choice
from automl.records import Decision, TrialState
from automl.search_loop import SearchLoop
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.tracking.base import NullTracker, Tracker
from automl.tracking.mlflow import MlflowTracker, embedded_uri

_CPU = {"CUDA_VISIBLE_DEVICES": ""}

MakeLocal = Callable[[], LocalExecutor]


@pytest.fixture(scope="session")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "workers.log"


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_executor(cls, log_path: Path) -> MakeLocal:
        return lambda: LocalExecutor([Slot(threads=1, environment=_CPU)] * 2, log_path=log_path)

    def test_death_before_a_late_stop_is_no_failure(self, executor: LocalExecutor, tmp_path: Path) -> None:
        """The worker has died in the epoch that it trained ahead before it was told to stop after the one before."""
        pid_path = tmp_path / "pid"
        config = {"mode": "die-in-epoch-2", "batch_size": 1000, "path": str(pid_path)}
        executor.submit(make_job(config=config))
        (event,) = wait_until_reported(executor)
        psutil.Process(int(pid_path.read_text())).wait(60)
        executor.decide(event.job, Decision.STOP)
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == []
        assert result_of(events).state is TrialState.PRUNED

    @pytest.mark.parametrize(
        ("number", "reason"), [(signal.SIGHUP, "interrupted"), (signal.SIGSEGV, "crashed"), (signal.SIGKILL, "crashed")]
    )
    def test_a_signal_says_why_a_trial_ended(
        self, executor: LocalExecutor, tmp_path: Path, number: signal.Signals, reason: str
    ) -> None:
        if signal.getsignal(number) is signal.SIG_IGN:
            pytest.skip(f"{number.name} is ignored here, as under nohup")
        job = make_job(config=blocking(tmp_path))
        executor.submit(job)
        os.kill(pid_written_to(tmp_path / "fifo-path", executor), number)
        result = result_of(wait_until(executor, lambda _: not executor.running))
        assert (result.state, result.reason, result.is_transient) == (TrialState.FAILED, reason, True)
        *said, headline = result.message.splitlines()
        assert number.name in headline
        if number is signal.SIGSEGV:
            assert said[0] == "Fatal Python error: Segmentation fault"
            assert said[1].endswith("in build")
            assert len(said) <= 6

    def test_an_exit_is_a_crash_with_its_code(self, executor: LocalExecutor) -> None:
        executor.wait_ready()  # what a worker prints as it starts is in the same log
        result = result_of(finish(executor, make_job(config={"mode": "exit"})))
        assert (result.reason, result.is_transient) == ("crashed", True)
        *said, headline = result.message.splitlines()
        assert "exit code 3" in headline
        assert said[0] == "printed last in workers.log, by this worker or another:"
        assert said[-1] == "nothing will do"

    @pytest.mark.parametrize("mode", ["sleep", "sleep-in-c", "sleep-in-thread"])
    def test_a_trial_that_hangs_says_where_whatever_it_hangs_in(
        self, executor: LocalExecutor, tmp_path: Path, mode: str, log_path: Path
    ) -> None:
        job = make_job(config={**blocking(tmp_path), "mode": mode})
        executor.submit(job)
        pid_written_to(tmp_path / "fifo-path", executor)
        time.sleep(0.2)  # from there to where it hangs
        executor.abandon(job, TIMEOUT)
        *said, _ = result_of(wait_until(executor, bool)).message.splitlines()
        assert any(line.endswith("in hang") for line in said)
        assert not any("_end_with_driver" in line for line in said)
        assert "in hang" in log_path.read_text()

    def test_a_trial_that_was_stopped_says_nothing_and_is_not_waited_for(
        self, executor: LocalExecutor, tmp_path: Path
    ) -> None:
        job = make_job(config=blocking(tmp_path))
        executor.submit(job)
        os.kill(pid_written_to(tmp_path / "fifo-path", executor), signal.SIGSTOP)
        began = time.monotonic()
        executor.abandon(job, TIMEOUT)
        assert time.monotonic() - began < 5
        assert result_of(wait_until(executor, bool)).message == TIMEOUT.message

    def test_what_other_workers_say_is_no_crash_of_this_one(self, executor: LocalExecutor, tmp_path: Path) -> None:
        """All write to one log; what faulthandler writes is each one's own."""
        (tmp_path / "one").mkdir()
        one, other = make_job(0, config=blocking(tmp_path / "one")), make_job(1, config=blocking(tmp_path))
        executor.submit(one)
        executor.submit(other)
        died = pid_written_to(tmp_path / "one" / "fifo-path", executor)
        killed = pid_written_to(tmp_path / "fifo-path", executor)
        os.kill(died, signal.SIGSEGV)
        wait_until(executor, lambda _: len(executor.running) == 1)
        os.kill(killed, signal.SIGKILL)
        result = result_of(wait_until(executor, lambda _: not executor.running), 1)
        assert "SIGKILL" in result.message.splitlines()[-1]
        assert result.message.splitlines()[0] == "printed last in workers.log, by this worker or another:"

    def test_dead_workers_do_not_pile_up(self, executor: LocalExecutor) -> None:
        job = make_job()
        executor.submit(job)
        executor.abandon(job, DEADLINE)
        finish(executor, make_job(config={"mode": "kill"}))
        assert {child.pid for child in psutil.Process().children()} == set(executor.process_ids)

    def test_a_search_goes_on_after_a_worker_has_died(
        self, executor: LocalExecutor, prepared_folder: Path, tmp_path: Path
    ) -> None:
        """The trial that it took with it runs again, in another worker, and gives what it would have given."""
        flag = str(tmp_path / "flag")
        space = SearchSpace(
            "dying", [Choice("mode", ["die-once"]), Choice("batch_size", [1000]), Choice("flag", [flag])], print
        )
        curves = []
        for name in ("disturbed", "whole"):
            record = _searched(tmp_path / name, space, PreparedDataset.open(prepared_folder), executor)
            (trial,) = record.trials
            assert trial.state is TrialState.COMPLETE
            assert [one.reason for one in trial.attempts] == (["crashed"] if name == "disturbed" else [])
            assert trial.lost_seconds < 60
            curves.append([one.metrics for one in trial.epochs])
        assert curves[0] == curves[1]


def test_workers_that_cannot_start_are_the_surroundings_fault(tmp_path: Path) -> None:
    executor = LocalExecutor(
        [Slot(threads=1, environment={**_CPU, "PYTHONHOME": "nowhere"})], log_path=tmp_path / "workers.log"
    )
    try:
        executor.start()
        executor.log_to(tmp_path / "moved.log")
        with pytest.raises(SurroundingsError, match=r"die before they are ready.*last words: .+; see.*automl doctor"):
            executor.wait_ready()
    finally:
        executor.close()
    assert not psutil.Process().children()
    assert not (tmp_path / "workers.log").exists()
    said = (tmp_path / "moved.log").read_text()
    assert said.count("PYTHONHOME = ") == 3  # of the one that wrote there before, and of those that replaced it


def test_closing_before_the_workers_are_ready_ends_them(tmp_path: Path) -> None:
    executor = LocalExecutor([Slot(threads=1, environment=_CPU)], log_path=tmp_path / "workers.log")
    executor.start()
    (pid,) = executor.process_ids
    executor.close()
    assert not is_alive(pid)


def backend_and_process(build: object, prepared: object) -> tuple[str, int]:
    import os

    import keras

    return keras.backend.backend(), os.getpid()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax: the extra 'jax'")
def test_calls_that_need_another_backend_get_a_worker_of_it(prepared_folder: Path, tmp_path: Path) -> None:
    slot = Slot(threads=1, environment=_CPU)
    executor = LocalExecutor([slot], log_path=tmp_path / "workers.log", backend="jax", also=["tensorflow"])
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        assert executor.call(backend_and_process) == ("jax", *executor.process_ids)
        name, process = executor.call(backend_and_process, backend="tensorflow")
        assert (name, process in executor.process_ids) == ("tensorflow", False)
        assert executor.call(backend_and_process, backend="tensorflow") == (name, process)
        psutil.Process(process).kill()
        with pytest.raises(SurroundingsError, match="SIGKILL"):
            executor.call(backend_and_process, backend="tensorflow")
        # A fresh one, whose import of keras takes longer than the call may.
        assert executor.call(tell_process, backend="tensorflow", timeout_seconds=1.0) != process
    finally:
        executor.close()
    assert not psutil.Process().children()


_DRIVER = """
    import json, sys, time
    from pathlib import Path

    from automl.executors.devices import Slot, merge_slots
    from automl.executors.local import LocalExecutor
    from contract import finish, make_job, result_of

    UNITS, SLEEPERS = 4, sys.argv[3]

    def hidden(x):
        import keras

        return keras.layers.Dense(UNITS)(x)

    def build(config, spec):
        import keras

        inputs = keras.Input(spec.input_shape)
        x = (lambda y: hidden(y))(inputs)
        start_sleeper()
        return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))

    def start_sleeper():
        import subprocess

        with open(SLEEPERS, "a") as file:
            print(subprocess.Popen(["sleep", "600"]).pid, file=file)

    def hang():
        start_sleeper()
        time.sleep(3600)

    slot = Slot(threads=1, environment={"CUDA_VISIBLE_DEVICES": ""})
    executor = LocalExecutor([slot] * 2, log_path=Path(sys.argv[2]))
    executor.start()
    executor.prepare(Path(sys.argv[1]), build)
    executor.wait_ready()
    result = result_of(finish(executor, make_job(), make_job(1)))  # one in each worker
    executor.prepare(Path(sys.argv[1]), lambda config, spec: hang())
    executor.submit(make_job(2))
    while Path(SLEEPERS).read_text().count("\\n") < 3:
        time.sleep(0.1)
    print(json.dumps([result.state.value, result.parameter_count, *executor.process_ids]), flush=True)
    sys.stdin.read()
"""


def test_functions_of_a_script_travel_and_workers_end_with_a_killed_driver(
    prepared_folder: Path, tmp_path: Path
) -> None:
    """Even a worker in which a trial hangs; and what trials have started in them ends as well."""
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(_DRIVER))
    here = os.pathsep.join(map(str, [Path(__file__).parent, Path(automl_package.__file__).parents[1]]))
    files = [prepared_folder, tmp_path / "workers.log", tmp_path / "sleepers"]
    command = [sys.executable, "-W", "ignore", *map(str, [script, *files])]
    with subprocess.Popen(
        command, env={"PYTHONPATH": here}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        state, parameters, *workers = json.loads(driver.stdout.readline())
        sleepers = map(int, (tmp_path / "sleepers").read_text().split())
        processes = [psutil.Process(one) for one in (*workers, *sleepers)]
        driver.kill()
    assert (state, parameters) == ("complete", 64 * 4 + 4 + 4 * 10 + 10)
    assert len(processes) == 5
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def test_fewer_workers_have_the_cores_of_all(log_path: Path, prepared_folder: Path) -> None:
    executor = LocalExecutor([Slot(threads=1, environment=_CPU)] * 2, log_path=log_path)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        before = executor.process_ids
        executor.concentrate(1)
        assert executor.slot_count == 1
        (process_id,) = executor.process_ids
        assert process_id not in before
        assert epochs_of(finish(executor, make_job())) == [1, 2, 3]
        assert psutil.Process(process_id).cmdline()[-1] == "2"  # threads
        executor.concentrate(2)
        assert executor.process_ids == [process_id]
    finally:
        executor.close()
    assert not any(is_alive(one) for one in (*before, process_id))


@pytest.mark.filterwarnings(NOLOAD)
def test_where_a_trial_hung_is_in_its_record_and_in_mlflow(
    log_path: Path, prepared_folder: Path, tmp_path: Path
) -> None:
    space = SearchSpace("hanging", [Choice("mode", ["sleep"]), Choice("batch_size", [1000])], print)
    tracker = MlflowTracker(embedded_uri(tmp_path), artifact_root=tmp_path / "artifacts")
    executor = LocalExecutor([Slot(threads=1, environment=_CPU)], log_path=log_path)
    try:
        executor.start()
        executor.prepare(prepared_folder, make_build())
        prepared = PreparedDataset.open(prepared_folder)
        with pytest.raises(NoUsableModelError, match="timeout: it took longer"):
            _searched(tmp_path / "study", space, prepared, executor, tracker, trial_timeout_seconds=1.0)
        record = Study.open(tmp_path / "study", storage=None).record
        tracker.update(record)
    finally:
        executor.close()
        assert tracker.close(60) == 0
    (hung,) = record.trials
    assert hung.reason == "timeout"
    *said, headline = hung.message.splitlines()
    assert said[1].endswith("in hang")
    assert headline == "it took longer than --trial-timeout allows: 1 s"
    client = MlflowClient(embedded_uri(tmp_path))
    experiment = client.get_experiment_by_name(prepared.spec.name)
    (run,) = client.search_runs([experiment.experiment_id], "tags.`automl.trial` = '0'")
    assert run.data.tags["automl.message"] == hung.message


def _searched(
    folder: Path,
    space: SearchSpace,
    prepared: PreparedDataset,
    executor: LocalExecutor,
    tracker: Tracker | None = None,
    **changes: Any,
) -> StudyRecord:
    folder.mkdir()
    settings = replace(SearchSettings(trials=1, seconds=None, epochs=3, finalists=0), **changes)
    goal = Objective.for_outputs(prepared.spec.outputs)
    study = Study.create(folder, storage=None, space=space, spec=prepared.spec, objective=goal, settings=settings)
    driver = Driver(
        study,
        executor,
        tracker or NullTracker(),
        progress=lambda progress: None,
        is_interrupted=lambda: False,
        started=time.monotonic(),
    )
    SearchLoop(driver).run()
    return study.record


def test_workers_on_gpus_are_not_merged() -> None:
    slots = [Slot(threads=2, environment={"CUDA_VISIBLE_DEVICES": str(index)}) for index in range(2)]
    assert merge_slots(slots, 1) == slots
