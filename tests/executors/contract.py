"""The contract of executors: every one passes these tests, in a subclass that says how to make it.

    class TestMine(ExecutorContract):
        @pytest.fixture(scope="class")
        @classmethod
        def make_executor(cls): ...       # () -> a fresh Executor of two slots, not started

    @pytest.fixture(scope="session")
    def log_path(): ...                   # where it logs

The builders are closures: they travel by value, and tell of themselves through files.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from called_in_worker import hang

from automl.errors import CallTimeoutError, SpaceError, SurroundingsError
from automl.executors.base import Ended, Event, Executor, Reported
from automl.objective import Objective
from automl.records import Config, Decision, EpochReport, TrialResult, TrialState
from automl.search_space import Build
from automl.training.job import TrialJob

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE
DEADLINE = TrialResult(state=TrialState.PRUNED, reason="deadline")
TIMEOUT = TrialResult(state=TrialState.FAILED, reason="timeout", message="it took too long")
_PATIENCE_SECONDS = 60.0  # a hang, not a measure of speed
_SIGKILL = 9

MakeExecutor = Callable[[], Executor]
Decide = Callable[[Reported], Decision]


def make_build() -> Build:
    """Return a builder whose config says what happens: `mode`, and `path` to write to."""

    def build(config: Config, spec: Any) -> Any:
        import os
        import subprocess
        from pathlib import Path

        import keras

        def hang(mode: str) -> None:
            import ctypes
            import threading
            import time

            if mode == "sleep-in-c":  # without letting go of the interpreter
                ctypes.PyDLL(None).sleep(600)
            if mode == "sleep-in-thread":
                thread = threading.Thread(target=hang, args=["sleep"])
                thread.start()
                thread.join()
            time.sleep(600)

        if "sleeper" in config:  # what a user's code may start, and leave
            Path(config["sleeper"]).write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        mode = config.get("mode", "train")
        if "path" in config:
            Path(config["path"]).write_text(str(os.getpid()))
        if mode == "raise":
            raise ValueError("no such layer")
        if mode == "exhaust":
            raise MemoryError
        if mode == "kill":
            os.kill(os.getpid(), 9)
        if mode == "die-once" and not Path(config["flag"]).exists():
            Path(config["flag"]).touch()
            mode = "die-in-epoch-2"
        if mode.startswith("take"):
            import time

            taken = keras.taken = getattr(keras, "taken", []) if config.get("leaks") else []
            for _ in range(config["mib"] // 16):
                taken.append(b"x" * 2**24)
                time.sleep(0.01)
        if mode == "take-and-block":
            Path(config["taken"]).write_text("1")
            mode = "block"
        if mode == "exit":
            print("nothing will do", flush=True)  # noqa: T201 - what a user's code may say
            os._exit(3)
        if mode.startswith("sleep"):
            hang(mode)
        if mode == "block":
            with open(config["fifo"]) as fifo:  # until somebody writes: nobody does
                fifo.read()

        class DiesInEpoch2(keras.Model):
            def train_step(self, data: Any) -> Any:
                import tensorflow as tf

                def count() -> bool:
                    steps.append(1)
                    if len(steps) == 2:  # one batch an epoch
                        os.kill(os.getpid(), 9)
                    return True

                with tf.control_dependencies([tf.py_function(count, [], tf.bool)]):
                    return super().train_step(data)

        steps: list[int] = []
        inputs = keras.Input(spec.input_shape)
        outputs = keras.layers.Dense(spec.output.units, activation="softmax")(inputs)
        return (DiesInEpoch2 if mode == "die-in-epoch-2" else keras.Model)(inputs, outputs)

    return build


def make_job(number: int = 0, **changes: Any) -> TrialJob:
    values: dict[str, Any] = {
        "number": number,
        "config": {"batch_size": 1000},
        "seed": 100 + number,
        "epochs": 3,
        "patience": 0,
        "objective": Objective("val_accuracy", "max"),
    } | changes
    return TrialJob(**values)


def wait_until(
    executor: Executor, is_enough: Callable[[list[Event]], bool], decide: Decide | None = None
) -> list[Event]:
    """Collect events, answering every report (CONTINUE unless `decide` says otherwise), until they are enough."""
    events: list[Event] = []
    quiet = 0.0
    while not is_enough(events):
        fresh = executor.wait(1.0)
        quiet = 0.0 if fresh else quiet + 1.0
        assert quiet < _PATIENCE_SECONDS, f"nothing happens after {events}"
        for event in fresh:
            events.append(event)
            if isinstance(event, Reported):
                executor.decide(event.job, decide(event) if decide else CONTINUE)
    return events


def finish(executor: Executor, *jobs: TrialJob, decide: Decide | None = None) -> list[Event]:
    """Run jobs to their ends."""
    for job in jobs:
        executor.submit(job)
    return wait_until(executor, lambda _: not executor.running, decide)


def reports_of(events: list[Event], number: int = 0) -> list[EpochReport]:
    return [event.report for event in events if isinstance(event, Reported) and event.job.number == number]


def epochs_of(events: list[Event], number: int = 0) -> list[int]:
    return [report.epoch for report in reports_of(events, number)]


def result_of(events: list[Event], number: int = 0) -> TrialResult:
    (ended,) = [event for event in events if isinstance(event, Ended) and event.job.number == number]
    return ended.result


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.05)


def return_spec_name(build: Build, prepared: Any, *, suffix: str) -> tuple[str, int]:
    return prepared.spec.name + suffix, os.getpid()


def refuse(build: Build, prepared: Any, *, message: str) -> None:
    raise SpaceError(message)


def fill(build: Build, prepared: Any) -> None:
    try:
        Path("/dev/full").write_text("no room")
    except OSError as error:
        raise RuntimeError("the model was not saved") from error


def stumble(build: Build, prepared: Any) -> None:
    raise ZeroDivisionError("by nought")


def die(build: Build, prepared: Any) -> None:
    os.kill(os.getpid(), _SIGKILL)


class ExecutorContract:
    """What every executor does."""

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls, make_executor: MakeExecutor, prepared_folder: Path) -> Iterator[Executor]:
        """One executor for all tests of the class: starting workers is what costs."""
        executor = make_executor()
        try:
            executor.start()
            executor.prepare(prepared_folder, make_build())
            yield executor
        finally:
            executor.close()

    def test_a_trial_runs_and_reports_every_epoch(self, executor: Executor) -> None:
        job = make_job()
        executor.submit(job)
        assert list(executor.running) == [job]
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == [1, 2, 3]
        result = result_of(events)
        assert (result.state, result.reason, result.message) == (TrialState.COMPLETE, "epochs", "")
        assert result.parameter_count == 64 * 10 + 10
        assert result.resident_memory_bytes > 2**20
        assert result.wall_seconds >= sum(event.report.seconds for event in events if isinstance(event, Reported))
        report = next(event.report for event in events if isinstance(event, Reported))
        assert {"loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"} <= set(report.metrics)

    def test_what_a_trial_prints_goes_to_the_log(
        self, executor: Executor, prepared_folder: Path, log_path: Path
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

    def test_as_many_trials_run_at_a_time_as_there_are_slots(self, executor: Executor) -> None:
        assert executor.slot_count == 2
        one, two = make_job(0), make_job(1)
        executor.submit(one)
        executor.submit(two)
        assert {job.number for job in executor.running} == {0, 1}
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events, 0) == epochs_of(events, 1) == [1, 2, 3]

    def test_the_same_job_gives_the_same_curve_wherever_it_runs(self, executor: Executor) -> None:
        events = finish(executor, make_job(0, seed=5), make_job(1, seed=5))
        events += finish(executor, make_job(2, seed=5))
        curves = [
            [event.report.metrics for event in events if isinstance(event, Reported) and event.job.number == number]
            for number in range(3)
        ]
        assert len(curves[0]) == 3
        assert curves[0] == curves[1] == curves[2]

    @pytest.mark.parametrize("last", [1, 2, 3])
    def test_stop_ends_a_trial_and_nothing_after_it_is_reported(self, executor: Executor, last: int) -> None:
        events = finish(executor, make_job(), decide=lambda event: STOP if event.report.epoch == last else CONTINUE)
        assert epochs_of(events) == list(range(1, last + 1))
        assert (result_of(events).state, result_of(events).reason) == (TrialState.PRUNED, "")

    def test_a_paused_trial_goes_on_where_it_was(self, executor: Executor, tmp_path: Path) -> None:
        job = make_job(epochs=4, checkpoint_folder=tmp_path / "000000")
        before = finish(executor, job, decide=lambda event: PAUSE if event.report.epoch == 2 else CONTINUE)
        assert epochs_of(before) == [1, 2]
        assert result_of(before).state is TrialState.PAUSED
        after = finish(executor, job)
        assert reports_of(after)[:2] == reports_of(before)  # not trained again
        whole = finish(executor, make_job(epochs=4))
        assert [one.metrics for one in reports_of(after)] == [one.metrics for one in reports_of(whole)]
        assert result_of(after).state is TrialState.COMPLETE

    def test_a_late_stop_counts_as_a_prompt_one(self, executor: Executor) -> None:
        executor.submit(make_job(epochs=2))
        (event,) = wait_until_reported(executor)
        assert executor.wait(0.0) == []  # no report before the decision
        executor.decide(event.job, STOP)
        events = wait_until(executor, lambda _: not executor.running)
        assert epochs_of(events) == []
        assert result_of(events).state is TrialState.PRUNED

    def test_a_build_that_raises_is_an_invalid_model(self, executor: Executor) -> None:
        events = finish(executor, make_job(config={"mode": "raise"}))
        result = result_of(events)
        assert (result.state, result.reason) == (TrialState.FAILED, "invalid_model")
        assert result.message.endswith("ValueError: no such layer")
        assert epochs_of(events) == []

    def test_a_build_that_kills_its_process_fails_its_trial_only(self, executor: Executor) -> None:
        events = finish(executor, make_job(0, config={"mode": "kill"}), make_job(1))
        result = result_of(events, 0)
        assert (result.state, result.reason) == (TrialState.FAILED, "crashed")
        assert self.death_words in result.message
        assert result.is_transient  # nobody knows whose fault it was
        assert result_of(events, 1).state is TrialState.COMPLETE
        assert result_of(finish(executor, make_job(2)), 2).state is TrialState.COMPLETE

    death_words = "SIGKILL"

    def test_abandon_ends_what_does_not_end(self, executor: Executor, tmp_path: Path) -> None:
        job = make_job(config={**blocking(tmp_path), "sleeper": str(tmp_path / "sleeper")})
        executor.submit(job)
        pid = pid_written_to(tmp_path / "fifo-path", executor)
        executor.abandon(job, DEADLINE)
        events = wait_until(executor, lambda events: bool(events))
        (ended,) = events
        assert isinstance(ended, Ended)
        assert ended.job is job
        assert replace(ended.result, wall_seconds=0.0) == DEADLINE
        assert ended.result.wall_seconds > 0
        assert not executor.running
        wait_until_dead(pid)
        wait_until_dead(int((tmp_path / "sleeper").read_text()))
        executor.decide(job, CONTINUE)  # ignored
        assert result_of(finish(executor, make_job(1)), 1).state is TrialState.COMPLETE

    def test_a_trial_that_hangs_says_where(self, executor: Executor, tmp_path: Path) -> None:
        job = make_job(config=blocking(tmp_path))
        executor.submit(job)
        pid = pid_written_to(tmp_path / "fifo-path", executor)
        executor.abandon(job, TIMEOUT)
        result = result_of(wait_until(executor, lambda events: bool(events)))
        assert (result.state, result.reason) == (TrialState.FAILED, "timeout")
        *said, headline = result.message.splitlines()
        assert headline == TIMEOUT.message
        assert said[1].endswith("in build")
        wait_until_dead(pid)

    def test_call_returns_what_the_function_returns(self, executor: Executor) -> None:
        name, pid = executor.call(return_spec_name, suffix="!")
        assert name == "tiny!"
        assert pid != os.getpid()

    def test_call_raises_our_errors_and_types_the_others(self, executor: Executor) -> None:
        with pytest.raises(SpaceError, match=r"^build fails$"):
            executor.call(refuse, message="build fails")
        with pytest.raises(SurroundingsError, match="by nought"):
            executor.call(stumble)
        with pytest.raises(OSError, match="No space left") as caught:
            executor.call(fill)
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(SurroundingsError, match="died"):
            executor.call(die)
        assert executor.call(return_spec_name, suffix="?")[0] == "tiny?"

    def test_a_call_that_hangs_is_ended_and_says_where(self, executor: Executor, tmp_path: Path) -> None:
        """It hangs in C, where nothing within its process would end it; its waiting is told."""
        pids, waited = tmp_path / "pids", []
        with pytest.raises(CallTimeoutError, match=r"longer than 2 s; it stood in \S+in_worker.py, line \d+, in hang$"):
            executor.call(hang, pids=str(pids), timeout_seconds=2.0, waiting=waited.append)
        for pid in pids.read_text().split():
            wait_until_dead(int(pid))
        assert max(waited) > 0
        assert executor.call(return_spec_name, suffix="?")[0] == "tiny?"

    def test_a_builder_that_cannot_travel_is_refused_here(self, executor: Executor, prepared_folder: Path) -> None:
        lock = threading.Lock()
        with pytest.raises(SpaceError, match="cannot be sent"):
            executor.prepare(prepared_folder, lambda config, spec: lock)

    def test_close_leaves_nothing_running(
        self, make_executor: MakeExecutor, prepared_folder: Path, tmp_path: Path
    ) -> None:
        executor = make_executor()
        try:
            executor.start()
            executor.prepare(prepared_folder, make_build())
            left = {"batch_size": 1000, "sleeper": str(tmp_path / "left")}
            finish(executor, make_job(config=left, epochs=1))
            executor.submit(make_job(config={**blocking(tmp_path), "sleeper": str(tmp_path / "sleeper")}))
            _, idle = executor.call(return_spec_name, suffix="")
            busy = pid_written_to(tmp_path / "fifo-path", executor)
        finally:
            executor.close()
        assert idle != busy
        assert not is_alive(idle)
        assert not is_alive(busy)
        for name in ("left", "sleeper"):
            wait_until_dead(int((tmp_path / name).read_text()))
        executor.close()  # a second time does no harm


def wait_until_reported(executor: Executor) -> list[Reported]:
    while not (events := [event for event in executor.wait(1.0) if isinstance(event, Reported)]):
        pass
    return events


def blocking(tmp_path: Path) -> Config:
    """Return a config whose build tells its process id by one pipe, and blocks on another."""
    paths = {name: tmp_path / f"fifo-{name}" for name in ("fifo", "path", "taken")}
    for path in paths.values():
        os.mkfifo(path)
    return {"mode": "block"} | {name: str(path) for name, path in paths.items()}


def pid_written_to(path: Path, executor: Executor) -> int:
    """Return what a build writes to a pipe; on a cluster it is sent to its slot only while somebody waits."""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        written = b""
        while not written:
            assert executor.wait(0.1) == []
            with suppress(BlockingIOError):
                written = os.read(pipe, 100)
        return int(written)
    finally:
        os.close(pipe)
