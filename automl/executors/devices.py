"""How this machine is shared out among workers: CPU cores, and GPUs in whole, in part or several at a time.

A plan is a list of slots, one a worker. `gpus.py` says which GPUs there are; `backends.py` turns a slot into the
environment that its worker is started with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automl.cores import core_count
from automl.errors import RequestError
from automl.executors.gpus import Gpu, list_gpus, why_none
from automl.memory import read_memory

_CONTEXT_BYTES = 600 * 2**20  # what CUDA and its libraries take in each process, which no cap of a backend counts
_WORKER_BYTES = 2**30  # of memory for a worker: half of it takes Keras with its backend
_LEAST_BYTES = 256 * 2**20  # of a GPU, below which no worker is planned


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A worker's share of the machine.

    Attributes:
        threads: Intra-op threads of its TensorFlow.
        environment: Environment variables that are set before keras is imported.
        gpus: GPUs that the worker sees.
        gpu_memory_bytes: What it may take of each GPU; None for all, as it grows.
    """

    threads: int
    environment: Mapping[str, str]
    gpus: tuple[Gpu, ...] = ()
    gpu_memory_bytes: int | None = None

    def __str__(self) -> str:
        """Say what runs here, such as `GPU 0 (NVIDIA A100), 19.4 GiB of its memory; 4 threads`."""
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        if not self.gpus:
            return f"CPU; {threads}"
        named = ", ".join(f"GPU {gpu.index} ({gpu.name})" for gpu in self.gpus)
        part = "" if self.gpu_memory_bytes is None else f", {self.gpu_memory_bytes / 2**30:.1f} GiB of its memory"
        return f"{named}{part}; {threads}"


@dataclass(frozen=True)
class _Share:
    """What a worker gets of the GPUs: all of several, or a part of one."""

    gpus: tuple[Gpu, ...] = ()
    part: float = 1.0


def plan_slots(workers: int | None, gpus_per_trial: float | None = None, *, others_share: bool = False) -> list[Slot]:
    """Share the machine out.

    Args:
        workers: How many; None for as many as the GPUs have room for, or else one a core, as far as memory goes. The
            cores are shared out among them.
        gpus_per_trial: A share of one GPU (0.5: two workers on each), a whole number of GPUs for each worker, or 0 for
            CPUs only; None for one GPU each, and shared ones where there are more workers than GPUs.
        others_share: Workers of other plans have shares of the same GPUs: what is not free may be theirs.

    Raises:
        RequestError: A number is none of these, or asks for more GPUs than there are.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise RequestError(f"--workers takes a number from 1, or 'auto', received {workers!r}")
    _check_share(gpus_per_trial)
    gpus, cores = [] if gpus_per_trial == 0 else list_gpus(), core_count()
    shares = _even_shares(gpus, workers) if gpus_per_trial is None else _equal_shares(gpus, workers, gpus_per_trial)
    count = workers or len(shares) or min(cores, _most_workers())
    # Two TensorFlow processes with default threads on two cores are no faster than one.
    threads = max(1, cores // count)
    return [_slot(share, threads, others_share) for share in (shares or [_Share()] * count)[:count]]


def _most_workers() -> int:
    return max(1, read_memory().available_bytes // _WORKER_BYTES)


def merge_slots(slots: Sequence[Slot], count: int) -> list[Slot]:
    """Return so many slots with the cores of all; the slots as they are where they have GPUs, or are no more."""
    if count >= len(slots) or any(slot.environment.get("CUDA_VISIBLE_DEVICES") for slot in slots):
        return list(slots)
    threads = sum(slot.threads for slot in slots) // count
    return [replace(slot, threads=threads) for slot in slots[:count]]


def _check_share(gpus_per_trial: Any) -> None:
    is_number = isinstance(gpus_per_trial, int | float) and not isinstance(gpus_per_trial, bool)
    if gpus_per_trial is None or (is_number and (0 <= gpus_per_trial <= 1 or _is_count(gpus_per_trial))):
        return
    raise RequestError(
        "--gpus-per-trial takes a share of one GPU such as 0.5, a whole number of GPUs, or 0 for none, "
        f"received {gpus_per_trial!r}"
    )


def _is_count(number: float) -> bool:
    return 1 <= number < math.inf and number == int(number)


def _even_shares(gpus: Sequence[Gpu], workers: int | None) -> list[_Share]:
    """Return a GPU for each worker; where there are more workers, each has as small a share as the smallest."""
    if not gpus:
        return []
    each = math.ceil((workers or 1) / len(gpus))
    return [_Share((gpu,), 1 / each) for _ in range(each) for gpu in gpus]


def _equal_shares(gpus: Sequence[Gpu], workers: int | None, gpus_per_trial: float) -> list[_Share]:
    """Return every share of the size that was asked for which there is room for; the GPUs take turns."""
    if gpus_per_trial == 0:
        return []
    if gpus_per_trial <= 1:
        each = math.floor(1 / gpus_per_trial + 1e-9)  # 1 / (1 / 93) is a little less than 93
        shares = [_Share((gpu,), gpus_per_trial) for _ in range(each) for gpu in gpus]
    else:
        shares = _groups(gpus, int(gpus_per_trial))
    if len(shares) < (workers or 1):
        raise RequestError(_too_many(gpus, workers, gpus_per_trial, len(shares)))
    return shares


def _groups(gpus: Sequence[Gpu], size: int) -> list[_Share]:
    """Return groups of whole GPUs; a process can use one MIG partition only, so that these make no group."""
    whole = [gpu for gpu in gpus if not gpu.is_partition]
    return [_Share(tuple(whole[start : start + size])) for start in range(0, len(whole) - size + 1, size)]


def _too_many(gpus: Sequence[Gpu], workers: int | None, gpus_per_trial: float, room: int) -> str:
    asked = f"--gpus-per-trial {gpus_per_trial:g}" + (f" and --workers {workers}" if workers else "")
    if not gpus:
        return f"{asked} asks for a GPU, and there is none ({why_none()}): leave it out, or see automl doctor"
    partitions = sum(gpu.is_partition for gpu in gpus)
    of_them = f", {partitions} of them MIG partitions, of which a worker can use one" if partitions else ""
    most = f"at most {room} workers have room" if room else "no worker has room"
    total = gpus_per_trial * (workers or 1)
    return f"{asked} asks for {total:g} GPUs, and there are {len(gpus)}{of_them}: {most}"


def _slot(share: _Share, threads: int, others_share: bool) -> Slot:
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in share.gpus)}
    cap = _memory_cap(share, others_share)
    return Slot(threads=threads, environment=environment, gpus=share.gpus, gpu_memory_bytes=cap)


def _memory_cap(share: _Share, others_share: bool) -> int | None:
    """Return what a worker may take of a GPU that it shares; each card is shared by its own memory.

    Raises:
        RequestError: That is too little to start a worker in.
    """
    if share.part == 1 or any(not gpu.memory_bytes for gpu in share.gpus):
        return None
    (gpu,) = share.gpus
    part = min(share.part * gpu.memory_bytes, gpu.free_bytes) if others_share else share.part * gpu.free_bytes
    cap = int(part) - _CONTEXT_BYTES
    if cap < _LEAST_BYTES:
        raise RequestError(
            f"{share.part:g} of GPU {gpu.index} ({gpu.name}, {gpu.free_bytes / 2**30:.1f} GiB free) is too little for "
            f"a worker, which takes {(_CONTEXT_BYTES + _LEAST_BYTES) / 2**30:.1f} GiB: give a trial more with "
            "--gpus-per-trial, or take fewer --workers"
        )
    return cap
