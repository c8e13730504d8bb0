"""GPUs as `nvidia-smi` lists them and `CUDA_VISIBLE_DEVICES` restricts them, and how they are shared out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from executors.gpus import A100, card, present

from automl.cores import core_count
from automl.errors import RequestError
from automl.executors.backends import GPU_MEMORY, backend_environment
from automl.executors.devices import plan_slots
from automl.executors.gpus import list_gpus
from automl.memory import Memory

EIGHT = [card(index) for index in range(8)]
MIXED = [card(0), card(1, "Tesla T4", "15360", "15100")]
MIG = """\
    GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-aaaa)
      MIG 3g.40gb     Device  0: (UUID: MIG-11111111-0000)
      MIG 1g.10gb+me  Device  1: (UUID: MIG-22222222-0000)
    GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-00000001-aaaa)
"""


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    present(monkeypatch, tmp_path / "bin", EIGHT)


def uuids(gpus: str) -> list[str]:
    return [f"GPU-{int(index):08x}-aaaa" for index in gpus.split()]


@pytest.mark.usefixtures("eight")
def test_every_gpu_has_a_worker() -> None:
    slots = plan_slots(None)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == uuids("0 1 2 3 4 5 6 7")
    assert {slot.gpu_memory_bytes for slot in slots} == {None}
    assert str(slots[7]).startswith(f"GPU 7 ({A100}); ")


@pytest.mark.usefixtures("eight")
def test_two_workers_on_every_gpu_share_what_is_free_of_its_memory() -> None:
    slots = plan_slots(None, 0.5)
    assert [slot.gpus[0].index for slot in slots] == [*range(8), *range(8)]
    assert {slot.gpu_memory_bytes for slot in slots} == {(40440 // 2 - 600) * 2**20}  # 600: CUDA's own, in each
    assert f"GPU 0 ({A100}), 19.2 GiB of its memory; " in str(slots[0])


@pytest.mark.usefixtures("eight")
def test_few_workers_are_spread_over_the_gpus() -> None:
    slots = plan_slots(3, 0.5)
    assert [slot.gpus[0].index for slot in slots] == [0, 1, 2]


@pytest.mark.usefixtures("eight")
def test_more_workers_than_gpus_share_them_evenly() -> None:
    slots = plan_slots(12)
    assert [slot.gpus[0].index for slot in slots] == [*range(8), *range(4)]
    assert {slot.gpu_memory_bytes for slot in slots} == {(40440 // 2 - 600) * 2**20}


@pytest.mark.usefixtures("eight")
def test_a_worker_gets_several_gpus() -> None:
    slots = plan_slots(None, 4)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == [
        ",".join(uuids("0 1 2 3")),
        ",".join(uuids("4 5 6 7")),
    ]
    assert {slot.gpu_memory_bytes for slot in slots} == {None}


@pytest.mark.usefixtures("eight")
def test_no_share_of_the_gpus_is_cpus_only() -> None:
    slots = plan_slots(None, 0)
    assert len(slots) == core_count()
    assert {slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots} == {""}
    assert str(slots[0]) == "CPU; 1 thread"


@pytest.mark.parametrize(("gib", "workers"), [(0.2, 1), (1.9, 1), (2.0, 2), (900.0, core_count())])
def test_without_gpus_memory_bounds_the_workers_and_they_share_all_cores(
    monkeypatch: pytest.MonkeyPatch, gib: float, workers: int
) -> None:
    free = Memory(limit_bytes=2**40, available_bytes=int(gib * 2**30))
    monkeypatch.setattr("automl.executors.devices.read_memory", lambda: free)
    workers = min(workers, core_count())
    assert [slot.threads for slot in plan_slots(None, 0)] == [core_count() // workers] * workers
    assert len(plan_slots(3, 0)) == 3  # what is asked for is done


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(("share", "each"), [(1 / 3, 3), (1 / 41, 41), (0.4, 2), (1, 1), (0.34, 2)])
def test_as_many_workers_as_have_room(share: float, each: int) -> None:
    assert len(plan_slots(None, share)) == 8 * each


def test_shares_are_counted_in_spite_of_rounding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert 1 / (1 / 93) < 93
    present(monkeypatch, tmp_path / "bin", [card(0, total="190000", free="190000")])
    assert len(plan_slots(None, 1 / 93)) == 93


def test_each_card_is_shared_by_its_own_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    present(monkeypatch, tmp_path / "bin", MIXED)
    slots = plan_slots(None, 0.5)
    assert [slot.gpu_memory_bytes for slot in slots] == [(size // 2 - 600) * 2**20 for size in (40440, 15100)] * 2


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("", ""),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("3,1", "3 1"),
        (" 3, 1 ", "3 1"),
        ("5,9,6", "5"),  # CUDA's own rule
        ("GPU-00000002-aaaa,GPU-00000004", "2 4"),
        ("2,2", "2"),
    ],
)
@pytest.mark.usefixtures("eight")
def test_what_a_scheduler_leaves_visible(visible: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.uuid for gpu in list_gpus()] == uuids(expected)


def test_partitions_are_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    h100 = "NVIDIA H100 80GB HBM3"
    present(monkeypatch, tmp_path / "bin", [card(0, h100, "81559", "[N/A]", "Enabled"), card(1)], MIG)
    first, second, whole = list_gpus()
    assert (first.uuid, first.name, first.memory_bytes) == ("MIG-11111111-0000", f"{h100} MIG 3g.40gb", 40 * 10**9)
    assert (second.uuid, second.memory_bytes) == ("MIG-22222222-0000", 10 * 10**9)
    assert whole.uuid == "GPU-00000001-aaaa"
    with pytest.raises(RequestError, match=r"asks for 2 GPUs, and there are 3, 2 of them MIG partitions.*no worker"):
        plan_slots(None, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-22222222-0000")
    (slot,) = plan_slots(None)
    assert slot.environment == {"CUDA_VISIBLE_DEVICES": "MIG-22222222-0000"}


@pytest.mark.parametrize(("free", "cap"), [("10300", 40960 // 4 - 600), ("9000", 9000 - 600)])
def test_what_others_have_of_a_card_takes_nothing_from_a_share_that_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: str, cap: int
) -> None:
    present(monkeypatch, tmp_path / "bin", [card(0, free=free)])
    (slot,) = plan_slots(1, 0.25, others_share=True)
    assert slot.gpu_memory_bytes == cap * 2**20


def test_memory_that_is_not_told_is_not_capped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    present(monkeypatch, tmp_path / "bin", [card(0, "NVIDIA GB10", "[N/A]", "[N/A]", "[N/A]")])
    assert [slot.gpu_memory_bytes for slot in plan_slots(None, 0.5)] == [None, None]


def test_a_driver_that_fails_is_told_and_leaves_the_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    present(monkeypatch, tmp_path / "bin", [])
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho no communication with the driver; exit 9\n")
    with caplog.at_level(logging.WARNING):
        assert {slot.gpus for slot in plan_slots(None)} == {()}
    assert "exit code 9: no communication with the driver" in caplog.text


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("workers", "share", "expected"),
    [
        (None, 1.5, "received 1.5"),
        (None, -0.5, "received -0.5"),
        (None, float("nan"), "received nan"),
        (None, float("inf"), "received inf"),
        (None, "half", "received 'half'"),
        (None, True, "received True"),
        (None, 9, "asks for 9 GPUs, and there are 8: no worker has room"),
        (5, 2, "--gpus-per-trial 2 and --workers 5 asks for 10 GPUs, and there are 8: at most 4 workers have room"),
        (17, 0.5, "at most 16 workers"),
        (None, 0.01, "too little for a worker"),
        (0, 0.5, "--workers takes a number from 1"),
    ],
)
def test_shares_that_cannot_be(workers: int | None, share: float, expected: str) -> None:
    with pytest.raises(RequestError) as refused:
        plan_slots(workers, share)
    assert expected in str(refused.value)


def test_a_share_of_a_gpu_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RequestError, match=r"asks for a GPU, and there is none \(CUDA_VISIBLE_DEVICES is ''\)"):
        plan_slots(None, 0.5)


@pytest.mark.usefixtures("eight")
def test_each_backend_is_told_its_part_of_the_memory() -> None:
    slot = plan_slots(None, 0.5)[0]
    for name in ("tensorflow", "torch"):
        assert backend_environment(name, slot, Path())[GPU_MEMORY] == "19620"
    fraction = backend_environment("jax", slot, Path())["XLA_CLIENT_MEM_FRACTION"]
    assert float(fraction) == pytest.approx(19620 / 40960, abs=1e-4)
