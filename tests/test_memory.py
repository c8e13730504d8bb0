"""Control groups of both versions, as folders with the files that the kernel shows."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from automl.memory import oom_kill_count, read_memory

_MIB = 2**20


def _group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def _own(tmp_path: Path, line: str) -> Path:
    path = tmp_path / "own"
    path.write_text(f"{line}\n")
    return path


def test_without_a_group_it_is_the_machines(tmp_path: Path) -> None:
    for own in (tmp_path / "missing", _own(tmp_path, "0::/"), _own(tmp_path, "4:cpu,cpuacct:/jobs")):
        memory = read_memory(groups=tmp_path, own_groups=own)
        assert memory.limit_bytes == psutil.virtual_memory().total
        assert 0 < memory.available_bytes < memory.limit_bytes


def test_the_tightest_group_of_version_2_counts_and_cached_files_are_free(tmp_path: Path) -> None:
    stat = f"anon 5\ninactive_file {10 * _MIB}\nactive_file {5 * _MIB}"
    _group(tmp_path / "job/step", memory__max="max", memory__current=60 * _MIB, memory__stat=stat)
    _group(tmp_path / "job", memory__max=100 * _MIB, memory__current=70 * _MIB, memory__stat=stat)
    _group(tmp_path, memory__max=900 * _MIB, memory__current=80 * _MIB, memory__stat=stat)
    memory = read_memory(groups=tmp_path, own_groups=_own(tmp_path, "0::/job/step"))
    assert (memory.limit_bytes, memory.available_bytes) == (100 * _MIB, 45 * _MIB)


def test_version_1_counts_the_whole_subtree_and_knows_of_no_limit_as_a_huge_one(tmp_path: Path) -> None:
    folder = tmp_path / "memory/job"
    stat = f"active_file 1\ntotal_active_file {3 * _MIB}\ntotal_inactive_file {4 * _MIB}"
    names = {"memory__limit_in_bytes": 50 * _MIB, "memory__usage_in_bytes": 60 * _MIB, "memory__stat": stat}
    _group(folder, **names)
    _group(tmp_path / "memory", **(names | {"memory__limit_in_bytes": 2**63 - 4096}))
    own = _own(tmp_path, "9:name=systemd:/\n4:cpu,memory:/job")
    memory = read_memory(groups=tmp_path, own_groups=own)
    assert (memory.limit_bytes, memory.available_bytes) == (50 * _MIB, 0)


def test_in_a_container_the_named_group_is_the_mounts_own(tmp_path: Path) -> None:
    _group(tmp_path, memory__max=30 * _MIB, memory__current=10 * _MIB, memory__stat="anon 1")
    memory = read_memory(groups=tmp_path, own_groups=_own(tmp_path, "0::/docker/0123456789ab"))
    assert (memory.limit_bytes, memory.available_bytes) == (30 * _MIB, 20 * _MIB)


@pytest.mark.parametrize(("text", "count"), [("oom_kill_all 3\noom_kill 7\n", 7), ("pgfault 3\n", 0), (None, 0)])
def test_kills_are_counted_where_the_kernel_does(tmp_path: Path, text: str | None, count: int) -> None:
    counters = tmp_path / "vmstat"
    if text is not None:
        counters.write_text(text)
    assert oom_kill_count(counters) == count
