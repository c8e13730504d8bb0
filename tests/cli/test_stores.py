"""A disk that is full, one that cannot be written, and a database that is locked, for real: a file system in memory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command import Run, run_automl

import automl as automl_package
from automl.driver import Progress
from automl.errors import SurroundingsError
from automl.records import TrialState


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of its own file system, of twelve megabytes; as `home` the command uses it."""
    disk = tmp_path / "home"
    disk.mkdir()
    if _mount("-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)):
        pytest.skip("mounting a file system in memory is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode


def _fill(path: Path, *, leave: int = 0) -> None:
    """Take what room a disk has, but for some bytes."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**8, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
        file.truncate(file.tell() - leave)


def _end_of_search(options: list[str], home: Path, spoil: Callable[[], object]) -> str:
    """Search iris, spoil something when the first trial has ended, and return the one line that this ends with."""
    command = [str(Path(sys.executable).with_name("automl")), "search", "iris", *options]
    command += ["--workers", "1", "--no-mlflow", "--scheduler", "none", "--epochs", "6"]
    with subprocess.Popen(
        command, env={**os.environ, "AUTOML_HOME": str(home)}, stderr=subprocess.PIPE, text=True
    ) as search:
        assert search.stderr is not None
        for line in search.stderr:
            if line.startswith("trial 0"):
                spoil()
                break
        rest = search.stderr.read()
        assert search.wait(60) == 3, rest
    assert "Traceback" not in rest
    return rest.splitlines()[-1]


def test_a_full_disk_ends_the_search_in_one_line_and_it_goes_on_later(small_disk: Path, automl: Run) -> None:
    last = _end_of_search(
        ["--trials", "40", "--finalists", "0", "--name", "full"], small_disk, lambda: _fill(small_disk / "ballast")
    )
    assert last.startswith("automl: the store failed (No space left on device")
    assert last.endswith("go on with: automl resume full")
    refused = automl("search", "wine", "--no-mlflow", "--workers", "1")
    assert (refused.code, refused.err.count("\n")) == (3, 1), refused.err
    assert "No space left" in refused.err
    before = automl_package.load_result("full", home=small_disk).trials
    (small_disk / "ballast").unlink()
    done = len([trial for trial in before if trial.state.is_final])
    ran = automl("resume", "full", "--trials", str(done + 2))
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
        ran = automl(*arguments)
        assert (ran.code, ran.err.count("\n")) == (code, int(code > 0)), (arguments, ran.err)
        assert code == 0 or "Read-only file system" in ran.err or "cannot be written" in ran.err


def test_a_disk_that_fills_under_the_finalists_and_under_the_final_model_loses_nothing(
    small_disk: Path, automl: Run
) -> None:
    ballast, study = small_disk / "ballast", small_disk / "studies" / "full"
    wide = ["--set", "hidden=2", "--set", "units=512"]  # a megabyte of weights; the journal needs a few kilobytes
    last = _end_of_search(
        ["--trials", "2", "--finalists", "1", "--name", "full", *wide],
        small_disk,
        lambda: _fill(ballast, leave=300_000),
    )
    assert last.startswith("automl: the store failed (No space left on device")
    assert last.endswith("go on with: automl resume full")
    searched = automl_package.load_result("full", home=small_disk).record
    assert [trial.state for trial in searched.trials] == [TrialState.COMPLETE] * 2
    assert searched.finalists == ()
    assert list((study / "finalists").iterdir()) == []

    ballast.unlink()

    def fill_before_the_model_is_saved(progress: Progress) -> None:
        if progress.phase == "test":
            _fill(ballast, leave=300_000)

    with pytest.raises(SurroundingsError, match=r"No space left on device.*go on with: automl resume full") as caught:
        automl_package.resume("full", home=small_disk, progress=fill_before_the_model_is_saved)
    assert "\n" not in str(caught.value)
    trained = automl_package.load_result("full", home=small_disk).record
    assert trained.trials == searched.trials
    assert (len(trained.finalists), trained.refit is not None, trained.final) == (3, True, None)
    assert not list(study.glob("model*"))

    ballast.unlink()
    ran = automl("resume", "full")
    assert ran.code == 0, ran.err
    result = automl_package.load_result("full", home=small_disk)
    assert result.record.finalists == trained.finalists
    assert result.record.refit == trained.refit
    assert result.record.final is not None
    with zipfile.ZipFile(result.model_path) as model:
        assert model.testzip() is None
    assert not (study / "finalists").exists()


def test_a_database_that_is_locked_under_a_search_loses_nothing(tmp_path: Path, automl: Run) -> None:
    database = tmp_path / "studies.db"
    url = f"sqlite:///{database}?timeout=0.5"
    with closing(sqlite3.connect(database, timeout=30)) as other:
        last = _end_of_search(
            ["--trials", "40", "--finalists", "0", "--name", "locked", "--storage", url],
            tmp_path / "home",
            lambda: other.execute("BEGIN EXCLUSIVE"),
        )
        assert last.startswith("automl: the store failed (database is locked)")
        assert "go on with: automl resume locked" in last
    before = automl_package.load_result("locked", home=tmp_path / "home", storage=url).trials
    done = len([trial for trial in before if trial.state.is_final])
    ran = automl("resume", "locked", "--trials", str(done + 2), "--storage", url)
    assert ran.code == 0, ran.err
    after = automl_package.load_result("locked", home=tmp_path / "home", storage=url).trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE] * (done + 2)
    assert after[:done] == before[:done]


def test_the_password_of_a_database_is_written_nowhere_and_needed_nowhere(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes any; the environment holds it, so that what is printed can be run as it is."""
    url = postgresql_url.replace("automl@", "automl:xyzzy4711@")
    assert url != postgresql_url
    options = ["--trials", "1", "--epochs", "1", "--workers", "1", "--finalists", "0", "--name", "hidden"]
    ran = run_automl(["search", "iris", *options, "--storage", url], cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert f"automl report hidden --storage '{postgresql_url.replace('automl@', 'automl:***@')}'" in ran.out
    assert run_automl(["report", "hidden", "--storage", url], cwd=tmp_path).code == 0
    for text in (ran.out, ran.err):
        assert "xyzzy4711" not in text
    monkeypatch.setenv("AUTOML_STORAGE", url)
    resumed = run_automl(["resume", "hidden", "--trials", "2"], cwd=tmp_path)
    assert resumed.code == 0, resumed.err
    assert "automl report hidden  " in resumed.out
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert {"mlflow.db", "report.html", "workers.log"} <= {path.name for path in files}
    assert [path for path in files if b"xyzzy4711" in path.read_bytes()] == []
