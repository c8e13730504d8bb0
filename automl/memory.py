"""The memory that this process may take: the machine's, or less where a control group bounds it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

from automl.control_groups import GROUPS, OWN_GROUPS, group_folders

_COUNTERS = Path("/proc/vmstat")

# Names of limit and use, and what counts of whole subtrees begin with: of version 2, and of version 1.
_FILES = (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"))


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory at one moment.

    Attributes:
        limit_bytes: What there is in all.
        available_bytes: What can still be taken; what only keeps files at hand counts as free.
    """

    limit_bytes: int
    available_bytes: int


def read_memory(*, groups: Path = GROUPS, own_groups: Path = OWN_GROUPS) -> Memory:
    """Return the memory that this process may take, by whatever bounds it most.

    Args:
        groups: Where control groups are mounted.
        own_groups: File that names this process's groups.
    """
    machine = psutil.virtual_memory()
    bounds = [Memory(limit_bytes=machine.total, available_bytes=machine.available)]
    bounds += [bound for folder in group_folders("memory", groups, own_groups) if (bound := _bound(folder)) is not None]
    return Memory(
        limit_bytes=min(bound.limit_bytes for bound in bounds),
        available_bytes=min(bound.available_bytes for bound in bounds),
    )


def held_bytes(process: psutil.Process) -> int:
    """Return what a process holds, not counting files that it has mapped: they are shared, and can be let go of.

    Raises:
        psutil.Error: There is no such process.
    """
    memory = process.memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))


def oom_kill_count(counters: Path = _COUNTERS) -> int:
    """Return how many processes the kernel has ended for want of memory since it started; 0 where it does not say."""
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _bound(folder: Path) -> Memory | None:
    """Return the memory of one group; None where it sets no limit."""
    for limit_name, use_name, prefix in _FILES:
        try:
            limit, use = (int((folder / name).read_text()) for name in (limit_name, use_name))  # or "max"
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        cached = sum(int(counts.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
        return Memory(limit_bytes=limit, available_bytes=max(0, limit - use + cached))
    return None
