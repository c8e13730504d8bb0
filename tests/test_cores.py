"""Quotas of control groups of both versions, as folders with the files that the kernel shows."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from automl.cores import core_count

_MACHINE = len(psutil.Process().cpu_affinity() or [0])


def _files(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own"
    path.write_text("2:memory:/elsewhere\n1:cpu,cpuacct:/job\n0::/job/step\n")
    return path


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", _MACHINE),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", min(2, _MACHINE)),
        ("9900000 100000", _MACHINE),
        ("nonsense", _MACHINE),
        ("100000 0", _MACHINE),
    ],
)
def test_a_quota_of_version_2_bounds_the_cores(tmp_path: Path, own: Path, quota: str, cores: int) -> None:
    _files(tmp_path / "job", cpu__max=quota)
    _files(tmp_path / "job/step", cpu__max="max 100000")
    assert core_count(groups=tmp_path, own_groups=own) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", _MACHINE), ("50000", 1)])
def test_a_quota_of_version_1_bounds_the_cores(tmp_path: Path, own: Path, quota: str, cores: int) -> None:
    _files(tmp_path / "cpu/job", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert core_count(groups=tmp_path, own_groups=own) == cores


def test_without_groups_they_are_the_machines(tmp_path: Path) -> None:
    assert core_count(groups=tmp_path, own_groups=tmp_path / "missing") == _MACHINE
