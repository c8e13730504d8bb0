"""Keras's backends: which there are, and with which environment a worker of each is started."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from automl.errors import RequestError, UnknownNameError
from automl.executors.devices import Slot

TENSORFLOW = "tensorflow"
"""The default, and the one that final models are built, scored and saved with, whichever trained them."""

BACKENDS = (TENSORFLOW, "jax", "torch")
GPU_MEMORY = "AUTOML_GPU_MEMORY_MIB"
"""Environment variable of a worker: what it may take of each GPU, for backends that have no variable of their own."""

_CACHE_BYTES = 2**30  # of compiled code; what was not used for longest goes first


def check_backend(name: str) -> str:
    """Return the name of a backend that is installed; nothing is imported.

    Raises:
        UnknownNameError: There is no such backend.
        RequestError: It is not installed.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)
    if importlib.util.find_spec(name) is None:
        raise RequestError(f"--backend {name} is not installed; install it with: pip install 'keras-automl[{name}]'")
    return name


def backend_environment(name: str, slot: Slot, compiled: Path) -> dict[str, str]:
    """Return the environment variables by which a worker's Keras runs on a backend.

    Args:
        name: The backend.
        slot: The worker's share of the machine.
        compiled: Folder that keeps compiled code from one process to the next.
    """
    chosen = {"KERAS_BACKEND": name, **slot.environment}
    if name == "jax":
        return {**chosen, **_jax_environment(slot, compiled)}
    capped = {} if slot.gpu_memory_bytes is None else {GPU_MEMORY: str(slot.gpu_memory_bytes // 2**20)}
    return {**chosen, **capped}


def _jax_environment(slot: Slot, compiled: Path) -> dict[str, str]:
    return {
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(_CACHE_BYTES),
        # By default only what took a second to compile is kept.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",  # or else the folder's path is part of what code is found by
        "NPROC": str(slot.threads),  # what XLA sizes its pools of threads by
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # workers share a GPU's memory
        **_jax_memory_cap(slot),
        **({} if slot.environment.get("CUDA_VISIBLE_DEVICES") else _jax_on_cpu(slot.threads)),
    }


def _jax_memory_cap(slot: Slot) -> dict[str, str]:
    if slot.gpu_memory_bytes is None:
        return {}
    fraction = slot.gpu_memory_bytes / slot.gpus[0].memory_bytes
    # JAX refuses to start where the variable's older name is set as well.
    return {"XLA_CLIENT_MEM_FRACTION": f"{fraction:.4f}", "XLA_PYTHON_CLIENT_MEM_FRACTION": ""}


def _jax_on_cpu(threads: int) -> dict[str, str]:
    """Keep JAX from looking for a GPU, and from compiling for long what is as fast otherwise; what is set stays."""
    flags = ["--xla_backend_optimization_level=1"]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false")
    return {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu"),
        "XLA_FLAGS": " ".join([*flags, os.environ.get("XLA_FLAGS", "")]).strip(),
    }
