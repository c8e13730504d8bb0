"""`automl search --executor ray`, as a user types it: a Ray of its own, and an address at which nobody answers."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from command import run_automl

import automl as automl_package
from automl.records import TrialState

_SEARCH = ["search", "iris", "--executor", "ray", "--trials", "2", "--epochs", "2", "--finalists", "0", "--no-mlflow"]


def test_a_search_on_a_ray_of_its_own(tmp_path: Path) -> None:
    """Its space comes from a file, and builds only where the variable is that Ray alone sets in a worker."""
    (tmp_path / "env.yaml").write_text("env_vars: {UNITS: '3'}\n")
    (tmp_path / "sized.py").write_text(
        "from automl import SearchSpace, input_layers, output_layers, training_parameters\n"
        "def build(config, spec):\n"
        "    import os, keras\n"
        "    inputs, x = input_layers(spec)\n"
        "    x = keras.layers.Dense(int(os.environ['UNITS']))(x)\n"
        "    return keras.Model(inputs, output_layers(x, spec))\n"
        "space = SearchSpace('sized', [*training_parameters()], build)\n"
    )
    asked = ["--workers", "1", "--runtime-env", "env.yaml", "--space", "sized.py", "--name", "rayed"]
    ran = run_automl([*_SEARCH, *asked], cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert "best architecture for iris" in ran.out
    assert "Traceback" not in ran.err
    assert "raylet" not in ran.err  # Ray's chatter is in files of its own
    trials = automl_package.load_result("rayed", home=tmp_path / "home").trials
    assert [(one.state, len(one.epochs)) for one in trials] == [(TrialState.COMPLETE, 2)] * 2
    assert {one.parameter_count for one in trials} == {4 * 3 + 3 + 3 * 3 + 3}


def test_an_address_at_which_nobody_answers_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        started = time.monotonic()
        ran = run_automl([*_SEARCH, "--ray-address", address], cwd=tmp_path)
        assert time.monotonic() - started < 15
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert ran.err.startswith(f"automl: --ray-address {address} does not answer")
    assert not (tmp_path / "home").exists()
