"""A disk that is full and one that cannot be written, for real: a small file system in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import run_automl

import automl as automl_package
from automl.records import TrialState


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own file system, of two megabytes; as `home` the command uses it."""
    disk = tmp_path / "home"
    disk.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)):
        pytest.skip("mounting a file system in memory is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**8, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_full_disk_ends_the_search_in_one_line_and_it_goes_on_later(small_disk: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("automl")), "search", "iris", "--trials", "40", "--workers", "1"]
    command += ["--name", "full", "--finalists", "0", "--no-mlflow", "--scheduler", "none", "--epochs", "6"]
    with subprocess.Popen(
        command, env={**os.environ, "AUTOML_HOME": str(small_disk)}, stderr=subprocess.PIPE, text=True
    ) as search:
        assert search.stderr is not None
        for line in search.stderr:
            if line.startswith("trial 0"):
                _fill(small_disk / "ballast")
                break
        rest = search.stderr.read()
        assert search.wait(60) == 3, rest
    *_, last = rest.splitlines()
    assert "Traceback" not in rest
    assert last.startswith("automl: the store failed (No space left on device")
    assert last.endswith("go on with: automl resume full")
    refused = run_automl(["search", "wine", "--no-mlflow", "--workers", "1"], cwd=tmp_path)
    assert (refused.code, refused.err.count("\n")) == (3, 1), refused.err
    assert "No space left" in refused.err
    before = automl_package.load_result("full", home=small_disk).trials
    (small_disk / "ballast").unlink()
    done = len([trial for trial in before if trial.state.is_final])
    ran = run_automl(["resume", "full", "--trials", str(done + 2)], cwd=tmp_path)
    assert ran.code == 0, ran.err
    after = automl_package.load_result("full", home=small_disk).trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * (done + 2)
    assert after[:done] == before[:done]

    assert not _mount("-o", "remount,ro", str(small_disk))
    for arguments, code in (
        (["search", "iris"], 2),
        (["resume", "full", "--trials", "99"], 3),
        (["delete", "full", "--yes"], 3),
        (["report", "full"], 2),
        (["sync", "full"], 3),
        (["status", "full"], 0),
        (["best"], 0),
    ):
        ran = run_automl(arguments, cwd=tmp_path)
        assert (ran.code, ran.err.count("\n")) == (code, int(code > 0)), (arguments, ran.err)
        assert code == 0 or "Read-only file system" in ran.err or "cannot be written" in ran.err
