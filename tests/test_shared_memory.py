"""What the tests' own look at shared memory sees."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import psutil
from shared_memory import shared_memory_of


def test_mapped_memory_is_seen_while_it_has_a_name() -> None:
    memory = SharedMemory(create=True, size=16)
    path = Path("/dev/shm", memory.name)
    assert path in shared_memory_of([psutil.Process()])
    memory.unlink()
    assert path not in shared_memory_of([psutil.Process()])
    memory.close()
