"""The CPU cores that this process may use: the machine's, or fewer where a scheduler or a container bounds them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

from automl.control_groups import GROUPS, OWN_GROUPS, group_folders


def core_count(*, groups: Path = GROUPS, own_groups: Path = OWN_GROUPS) -> int:
    """Return the CPU cores that this process may use; of a part of a core, the whole.

    Args:
        groups: Where control groups are mounted.
        own_groups: File that names this process's groups.
    """
    cores = len(psutil.Process().cpu_affinity() or []) or os.cpu_count() or 1
    quotas = [quota for folder in group_folders("cpu", groups, own_groups) if (quota := _quota(folder)) is not None]
    return max(1, math.ceil(min([cores, *quotas])))


def _quota(folder: Path) -> float | None:
    """Return how many cores' time a group may take; None where it sets no limit."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):  # of version 2, and of version 1
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
            if (share := int(quota) / int(period)) > 0:  # "max", or -1: no limit
                return share
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return None
