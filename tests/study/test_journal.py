"""The driver's journal: Optuna reads and writes it too, pieces are whole, and a full disk leaves no half line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from asked_studies import SPACE, epoch, run
from file_sizes import largest_file
from optuna.storages.journal import JournalFileBackend, JournalStorage

from automl.study.journal import DriverStorage, together
from automl.study.storage import JOURNAL_NAME
from automl.study.study import Study


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / JOURNAL_NAME


def _optunas(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_optuna_reads_what_a_study_wrote(create: Callable[..., Study], folder: Path) -> None:
    study = create(sampler="random")
    for _ in range(3):
        run(study, study.ask())
    study.report(study.ask().number, epoch(1, 0.5))
    ours, theirs = (
        optuna.load_study(study_name=folder.name, storage=storage).trials
        for storage in (DriverStorage(folder / JOURNAL_NAME), _optunas(folder / JOURNAL_NAME))
    )
    assert ours == theirs
    assert len(theirs) == 4
    assert theirs[3].intermediate_values == {1: 0.5}


def test_what_others_write_meanwhile_is_seen_and_kept(path: Path) -> None:
    mine = DriverStorage(path)
    study_id = mine.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "digits")
    others = _optunas(path)
    for number in range(3):
        mine.set_study_user_attr(study_id, f"mine {number}", number)
        others.set_study_user_attr(study_id, f"theirs {number}", number)
        with together(mine):
            mine.set_study_user_attr(study_id, "last", number)
            assert f"theirs {number}" in mine.get_study_user_attrs(study_id)
    assert mine.get_study_user_attrs(study_id) == others.get_study_user_attrs(study_id)
    assert len(others.get_study_user_attrs(study_id)) == 7
    assert DriverStorage(path).get_study_user_attrs(study_id) == others.get_study_user_attrs(study_id)


def test_what_is_set_together_is_written_at_the_end_also_of_an_error(path: Path) -> None:
    storage = DriverStorage(path)
    study_id = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "digits")
    before = path.read_bytes()

    def set_and_fail() -> None:
        with together(storage):
            storage.set_study_user_attr(study_id, "first", 1)
            with together(storage):
                storage.set_study_user_attr(study_id, "second", [2])
            assert storage.get_study_user_attrs(study_id) == {"first": 1, "second": [2]}
            assert path.read_bytes() == before
            raise KeyError

    with pytest.raises(KeyError):
        set_and_fail()
    assert _optunas(path).get_study_user_attrs(study_id) == {"first": 1, "second": [2]}
    assert [one.name for one in path.parent.iterdir()] == [JOURNAL_NAME]  # the lock is free


def test_a_line_that_is_being_written_is_read_later(path: Path) -> None:
    storage = DriverStorage(path)
    study_id = storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "digits")
    known = path.stat().st_size
    _optunas(path).set_study_user_attr(study_id, "note", "long")
    content = path.read_bytes()
    path.write_bytes(content[: known + 9])
    assert storage.get_study_user_attrs(study_id) == {}
    path.write_bytes(content)
    assert storage.get_study_user_attrs(study_id) == {"note": "long"}


def test_a_write_that_does_not_fit_leaves_no_half_line(create: Callable[..., Study], folder: Path) -> None:
    study = create(sampler="random")
    trial = study.ask()
    journal = folder / JOURNAL_NAME
    before = journal.read_bytes()
    with largest_file(len(before) + 20), pytest.raises(OSError, match="journal"):
        study.report(trial.number, epoch(1, 0.5))
    assert journal.read_bytes() == before
    study.spend(7.0)
    again = Study.open(folder, storage=None, space=SPACE)
    assert again.record.elapsed_seconds == 7.0
    assert [one.number for one in again.interrupted] == [trial.number]
