"""Which NVIDIA GPUs there are: what `nvidia-smi` lists, as far as `CUDA_VISIBLE_DEVICES` allows it.

Nothing else in the system asks for GPUs, so that an `nvidia-smi` of one's own on the `PATH` presents any machine.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ANSWER_SECONDS = 30.0  # eight GPUs whose driver is not kept loaded take ten
_FIELDS = "index,uuid,name,memory.total,memory.free,mig.mode.current"
_PARENT = re.compile(r"GPU (\d+):")
_PARTITION = re.compile(r"MIG (\S*?(\d+)gb\S*) .*UUID: (MIG-[^)]+)\)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, or a MIG partition of one.

    Attributes:
        index: Its number, as `nvidia-smi` counts; partitions have that of their GPU.
        uuid: What CUDA knows it by, whatever the order it counts in: `GPU-...` or `MIG-...`.
        name: The model, such as `NVIDIA A100-SXM4-40GB`; for a partition, its profile as well.
        memory_bytes: All of its memory; 0 where that is not known (memory that is shared with the CPU).
        free_bytes: What nobody uses of it now.
    """

    index: int
    uuid: str
    name: str
    memory_bytes: int
    free_bytes: int

    @property
    def is_partition(self) -> bool:
        """True for a MIG partition, of which a process can use only one."""
        return self.uuid.startswith("MIG-")


def list_gpus() -> list[Gpu]:
    """Return the GPUs that this process may use, in the order of `CUDA_VISIBLE_DEVICES` where that is set."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "" or shutil.which("nvidia-smi") is None:
        return []
    found = _installed()
    return found if visible is None else _chosen(found, visible)


def why_none() -> str:
    """Return why `list_gpus` found none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r}"
    if shutil.which("nvidia-smi") is None:
        return "there is no nvidia-smi on the PATH"
    return "nvidia-smi lists none"


def _installed() -> list[Gpu]:
    """Return every GPU of the machine; one that is partitioned is its partitions."""
    listed = _nvidia_smi(f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits")
    rows = [row for row in csv.reader(listed.splitlines(), skipinitialspace=True) if len(row) == 6 and row[0].isdigit()]
    partitions = _partitions(rows) if any(row[5] == "Enabled" for row in rows) else {}
    found: list[Gpu] = []
    for index, uuid, name, total, free, mode in rows:
        if mode == "Enabled":
            found += partitions.get(int(index), [])
        else:
            gpu = Gpu(index=int(index), uuid=uuid, name=name, memory_bytes=_bytes(total), free_bytes=_bytes(free))
            found.append(gpu)
    return found


def _partitions(rows: Sequence[Sequence[str]]) -> Mapping[int, list[Gpu]]:
    """Return the MIG partitions by their GPU's index; their memory is that in their profile's name (`1g.10gb`)."""
    names = {int(row[0]): row[2] for row in rows}
    found: dict[int, list[Gpu]] = {index: [] for index in names}
    index = -1
    for line in _nvidia_smi("-L").splitlines():
        if parent := _PARENT.match(line):
            index = int(parent[1])
        elif (match := _PARTITION.search(line)) and index in found:
            profile, gigabytes, uuid = match.groups()
            memory = int(gigabytes) * 10**9
            name = f"{names[index]} MIG {profile}"
            found[index].append(Gpu(index=index, uuid=uuid, name=name, memory_bytes=memory, free_bytes=memory))
    return found


def _chosen(found: Sequence[Gpu], visible: str) -> list[Gpu]:
    """Return what `CUDA_VISIBLE_DEVICES` names: as for CUDA, the first entry that names nothing ends the list."""
    chosen: list[Gpu] = []
    for entry in (one.strip() for one in visible.split(",")):
        gpu = next((gpu for gpu in found if _is_named(gpu, entry)), None)
        if gpu is None:
            break
        if gpu not in chosen:
            chosen.append(gpu)
    return chosen


def _is_named(gpu: Gpu, entry: str) -> bool:
    """Return True where an entry is the GPU's index, its UUID, or the beginning of that."""
    if entry.isdigit():
        return gpu.index == int(entry)
    return entry.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(entry)


def _nvidia_smi(*arguments: str) -> str:
    """Return what `nvidia-smi` prints; nothing, and a warning, where it fails: then there is no GPU to train on."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stdout + error.stderr).split())
        _log.warning("no GPU is used: nvidia-smi fails with exit code %d: %s", error.returncode, said)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("no GPU is used: nvidia-smi fails: %s", error)
    else:
        return done.stdout
    return ""


def _bytes(mebibytes: str) -> int:
    return int(mebibytes) * 2**20 if mebibytes.isdigit() else 0
