"""Shared memory that processes have, by its name: what must be gone once they are, however they died."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

_FOLDER = Path("/dev/shm")


def shared_memory_of(processes: Iterable[psutil.Process]) -> set[Path]:
    """Return what of the machine's shared memory these processes map and has a name still.

    Other programs have shared memory too, so that what comes and goes in the folder tells nothing.
    """
    lines = [line for process in processes for line in _maps(process).splitlines()]
    mapped = {Path(words[5]) for words in (line.split(maxsplit=5) for line in lines) if len(words) == 6}
    return {path for path in mapped if path.parent == _FOLDER and path.exists()}


def _maps(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
