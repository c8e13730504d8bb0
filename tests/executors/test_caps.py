"""What a worker is allowed of a GPU is in force in its process before it uses a device: seen from within real workers.

There is no GPU here. As far as TensorFlow can tell there is one: each worker, as Python starts, imports a module that
lists it, and that notes what the worker then asks of it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from contract import make_build
from executors.gpus import card, present

from automl.executors import worker
from automl.executors.backends import GPU_MEMORY
from automl.executors.devices import plan_slots
from automl.executors.local import LocalExecutor

_ON_START = """
import os

told = []

def list_a_gpu():
    import tensorflow as tf

    gpu, (cpu,) = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU"), tf.config.list_physical_devices("CPU")
    list_devices, divide = tf.config.list_physical_devices, tf.config.set_logical_device_configuration

    def note(device, what):
        divide(cpu, [tf.config.LogicalDeviceConfiguration()])  # TensorFlow refuses this once it has used a device
        told.append((device.name, what))

    tf.config.list_physical_devices = lambda kind=None: [gpu] if kind == "GPU" else list_devices(kind)
    tf.config.set_logical_device_configuration = lambda device, parts: note(device, [one.memory_limit for one in parts])
    tf.config.experimental.set_memory_growth = note

if os.environ.get("KERAS_BACKEND") == "tensorflow":
    list_a_gpu()
"""


def return_what_was_told(build: object, prepared: object) -> tuple[dict[str, str], list[Any]]:
    """Return the environment that the process was started with, and what was asked of its GPU."""
    import sitecustomize

    entries = Path("/proc/self/environ").read_text().rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries), sitecustomize.told


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One GPU of 40 GiB, for the driver by `nvidia-smi` and for workers by what they import as Python starts."""
    present(monkeypatch, tmp_path / "bin", [card(0)])
    (tmp_path / "sitecustomize.py").write_text(_ON_START)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv(GPU_MEMORY, raising=False)


@pytest.fixture
def executors(prepared_folder: Path, tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts an executor whose one worker has a share of the GPU."""
    started = []

    def start(gpus_per_trial: float, **backends: Any) -> LocalExecutor:
        slots = plan_slots(1, gpus_per_trial)
        executor = LocalExecutor(slots, log_path=tmp_path / "workers.log", **backends)
        started.append(executor)
        executor.start()
        executor.prepare(prepared_folder, make_build())
        return executor

    yield start
    for executor in started:
        executor.close()


_HALF_MIB = 40440 // 2 - 600  # of what is free; 600: CUDA's own


def test_a_share_of_a_gpu_is_a_limit_of_tensorflow(executors: Any) -> None:
    environment, told = executors(0.5).call(return_what_was_told)
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-00000000-aaaa"
    assert environment[GPU_MEMORY] == str(_HALF_MIB)
    assert told == [("/physical_device:GPU:0", [_HALF_MIB])]  # and no growth beside it


def test_a_whole_gpu_is_taken_as_it_is_needed(executors: Any) -> None:
    environment, told = executors(1).call(return_what_was_told)
    assert GPU_MEMORY not in environment
    assert told == [("/physical_device:GPU:0", True)]


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax: the extra 'jax'")
def test_a_share_of_a_gpu_is_a_fraction_for_jax(executors: Any) -> None:
    environment, _ = executors(0.5, backend="jax").call(return_what_was_told)
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-00000000-aaaa"
    assert float(environment["XLA_CLIENT_MEM_FRACTION"]) == pytest.approx(_HALF_MIB / 40960, abs=1e-4)
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == ""  # its older name, which JAX refuses beside the newer


def test_a_share_of_a_gpu_is_a_fraction_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each card's own memory; torch need not be installed."""
    cards, fractions = [40 * 2**30, 16 * 2**30], {}
    cuda = SimpleNamespace(
        device_count=lambda: len(cards),
        get_device_properties=lambda index: SimpleNamespace(total_memory=cards[index]),
        set_per_process_memory_fraction=lambda fraction, index: fractions.update({index: fraction}),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, set_num_threads=lambda threads: None))
    worker._set_up_torch(1)
    assert fractions == {}
    monkeypatch.setenv(GPU_MEMORY, str(8 * 2**10))
    worker._set_up_torch(1)
    assert fractions == {0: 0.2, 1: 0.5}
