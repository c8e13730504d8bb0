"""Where a worker is in Python when it crashes or hangs: its own faulthandler writes that into a file of its own.

All workers may share one log, in which nobody can tell whose lines are whose. This file belongs to one worker; it has
no name, so that it is gone when worker and driver are.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import tempfile
import time
from contextlib import suppress

_ASKING = signal.SIGUSR1
_ANSWER_SECONDS = 1.0  # a worker that was stopped never answers
_POLL_SECONDS = 0.01
_MOST_BYTES = 2**16
_ANSWERING = b"Current thread"  # the one that took the signal; it stands among the others


def write_stacks_to(descriptor: int) -> None:
    """Let this process write where its threads are, at a crash and whenever it is asked; it need not be in Python."""
    faulthandler.enable(file=descriptor)
    faulthandler.register(_ASKING, file=descriptor, all_threads=True)


class StackFile:
    """The driver's view of a worker's file; both ends move the same position in it."""

    def __init__(self) -> None:
        """Make an empty file."""
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - it lives as long as the worker: see close

    @property
    def descriptor(self) -> int:
        """What the worker inherits."""
        return self._file.fileno()

    def clear(self) -> None:
        """Forget what was written before."""
        self._file.truncate(0)
        self._file.seek(0)

    def read(self) -> bytes:
        """Return what has been written, the beginning of it where that is much."""
        return os.pread(self.descriptor, _MOST_BYTES, 0)

    def ask(self, worker: int) -> bytes:
        """Return where the threads of a worker that is ready are now; nothing where it does not answer at once.

        Args:
            worker: Its process id, which cannot be another's yet.
        """
        self.clear()
        with suppress(ProcessLookupError):
            os.kill(worker, _ASKING)
        deadline = time.monotonic() + _ANSWER_SECONDS
        stacks = b""
        while time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            before, stacks = stacks, self.read()
            if _ANSWERING in stacks and stacks == before:  # it is written piece by piece, and has no end of its own
                break
        return stacks

    def close(self) -> None:
        """Let go of it."""
        self._file.close()
