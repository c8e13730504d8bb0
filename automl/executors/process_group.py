"""Processes that lead a group of their own: they end with all that they started, which may be a user's subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

_POLL_SECONDS = 0.01
_TRACKER = "multiprocessing.resource_tracker"


def kill_group(leader: int) -> None:
    """Kill every process of the group that a process leads, the caller apart; where it leads none, nobody.

    Multiprocessing's resource tracker lives on: it ends once the others have, and then takes away the shared memory
    that they have left behind.
    """
    seen = {os.getpid()}
    while new := {pid for pid in _members(leader) if pid not in seen}:  # until none has been started meanwhile
        for pid in new:
            if not _is_tracker(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        seen |= new


def reap(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Wait until the leader of a group has ended, end the rest of its group, and return its exit code.

    Args:
        process: The leader, a child of this process.
        seconds: How long it is waited for at most; None is returned where it runs on.
    """
    deadline = time.monotonic() + seconds
    while not _has_ended(process):
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_SECONDS)
    end(process)
    return process.returncode


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the leader of a group, a child of this process, and all that is in its group."""
    if process.returncode is None:  # else its id may be another's by now
        kill_group(process.pid)
        process.wait()


def _members(group: int) -> Iterator[int]:
    for pid in psutil.pids():
        with suppress(OSError):  # it has ended
            if os.getpgid(pid) == group:
                yield pid


def _is_tracker(pid: int) -> bool:
    try:
        return any(_TRACKER in word for word in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Return True where a child has ended; its id is not free before it is waited for."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # somebody else has waited for it, so that its id may be another's by now
        process.wait()
        return True
