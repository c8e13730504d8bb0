"""The README and the pages behind it as a new user follows them: every command and Python block in them is run."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from sklearn.datasets import load_digits

_ROOT = Path(__file__).parent.parent
_PAGES = ["README.md", "docs/data.md", "docs/spaces.md", "docs/deploy.md"]
_BIN = Path(sys.executable).parent
# Another budget for what takes minutes or the network; the command is otherwise run as it stands.
_BUDGET = ["--trials", "2", "--epochs", "2", "--finalists", "0", "--no-mlflow", "--workers", "1"]


def blocks(language: str, pages: Sequence[str] = _PAGES) -> list[str]:
    """Return the fenced blocks of a language."""
    texts = [(_ROOT / page).read_text("utf-8") for page in pages]
    fenced = [
        found for text in texts for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    ]
    return [block for name, block in fenced if name == language]


def commands() -> list[list[str]]:
    """Return every `automl ...` line of the shell blocks, in order."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("automl ")]
    return [shlex.split(line, comments=True) for line in lines]


def with_budget(arguments: list[str]) -> list[str]:
    """Return a search that takes seconds, of the same data and space."""
    kept = [one for one in arguments if one not in ("--time", "5m", "10m", "1h", "--trials", "40")]
    return [*kept, *_BUDGET]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with the home folder in `folder`, its output in a file where it ends with `> FILE`."""
    if ">" in arguments:
        *arguments, _, name = arguments
        done = run(arguments, folder)
        (folder / name).write_text(done.stdout, "utf-8")
        return done
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
    """A folder with the files that commands name, in which the searches have been run that later commands need."""
    folder = tmp_path_factory.mktemp("tour")
    generator = np.random.default_rng(0)
    write_people(folder / "people.csv", generator)
    write_shapes(folder / "shapes.zip", generator)
    images = generator.integers(0, 256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", x_train=images, y_train=np.arange(60) % 3)
    np.savez(folder / "digits.npz", x=load_digits().data[:20])
    first = commands()[0]
    assert first[:3] == ["automl", "search", "digits"]
    # The benchmark of the whole is not a test.
    done = run([*first, "--trials", "4", "--finalists", "1"], folder)
    assert done.returncode == 0, done.stderr
    done = run([*with_budget(["automl", "search", "people.csv", "--target", "income"]), "--finalists", "1"], folder)
    assert done.returncode == 0, done.stderr
    return folder


def write_people(path: Path, generator: np.random.Generator) -> None:
    """Write a table of every kind of column."""
    lines = ["age,born,member,town,note,hours,income"]
    for row in range(80):
        age = int(generator.integers(18, 80))
        town = generator.choice(["Rome", "Oslo", "Lima", ""])
        lines.append(
            f"{age if row % 9 else ''},{2020 - age}-0{row % 9 + 1}-11,{'yes' if row % 2 else 'no'},{town},"
            f"words of person number {row},{age / 2 + row % 3},{'high' if age > 45 else 'low'}"
        )
    path.write_text("\n".join(lines) + "\n", "utf-8")


def write_shapes(path: Path, generator: np.random.Generator) -> None:
    """Write images of two classes, a folder each."""
    with zipfile.ZipFile(path, "w") as archive:
        for row in range(40):
            pixels = generator.integers(0, 100, size=(9, 9, 3), dtype=np.uint8) + 100 * (row % 2)
            file = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
            archive.writestr(f"shapes/{'light' if row % 2 else 'dark'}/{row:03d}.png", file.getvalue())


def test_the_tour_finds_a_good_model_and_prints_what_the_readme_shows(toured: Path) -> None:
    shown = next(block for block in blocks("", ["README.md"]) if "best architecture" in block)
    printed = run(["automl", "best", "digits-mlp-001"], toured).stdout
    # With two workers the winner may be another one; what is said of it stays the same.
    rows = ("study", "parameters", "validation", "re-trained", "refit", "test", "time")
    for label in ("best architecture for digits", *rows):
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
        arguments = with_budget(arguments)
    if arguments[1] == "resume":
        arguments = [*arguments, "--time", "40s"]
    done = run(arguments, toured)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", blocks("python"), ids=["load", "own space", "predict"])
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
