"""The command: the installed one in a process of its own, or in this very one, which has imported all of it already."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from automl.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command gave."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def run_automl(arguments: Sequence[str], *, cwd: Path) -> Ran:
    """Run the installed command in a process of its own."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("automl")), *arguments],
        cwd=cwd,
        env={**os.environ, "AUTOML_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def run_here(arguments: Sequence[str], monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]) -> Ran:
    """Run the command in this very process."""
    monkeypatch.setattr("sys.argv", ["automl", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = captured.readouterr()
    assert isinstance(stopped.value.code, int)
    return Ran(stopped.value.code, printed.out, printed.err)
