"""Compiled epochs on JAX give the very losses of `fit` on JAX, by the tests that TensorFlow passes."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automl.executors.backends import backend_environment
from automl.executors.devices import Slot

_HERE = Path(__file__).parent
_SLOT = Slot(threads=1, environment={"CUDA_VISIBLE_DEVICES": ""})
_LEFT_OUT = "several_inputs or alike or weighted_rows or lstm"  # the others hold what they hold, and compile sooner
_KERAS_NUMPY = "ignore:__array__ implementation:DeprecationWarning"  # of keras.Variable.numpy on JAX

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax: the extra 'jax'")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    chosen = backend_environment("jax", _SLOT, tmp_path_factory.mktemp("compiled"))
    flags = f"{chosen['XLA_FLAGS']} --xla_backend_optimization_level=0"  # tiny data: compiling takes all the time
    return {**os.environ, **chosen, "XLA_FLAGS": flags}


def test_the_loop_passes_the_tests_that_tensorflow_passes(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-W", _KERAS_NUMPY, "-k", f"not ({_LEFT_OUT})"]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(_HERE / "test_loop.py"), str(_HERE / "jax_only.py")],
        env=environment,
        cwd=_HERE.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:]
    assert "skipped" not in ran.stdout
