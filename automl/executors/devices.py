"""What this machine can run trials on: CPU cores shared out among workers, or GPUs, one worker each."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from automl.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A worker's share of the machine.

    Attributes:
        threads: Intra-op threads of its TensorFlow.
        environment: Environment variables that are set before keras is imported.
    """

    threads: int
    environment: Mapping[str, str]


def core_count() -> int:
    """Return the CPU cores that this process may use."""
    return len(psutil.Process().cpu_affinity() or []) or os.cpu_count() or 1


def gpu_names() -> list[str]:
    """Return the names of the NVIDIA GPUs that this process may use, by index; empty where there are none."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    listed = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
    names = [line.strip() for line in listed.stdout.splitlines() if line.strip()] if listed.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names if visible is None else names[: len(visible.split(","))]


def plan_slots(workers: int | None) -> list[Slot]:
    """Share the machine out.

    Args:
        workers: How many; None for one a GPU, or else one a core.

    Raises:
        RequestError: The number is not positive.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise RequestError(f"--workers takes a number from 1, or 'auto', received {workers!r}")
    gpus, cores = gpu_names(), core_count()
    count = workers or len(gpus) or cores
    visible = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(len(gpus))))).split(",")
    return [
        Slot(
            # Two TensorFlow processes with default threads on two cores are no faster than one.
            threads=max(1, cores // count),
            environment={"CUDA_VISIBLE_DEVICES": visible[index % len(gpus)] if gpus else ""},
        )
        for index in range(count)
    ]


def merge_slots(slots: Sequence[Slot], count: int) -> list[Slot]:
    """Return so many slots with the cores of all; the slots as they are where they have GPUs, or are no more."""
    if count >= len(slots) or any(slot.environment.get("CUDA_VISIBLE_DEVICES") for slot in slots):
        return list(slots)
    threads = sum(slot.threads for slot in slots) // count
    return [replace(slot, threads=threads) for slot in slots[:count]]
