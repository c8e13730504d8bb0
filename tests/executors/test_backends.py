"""Which backends there are, and what a worker of each is started with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from automl.errors import RequestError, UnknownNameError
from automl.executors.backends import backend_environment, check_backend
from automl.executors.devices import Slot

_CPU = Slot(threads=1, environment={"CUDA_VISIBLE_DEVICES": ""})
_GPU = Slot(threads=4, environment={"CUDA_VISIBLE_DEVICES": "1"})
_COMPILED = Path("compiled")


def test_the_default_is_installed() -> None:
    assert check_backend("tensorflow") == "tensorflow"


def test_an_unknown_backend_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'jax'"):
        check_backend("jaxx")


def test_a_backend_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--backend torch is not installed.*pip install 'keras-automl\[torch\]'"):
        check_backend("torch")


@pytest.mark.parametrize("name", ["tensorflow", "torch"])
def test_other_backends_take_the_share_of_the_slot_alone(name: str) -> None:
    assert backend_environment(name, _GPU, _COMPILED) == {"KERAS_BACKEND": name, "CUDA_VISIBLE_DEVICES": "1"}


def test_jax_keeps_to_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=1")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    environment = backend_environment("jax", _CPU, _COMPILED)
    assert environment["KERAS_BACKEND"] == "jax"
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["NPROC"] == "1"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "compiled"
    flags = environment["XLA_FLAGS"].split()
    assert "--xla_cpu_multi_thread_eigen=false" in flags
    assert flags[-1] == "--xla_of_the_user=1"  # the last one counts


def test_jax_shares_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = backend_environment("jax", _GPU, _COMPILED)
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert not {"JAX_PLATFORMS", "XLA_FLAGS"} & environment.keys()
