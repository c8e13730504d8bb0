"""A worker process: `python -m automl.executors.worker PIPE STACKS THREADS`, two file descriptors and a number.

Started once with its environment set, it imports keras, says that it is ready, and then trains trial after trial. It
ends when told to, or when the driver's end of the pipe closes, however the driver died and whatever hangs here.

A decision does not make it wait: while one is under way, the next epoch is trained; if the decision then turns out to
be STOP, that epoch is dropped and never reported. What is reported is the same as if it had waited.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

import cloudpickle
import psutil

from automl.data import PreparedDataset
from automl.errors import AutomlError, SurroundingsError, disk_error
from automl.executors.backends import GPU_MEMORY
from automl.executors.messages import Call, Decide, Prepare, Ready, Report, Result, Returned, RunTrial, Stop
from automl.executors.process_group import kill_group
from automl.executors.stack_file import write_stacks_to
from automl.memory import held_bytes
from automl.records import Config, Decision, TrialResult, TrialState
from automl.search_space import Build
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.replicas import mirror_on
from automl.training.run_trial import Trial, run_trial
from automl.unions import own_fit

_KILLED_FIRST = "500"  # of 1000
_ORDERLY_SECONDS = 3.0  # what the worker is given to end by itself once its driver is gone


def main() -> None:
    """Serve the driver at the other end of the inherited pipe."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are the driver's, which ends its workers in order
        signal.signal(number, signal.SIG_IGN)
    pipe, stacks, threads = map(int, sys.argv[1:])
    write_stacks_to(stacks)
    connection = Connection(pipe)
    Thread(target=_end_with_driver, args=(connection.fileno(),), daemon=True).start()
    with suppress(OSError):  # should memory run out in an instant, the kernel's choice is a worker, not the driver
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    try:
        _import_keras(threads)
        connection.send(Ready(held_bytes(psutil.Process())))
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        kill_group(os.getpid())  # the driver is gone, which else would end what a user's code has started
        sys.exit(0)


def _end_with_driver(pipe: int) -> None:
    """End this process and its group once the driver's end of the pipe is closed, even where the main thread hangs."""
    hang_up = select.poll()
    hang_up.register(pipe, 0)  # a closed end is reported without being asked for; messages are the main thread's
    hang_up.poll()
    time.sleep(_ORDERLY_SECONDS)
    kill_group(os.getpid())
    os._exit(0)


def _import_keras(threads: int) -> None:
    """Import keras and its backend here, so that the first trial does not pay for it."""
    {"tensorflow": _set_up_tensorflow, "jax": _set_up_jax, "torch": _set_up_torch}[os.environ["KERAS_BACKEND"]](threads)
    import keras  # noqa: F401

    gc.freeze()  # what imports made stays: Keras collects garbage at every model, and need not look at it


def _set_up_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cap, gpus = os.environ.get(GPU_MEMORY), tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if cap is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:  # TensorFlow refuses both: a device with a limit grows up to it at once
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=int(cap))
            tf.config.set_logical_device_configuration(gpu, [limited])
    if len(gpus) > 1:
        mirror_on([f"GPU:{number}" for number in range(len(gpus))])


def _set_up_jax(threads: int) -> None:
    import jax

    jax.devices()  # its threads were counted by the environment: see backends.py


def _set_up_torch(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    if cap := os.environ.get(GPU_MEMORY):
        for index in range(torch.cuda.device_count()):
            whole = torch.cuda.get_device_properties(index).total_memory
            torch.cuda.set_per_process_memory_fraction(int(cap) * 2**20 / whole, index)


def _serve(connection: Connection) -> None:
    while True:
        match connection.recv():
            case Prepare() as prepare:
                sys.path[:] = [*sys.path, *(one for one in prepare.import_path if one not in sys.path)]
                data = PreparedDataset.open(Path(prepare.prepared_folder))
                build: Build = _DeferredBuild(prepare.build, sees_driver=prepare.sees_driver)
                graphs = Graphs()
            case RunTrial(job):
                _run(connection, job, run_trial(job, build, data, graphs))
            case Call(function, arguments):
                connection.send(_call(function, build, data, arguments))
            case Decide():
                pass  # to a report of a trial that has ended meanwhile
            case Stop():
                return


class _DeferredBuild:
    """A builder that is unpickled at its first use: what is wrong with it fails a trial, not the worker."""

    def __init__(self, pickled: bytes, *, sees_driver: bool) -> None:
        self._pickled = pickled
        self._sees_driver = sees_driver

    def __call__(self, config: Config, spec: object) -> object:
        build = self._build
        try:
            return build(config, spec)
        except ModuleNotFoundError as error:
            if not self._sees_driver:
                # Modules that were imported before travel with the builder; what it imports when it runs does not.
                remedy = "list it in py_modules of --runtime-env, or import it at the top of the space's file"
                error.msg = f"{error} on node {os.uname().nodename}, which does not have the driver's files: {remedy}"
            raise

    def fit_for(self, config: Config) -> Callable[..., Any] | None:
        return own_fit(self._build, config)

    @cached_property
    def _build(self) -> Build:
        try:
            build: Build = cloudpickle.loads(self._pickled)
        except ImportError as error:
            raise ImportError(f"{error} on {os.uname().nodename}: install it there as well") from error
        return build


def _run(connection: Connection, job: TrialJob, trial: Trial) -> None:
    # Weights are saved of the best reported epoch: where they are wanted, no epoch is trained ahead of its decision.
    trains_ahead = job.weights_path is None
    pending = 0  # the epoch whose decision has not come yet
    try:
        report = next(trial)
        while True:
            if pending and (decision := _decision(connection, pending)) is not Decision.CONTINUE:
                pending = 0
                trial.send(decision)  # `report` is dropped: it was trained while the decision was on its way
            connection.send(Report(report))
            pending, decision = report.epoch, Decision.CONTINUE
            if not trains_ahead or connection.poll():
                decision, pending = _decision(connection, pending), 0
            report = trial.send(decision)
    except StopIteration as stop:
        result: TrialResult = stop.value
    if pending:
        result = _decided(result, _decision(connection, pending))
    connection.send(Result(result))


def _decided(result: TrialResult, decision: Decision) -> TrialResult:
    """Return how a trial ended whose last decision came late: how it went on after that epoch is dropped."""
    if decision is Decision.STOP:
        return replace(result, state=TrialState.PRUNED, reason="", message="")
    if decision is Decision.PAUSE and result.state is TrialState.FAILED:  # in the next epoch, which comes later
        return replace(result, state=TrialState.PAUSED, reason="", message="")
    return result


def _decision(connection: Connection, epoch: int) -> Decision:
    while True:
        message = connection.recv()
        if isinstance(message, Decide) and message.epoch == epoch:
            return message.decision


def _call(function: str, build: Build, data: PreparedDataset, arguments: Mapping[str, Any]) -> Returned:
    module, _, name = function.partition(":")
    try:
        return Returned(value=getattr(importlib.import_module(module), name)(build, data, **arguments))
    except AutomlError as error:
        return Returned(error=error)
    except Exception as error:  # noqa: BLE001 - the border: what a call raises is told to the driver
        disk = disk_error(error)
        if disk is not None:  # no room for a log either; the driver knows what to do
            return Returned(error=disk)
        last = "".join(traceback.format_exception(error)).strip()
        print(last, file=sys.stderr, flush=True)  # noqa: T201 - the worker's log
        return Returned(error=SurroundingsError(f"{name} failed in a worker: {type(error).__name__}: {error}"))


if __name__ == "__main__":
    main()
