"""A short-lived process that owns keras: `python -m automl.executors.child FILE_DESCRIPTOR` runs one function of ours.

What the function reports comes back while it runs, so that a driver that never imports keras can show progress. Its
standard output is the driver's own.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO, Any

from automl.errors import AutomlError, SurroundingsError
from automl.executors.last_words import last_words
from automl.executors.local import QUIET
from automl.executors.process_group import end, kill_group, reap

_DYING_SECONDS = 30.0

Say = Callable[[int, int], None]
"""Takes how much is done, and how much there is in all."""


@dataclass(frozen=True)
class _Run:
    """Driver to child: run a function of ours, given as `module:name`."""

    function: str
    arguments: Mapping[str, Any]
    import_path: tuple[str, ...]


@dataclass(frozen=True)
class _Said:
    """Child to driver: so much is done."""

    done: int
    total: int


@dataclass(frozen=True)
class _Ended:
    """Child to driver: what the function returned, or the error that it raised."""

    value: Any = None
    error: BaseException | None = None


def call_in_child(function: str, *, say: Say = lambda done, total: None, **arguments: Any) -> Any:
    """Run `function(say=..., **arguments)` in a fresh process and return what it returns.

    Args:
        function: A function of ours as `module:name`; the module may import keras, and is not imported here.
        say: Called with what the function reports.
        **arguments: Further arguments, which travel to the process.

    Raises:
        AutomlError: What the function raised of our own errors.
        BrokenPipeError: Nobody reads the standard output any more.
        SurroundingsError: It raised something else, or the process died.
    """
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as log, Connection(ours.detach()) as connection:
        process = _start(theirs, log)
        try:
            connection.send(_Run(function, arguments, tuple(sys.path)))
            return _result(connection, process, log, say)
        finally:
            end(process)


def _start(theirs: socket.socket, log: IO[bytes]) -> subprocess.Popen[bytes]:
    with theirs:
        return subprocess.Popen(
            [sys.executable, "-m", "automl.executors.child", str(theirs.fileno())],
            env={**os.environ, **QUIET},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # the terminal's Ctrl-C must reach the driver only
        )


def _result(connection: Connection, process: subprocess.Popen[bytes], log: IO[bytes], say: Say) -> Any:
    while True:
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            raise SurroundingsError(_last_words(process, log)) from None
        match message:
            case _Said(done, total):
                say(done, total)
            case _Ended(value, error):
                if error is not None:
                    raise error
                return value


def _last_words(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    code = reap(process, _DYING_SECONDS)
    if code is None:  # it has closed its pipe, and hangs
        end(process)
        code = process.returncode
    log.seek(0)
    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"the process that owns keras died ({cause}); its last words: {last_words(log.read())}"


def main() -> None:
    """Run one call for the driver at the other end of the inherited pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which ends this process
    with Connection(int(sys.argv[1])) as connection:
        try:
            run = connection.recv()
            sys.path[:] = [*sys.path, *(one for one in run.import_path if one not in sys.path)]
            connection.send(_ended(run, lambda done, total: connection.send(_Said(done, total))))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            kill_group(os.getpid())  # the driver is gone, which else would end what a user's code has started
            sys.exit(0)


def _ended(run: _Run, say: Say) -> _Ended:
    module, _, name = run.function.partition(":")
    try:
        return _Ended(value=getattr(importlib.import_module(module), name)(say=say, **run.arguments))
    except (AutomlError, BrokenPipeError) as error:
        return _Ended(error=error)
    except Exception as error:  # noqa: BLE001 - the border: what a call raises is told to the driver
        traceback.print_exc(file=sys.stderr)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return _Ended(error=SurroundingsError(f"{name} failed: {reason}"))


if __name__ == "__main__":
    # By its own name, so that what travels has the classes that the driver knows.
    importlib.import_module("automl.executors.child").main()
