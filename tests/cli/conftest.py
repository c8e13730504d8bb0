"""Real searches, shared by the tests of the command line: each costs the start of a worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Ran, Run, run_automl, run_here


@pytest.fixture
def automl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `automl ARGUMENTS` in this process, in an empty folder with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))
    return lambda *arguments: run_here(arguments, monkeypatch, capfd)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ran]:
    """A finished search on iris, with MLflow and a finalist: its working folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("searched")
    arguments = ["search", "iris", "--trials", "4", "--epochs", "8", "--workers", "1", "--finalists", "1"]
    return folder, run_automl([*arguments, "--set", "units=16..32"], cwd=folder)
