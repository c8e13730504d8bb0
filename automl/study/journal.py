"""A driver's own way to write Optuna's journal file: the same lines, in fewer and cheaper steps.

Optuna's backend locks, opens, syncs and reads back the file at every value that is set. A trial of eight parameters and
five epochs sets 23, which took 6 ms of processor time and 90 ms of waiting for the disk. Here what belongs together is
appended together, and what this process wrote is not read back from the file. Other processes (`optuna-dashboard`, our
own readers) keep using Optuna's backend: format and lock are the same.

What is written outlives this process at once, however it dies, and the machine after a second or at the next write.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock, JournalStorage

_SYNC_SECONDS = 1.0


class DriverJournal(BaseJournalBackend):
    """Reads and writes one journal file, for one storage that reads every entry once and in order."""

    def __init__(self, path: Path) -> None:
        """Create the file where there is none.

        Raises:
            OSError: The file cannot be created.
        """
        path.open("ab").close()
        self._path = path
        self._lock = JournalFileSymlinkLock(str(path))
        self._size_bytes = 0  # what of the file was read or written
        self._unread: deque[dict[str, Any]] = deque()
        self._pending: list[bytes] | None = None
        self._sync_due = 0.0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield every entry that was not yielded yet, whoever wrote it."""
        while self._unread:
            yield self._unread.popleft()
        if self._pending is None:  # or else the lock is held, and nobody else writes
            yield from self._new_entries()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, at once or with what else is written together."""
        with self.together() as pending:
            for log in logs:
                text = json.dumps(log, separators=(",", ":"))
                pending.append(text.encode() + b"\n")
                # What concerns a trial is of plain values already; its copy would double what a study takes.
                self._unread.append(log if "trial_id" in log else json.loads(text))

    @contextmanager
    def together(self) -> Iterator[list[bytes]]:
        """Append what is written inside as one piece; of a crash meanwhile at most a part from its start remains."""
        if self._pending is not None:
            yield self._pending
            return
        self._lock.acquire()
        try:
            self._unread.extend(self._new_entries())
            self._pending = []
            try:
                yield self._pending
            finally:
                content, self._pending = b"".join(self._pending), None
                self._write(content)
        finally:
            self._lock.release()

    def _new_entries(self) -> Iterator[dict[str, Any]]:
        """Yield what others have appended; a line that is still being written is left for later."""
        if self._path.stat().st_size == self._size_bytes:
            return
        with self._path.open("rb") as file:
            file.seek(self._size_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._size_bytes += len(line)
                yield json.loads(line)

    def _write(self, content: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            if file.write(content) != len(content):
                file.truncate(self._size_bytes)  # half a line would swallow the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            self._size_bytes += len(content)
            if time.monotonic() >= self._sync_due:
                os.fsync(file.fileno())
                self._sync_due = time.monotonic() + _SYNC_SECONDS


class DriverStorage(JournalStorage):
    """Optuna's journal storage over a `DriverJournal`."""

    def __init__(self, path: Path) -> None:
        """Read the journal.

        Raises:
            OSError: The file cannot be read or created.
        """
        self._journal = DriverJournal(path)
        super().__init__(self._journal)

    def together(self) -> AbstractContextManager[object]:
        """Write what is set inside as one piece."""
        return self._journal.together()


def together(storage: BaseStorage) -> AbstractContextManager[object]:
    """Write what is set inside as one piece, where the storage can."""
    return storage.together() if isinstance(storage, DriverStorage) else nullcontext()
