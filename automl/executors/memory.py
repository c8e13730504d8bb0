"""The memory of worker processes: which one has grown, and which one must go before the machine has none left."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence

import psutil

from automl.memory import Memory, held_bytes, oom_kill_count, read_memory

_LOOK_SECONDS = 1.0  # between two looks: they cost little, but events are many
_FLOOR_SHARE, _FLOOR_BYTES = 0.03, 256 * 2**20  # what must stay available
_SHORT_SHARE = 0.1  # of the limit: where less is available, memory is short
_GROWTH = 1.5  # a worker is replaced when it holds so many times ...
_GROWTH_BYTES = 512 * 2**20  # ... and so much more than after its first trial


class WorkerMemory:
    """What one worker process holds."""

    def __init__(self, process_id: int) -> None:
        """Look at nothing yet."""
        self._process = psutil.Process(process_id)
        self._first_bytes = 0
        self._ready_bytes = 0
        self.held_bytes = 0

    def look(self) -> None:
        """Note what it holds now."""
        with contextlib.suppress(psutil.Error):  # it has died: what it held last is what one wants to know
            held = held_bytes(self._process)
            self.held_bytes = held or self.held_bytes  # of nought when it is about to die

    def become_ready(self, ready_bytes: int) -> None:
        """Note what it held before its first trial."""
        self._ready_bytes = ready_bytes

    @property
    def grown_bytes(self) -> int:
        """What it holds more than when it was ready: what ending it gives back."""
        return self.held_bytes - self._ready_bytes

    def has_grown(self, resident_bytes: int, share_bytes: int) -> bool:
        """Return True where a fresh worker should take its place.

        Args:
            resident_bytes: Its resident memory after a trial.
            share_bytes: What each worker may hold. One that holds more is replaced where a fresh one holds much less.
        """
        self.look()
        if not self._first_bytes:
            self._first_bytes = resident_bytes
        has_leaked = resident_bytes > max(self._first_bytes * _GROWTH, self._first_bytes + _GROWTH_BYTES)
        return has_leaked or self.held_bytes > max(share_bytes, self._ready_bytes * _GROWTH)


class MemoryWatch:
    """Looks at the memory about once a second."""

    def __init__(
        self, read: Callable[[], Memory] = read_memory, *, count_kills: Callable[[], int] = oom_kill_count
    ) -> None:
        """Look for the first time.

        Args:
            read: Returns the memory as it is.
            count_kills: Returns how many processes the kernel has ended for want of memory.
        """
        self._read = read
        self._count_kills = count_kills
        self._due = 0.0
        # The last two: a process that is killed gives its memory back a while before one learns that it has died.
        self._looks = deque([(read(), count_kills())], maxlen=2)

    def look(self, training: Sequence[WorkerMemory]) -> WorkerMemory | None:
        """Look where that is due; return the worker that must be ended now, if any.

        That is the largest, and only where what it has taken up is what is missing: memory that others of the machine
        hold is not made free by ending trials.

        Args:
            training: The workers that run a trial.
        """
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + _LOOK_SECONDS
        memory = self._read()
        self._looks.append((memory, self._count_kills()))
        for worker in training:
            worker.look()
        missing = self._floor_bytes - memory.available_bytes
        largest = max(training, key=lambda worker: worker.held_bytes, default=None)
        return largest if largest is not None and 0 < missing <= largest.grown_bytes else None

    def share_bytes(self, workers: int) -> int:
        """Return what each of so many workers may hold."""
        return (self._limit_bytes - self._floor_bytes) // workers

    def has_run_out(self, worker: WorkerMemory) -> bool:
        """Return True where the kernel has ended a worker, or memory was short and the worker held most of it.

        Asked when a worker was killed; by what was seen at the last looks, when it still lived.
        """
        was_large = self._is_short and worker.held_bytes > self._memory.available_bytes
        return was_large or self._count_kills() > self._looks[0][1]

    def is_crowded(self, worker: WorkerMemory, others: Sequence[WorkerMemory]) -> bool:
        """Return True where memory was short, and a worker would have half as much again without the others."""
        return self._is_short and 2 * sum(other.grown_bytes for other in others) >= worker.grown_bytes

    def describe(self, worker: WorkerMemory) -> str:
        """Return what was seen of the memory at the last looks."""
        left, limit = self._memory.available_bytes / 2**30, self._limit_bytes / 2**30
        return f"it held {worker.held_bytes / 2**30:.2f} GiB, and {left:.2f} of {limit:.2f} GiB were available"

    @property
    def _memory(self) -> Memory:
        return min((memory for memory, _ in self._looks), key=lambda memory: memory.available_bytes)

    @property
    def _limit_bytes(self) -> int:
        return self._looks[-1][0].limit_bytes

    @property
    def _floor_bytes(self) -> int:
        return max(int(_FLOOR_SHARE * self._limit_bytes), _FLOOR_BYTES)

    @property
    def _is_short(self) -> bool:
        return self._memory.available_bytes < max(_SHORT_SHARE * self._limit_bytes, 2 * self._floor_bytes)
