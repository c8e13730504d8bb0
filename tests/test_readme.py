"""The README as a new user follows it: every command and every Python block in it is run."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest

_README = Path(__file__).parent.parent / "README.md"
_BIN = Path(sys.executable).parent
# Another budget for what takes minutes or the network; the command is otherwise run as it stands.
_BUDGET = ["--trials", "2", "--epochs", "2", "--finalists", "0", "--no-mlflow", "--workers", "2"]


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", _README.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


def commands() -> list[list[str]]:
    """Return every `automl ...` line of the shell blocks, in order."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("automl ")]
    return [shlex.split(line, comments=True) for line in lines]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the home folder in `folder`."""
    return subprocess.run(
        [str(_BIN / arguments[0]), *arguments[1:]],
        cwd=folder,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tour's first search has been run, and the files that later commands name."""
    folder = tmp_path_factory.mktemp("tour")
    first = commands()[0]
    assert first[:3] == ["automl", "search", "digits"]
    done = run([*first, "--trials", "4", "--finalists", "1"], folder)  # the benchmark of the whole is not a test
    assert done.returncode == 0, done.stderr
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", x_train=images, y_train=np.arange(60) % 3)
    rooms = generator.integers(1, 9, size=60)
    (folder / "houses.csv").write_text("rooms,price\n" + "".join(f"{n},{50.5 * n + n % 2}\n" for n in rooms))
    return folder


def test_the_tour_finds_a_good_model_and_prints_what_the_readme_shows(toured: Path) -> None:
    shown = next(block for block in blocks("") if "best architecture" in block)
    printed = run(["automl", "best", "digits-mlp-001"], toured).stdout
    # With two workers the winner may be another one; what is said of it stays the same.
    for label in ("best architecture for digits", "study", "parameters", "validation", "re-trained", "test", "time"):
        assert re.search(rf"^ *{label} ", printed, flags=re.MULTILINE), f"automl best does not print {label!r}"
        assert re.search(rf"^ *{label} ", shown, flags=re.MULTILINE), f"the README does not show {label!r}"
    found = re.search(r"test +accuracy ([0-9.]+)", printed)
    assert found is not None
    assert float(found.group(1)) >= 0.95


@pytest.mark.parametrize("arguments", commands()[1:], ids=" ".join)
def test_command(arguments: list[str], toured: Path) -> None:
    if arguments[1] == "ui":
        serve_ui(arguments, toured)
        return
    if arguments[1] == "search":
        kept = [one for one in arguments if one not in ("--time", "5m", "1h", "--trials", "40")]
        arguments = [*kept, *_BUDGET]
    if arguments[1] == "resume":
        arguments = [*arguments, "--time", "40s"]
    done = run(arguments, toured)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", blocks("python"), ids=["load", "own space"])
def test_python_block(script: str, toured: Path) -> None:
    done = run(["python", "-c", script.replace("trials=8", "trials=2")], toured)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def serve_ui(arguments: list[str], folder: Path) -> None:
    """Start the UI on a free port, fetch its first page, and end it as Ctrl-C does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(_BIN / "automl"), *arguments[1:], "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as served:
        try:
            assert b"MLflow" in first_page(f"http://127.0.0.1:{port}", served)
            family = psutil.Process(served.pid).children(recursive=True)
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(30) == 0
    assert family
    assert not any(process.is_running() for process in family)


def first_page(url: str, served: subprocess.Popen[bytes]) -> bytes:
    """Return the first page once the server answers; it needs seconds to start."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and served.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                page: bytes = answer.read()
                return page
        except OSError:
            time.sleep(0.5)  # between two polls of another process, which says nothing when it is ready
    raise AssertionError(f"the server ended with {served.poll()} or did not answer in time")
