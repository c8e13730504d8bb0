"""Where trials are kept: a torn journal is mended, a reader changes nothing, and a database works as well."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from asked_studies import SPACE, epoch, run

from automl.errors import RequestError, SurroundingsError
from automl.study.storage import JOURNAL_NAME, delete_stored, open_storage
from automl.study.study import Study


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


def test_a_torn_last_line_is_mended_and_the_study_goes_on(create: Callable[..., Study], folder: Path) -> None:
    study = create()
    first = run(study, study.ask())
    second = study.ask()
    study.report(second.number, epoch(1, 0.5))
    journal = folder / JOURNAL_NAME
    whole = journal.read_bytes()
    study.report(second.number, epoch(2, 0.6))
    torn = journal.read_bytes()[: len(whole) + 20]
    journal.write_bytes(torn)

    mended = Study.open(folder, storage=None, space=SPACE)

    assert journal.read_bytes() == whole
    assert mended.record.trials[0] == first
    assert [one.epoch for one in mended.record.trials[1].epochs] == [1]
    again = mended.ask()
    assert (again.number, again.config, again.seed) == (second.number, second.config, second.seed)
    run(mended, again)
    run(mended, mended.ask())
    assert Study.open(folder, storage=None).record == mended.record


def test_the_lock_of_a_killed_driver_is_not_waited_for(create: Callable[..., Study], folder: Path) -> None:
    create()
    journal = folder / JOURNAL_NAME
    lock = journal.with_name("journal.log.lock")
    lock.symlink_to(journal)
    os.utime(lock, (0, 0), follow_symlinks=False)
    started = time.monotonic()
    run(again := Study.open(folder, storage=None, space=SPACE), again.ask())
    assert time.monotonic() - started < 10.0  # Optuna waits for 30 seconds
    assert not lock.is_symlink()


def test_a_lock_that_somebody_has_just_taken_is_respected(create: Callable[..., Study], folder: Path) -> None:
    create()
    journal = folder / JOURNAL_NAME
    lock = journal.with_name("journal.log.lock")
    lock.symlink_to(journal)
    released: list[float] = []

    def release() -> None:
        released.append(time.monotonic())
        lock.unlink()

    timer = threading.Timer(0.5, release)
    timer.start()
    Study.open(folder, storage=None, space=SPACE)
    assert time.monotonic() > released[0]


def test_a_driver_killed_while_it_asks_asks_for_that_trial_again(create: Callable[..., Study], folder: Path) -> None:
    study = create(enqueue=[{"optimizer": "sgd", "momentum": 0.125}], sampler="random")
    journal = folder / JOURNAL_NAME
    start = len(journal.read_bytes())
    asked = study.ask()
    content = journal.read_bytes()
    ends = [start + index + 1 for index, byte in enumerate(content[start:]) if byte == ord("\n")]
    assert len(ends) > 5
    for end in [start, *ends, *[one - 3 for one in ends]]:  # killed after a record, or in the middle of one
        journal.write_bytes(content[:end])
        again = Study.open(folder, storage=None, space=SPACE).ask()
        assert (again.number, again.seed, again.config["momentum"]) == (0, asked.seed, 0.125)
        assert SPACE.contains(again.config)
        if end in (start, ends[0], ends[-2], ends[-1]):  # no value was drawn yet, or all were
            assert again.config == asked.config


def test_opening_to_read_changes_no_byte(create: Callable[..., Study], folder: Path) -> None:
    study = create()
    run(study, study.ask())
    study.report(study.ask().number, epoch(1, 0.5))
    journal = folder / JOURNAL_NAME
    for content in (journal.read_bytes(), journal.read_bytes() + b'{"op_code":6,"worker'):
        journal.write_bytes(content)
        record = Study.open(folder, storage=None).record
        assert journal.read_bytes() == content
        assert record.trials == study.record.trials
        assert [path.name for path in folder.iterdir()] == [JOURNAL_NAME]


def test_reading_a_folder_without_a_journal_makes_none(folder: Path) -> None:
    with pytest.raises(RequestError, match="holds no study"):
        Study.open(folder, storage=None)
    assert list(folder.iterdir()) == []


def test_a_sqlite_url_holds_what_a_journal_holds(create: Callable[..., Study], folder: Path, url: str) -> None:
    study = create(storage=url)
    run(study, study.ask())
    second = study.ask()
    study.report(second.number, epoch(1, 0.25))
    study.spend(12.5)

    again = Study.open(folder, storage=url, space=SPACE)

    assert again.record == study.record
    assert again.record.elapsed_seconds == 12.5
    assert again.ask().number == second.number
    assert list(folder.iterdir()) == []


def test_a_storage_that_has_the_name_says_so(create: Callable[..., Study], url: str) -> None:
    create(storage=url)
    with pytest.raises(RequestError, match=r"automl resume digits-conditional-001"):
        create(storage=url)


def test_a_stored_study_can_be_deleted(create: Callable[..., Study], folder: Path, url: str) -> None:
    create(storage=url)
    delete_stored(folder.name, url)
    with pytest.raises(RequestError, match="no study"):
        Study.open(folder, storage=url)
    with pytest.raises(RequestError, match="no study"):
        delete_stored(folder.name, url)


@pytest.mark.parametrize("bad", ["sqlite:////no/such/folder/studies.db", "nonsense://here", "nonsense"])
def test_a_url_that_cannot_be_opened_is_one_line(folder: Path, bad: str) -> None:
    with pytest.raises(RequestError, match="cannot be opened") as caught:
        open_storage(folder, bad)
    assert "\n" not in str(caught.value)


def test_postgresql_without_its_client_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(RequestError, match=r"pip install 'keras-automl\[postgresql\]'") as caught:
        open_storage(folder, "postgresql://host/studies")
    assert "\n" not in str(caught.value)


def test_a_server_that_does_not_answer_is_one_line_without_the_password(folder: Path) -> None:
    with pytest.raises(RequestError, match="cannot be opened") as caught:
        open_storage(folder, f"postgresql://user:secret@/studies?host={folder}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql//user:secret@host/studies", "nonsense://host/studies?user=me&password=secret&x=1"]
)
def test_a_url_that_is_none_is_refused_without_the_password(folder: Path, url: str) -> None:
    with pytest.raises(RequestError, match=r"\*\*\*.* cannot be opened") as caught:
        open_storage(folder, url)
    assert "secret" not in str(caught.value)


def test_what_stands_for_a_password_is_refused_with_a_way_on(folder: Path) -> None:
    with pytest.raises(RequestError, match=r"\*\*\* stands for a password: write it there, or set AUTOML_STORAGE"):
        open_storage(folder, "postgresql://user:***@host/studies")


def test_a_journal_that_cannot_be_written_is_the_surroundings_fault(folder: Path) -> None:
    (folder / JOURNAL_NAME).mkdir()
    with pytest.raises(SurroundingsError, match="cannot be opened"):
        open_storage(folder, None)


def test_a_database_that_is_locked_is_the_surroundings_fault(
    create: Callable[..., Study], folder: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    create(storage=url)
    with closing(sqlite3.connect(tmp_path / "studies.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        short = f"{url}?timeout=0.1"
        with pytest.raises(SurroundingsError, match="database is locked") as caught:
            Study.open(folder, storage=short)
        assert "\n" not in str(caught.value)
    assert Study.open(folder, storage=short).record.name == folder.name


@pytest.mark.parametrize("line", [b"{]\n", b"{}\n", b"\xff\x00\n", b"7\n"])
def test_a_journal_damaged_in_its_middle_is_one_line(create: Callable[..., Study], folder: Path, line: bytes) -> None:
    create()
    journal = folder / JOURNAL_NAME
    first, rest = journal.read_bytes().split(b"\n", 1)
    journal.write_bytes(first + b"\n" + line + rest)
    for space in (None, SPACE):
        with pytest.raises(SurroundingsError, match=r"journal\.log is damaged .*; see: automl doctor") as caught:
            Study.open(folder, storage=None, space=space)
        assert "\n" not in str(caught.value)
