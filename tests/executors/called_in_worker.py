"""What the tests of calls let a worker do, in a module that it imports in no time."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path


def tell_process(build: object, prepared: object) -> int:
    return os.getpid()


def hang(build: object, prepared: object, *, pids: str) -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    Path(pids).write_text(f"{os.getpid()} {sleeper.pid}")
    ctypes.PyDLL(None).sleep(600)  # without letting go of the interpreter
