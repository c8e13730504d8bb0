"""A home folder that crashes and disks have damaged, and what `automl doctor` makes of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from automl.data import PreparedDataset, load
from automl.data.prepare import prepare
from automl.errors import RequestError, SurroundingsError
from automl.home import PARTIAL_STAMP, Home
from automl.home_repair import Finding, check_storage, repair_home
from automl.objective import Objective
from automl.parameters import Int
from automl.records import EpochReport, FinalScore, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.storage import stored_names
from automl.study.study import Study

_SPACE = SearchSpace("made", [Int("units", 1, 9)], print)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare(load("iris"), task=None, split_seed=0, cache=tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def make(home: Home, prepared: PreparedDataset) -> Callable[..., Path]:
    """Return a function that makes a study of a trial, finished or not, and gives its folder."""

    def made(name: str, *, is_finished: bool = False, storage: str | None = None) -> Path:
        folder = home.new_study_folder(name, "")
        study = Study.create(
            folder,
            storage=storage,
            space=_SPACE,
            spec=replace(prepared.spec, name=name),
            objective=Objective("val_accuracy", "max"),
            settings=SearchSettings(trials=1, seconds=None),
        )
        trial = study.ask()
        assert trial is not None
        for epoch in (1, 2, 3):
            study.report(trial.number, EpochReport(epoch=epoch, metrics={"val_accuracy": 0.8}, seconds=1))
        study.tell(trial.number, TrialResult(state=TrialState.COMPLETE, reason="epochs"))
        if is_finished:
            scores = {"accuracy": 0.7}
            final = FinalScore(trial=0, metrics=scores, interval=(0.6, 0.8), seed_metrics=(scores,), judged_trials=1)
            study.keep_final(final)
        for leftover in ("finalists", "checkpoints"):
            (folder / leftover).mkdir()
        return folder

    return made


def lines(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings]


def test_a_sound_home_has_no_findings_and_nothing_is_touched(home: Home, make: Callable[..., Path]) -> None:
    folder = make("open")
    journal = (folder / "journal.log").read_bytes()
    (home.studies / "elsewhere").mkdir()  # its trials are in a --storage
    assert repair_home(home) == []
    assert (folder / "journal.log").read_bytes() == journal
    assert (folder / "finalists").exists()
    assert (folder / "checkpoints").exists()


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_stamp_is_written_again_and_hides_nothing_else(
    home: Home, make: Callable[..., Path], text: bytes
) -> None:
    with (make("torn") / "journal.log").open("ab") as journal:
        journal.write(b"{")
    (home.path / "automl.json").write_bytes(text)
    stamp, torn = repair_home(home)
    assert str(stamp) == "automl.json: the folder's version cannot be read, as after a full disk; written again"
    assert (torn.where, bool(torn.done)) == ("study torn", True)
    home.create()
    assert repair_home(home) == []


def test_a_home_of_a_later_version_is_not_repaired(home: Home) -> None:
    (home.path / "automl.json").write_text('{"version": 3}')
    (home.studies / ".deleted-x").mkdir()
    with pytest.raises(RequestError, match="was made by version 3"):
        repair_home(home)
    assert (home.studies / ".deleted-x").exists()


def test_a_torn_journal_is_cut_but_not_under_a_living_driver(home: Home, make: Callable[..., Path]) -> None:
    journal = make("torn") / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":')
    with home.driving("torn"):
        assert repair_home(home) == []
    assert journal.read_bytes() != whole
    (line,) = lines(repair_home(home))
    assert line == "study torn: the journal's last line was torn by a crash; 11 bytes cut, all before them is kept"
    assert journal.read_bytes() == whole
    assert repair_home(home) == []


def test_a_damaged_journal_is_named_and_left(home: Home, make: Callable[..., Path]) -> None:
    journal = make("damaged") / "journal.log"
    make("sound")
    journal.write_bytes(damaged := b"{]\n" + journal.read_bytes())
    (finding,) = repair_home(home)
    assert finding.where == "study damaged"
    assert not finding.done
    assert journal.read_bytes() == damaged


def test_what_an_ended_search_left_over_goes(home: Home, make: Callable[..., Path]) -> None:
    folder = make("done", is_finished=True)
    assert [finding.done for finding in repair_home(home)] == ["deleted, nothing needs them"] * 2
    assert not (folder / "finalists").exists()
    assert not (folder / "checkpoints").exists()
    assert Study.open(folder, storage=None).record.final is not None


def test_a_final_model_that_cannot_be_read_is_named_and_left(home: Home, make: Callable[..., Path]) -> None:
    model = make("done", is_finished=True) / "model" / "model.keras"
    model.parent.mkdir()
    with zipfile.ZipFile(model, "w") as archive:
        archive.writestr("config.json", "{}")
    whole = model.read_bytes()
    model.write_bytes(whole[:-1])
    (line,) = lines(repair_home(home))
    assert line == (
        "study done: its final model cannot be read (model/model.keras): bring back a backup, or let a larger budget "
        "make another: automl resume done, with more --trials or --time; left alone"
    )
    assert model.read_bytes() == whole[:-1]
    assert (home.studies / "done" / "finalists").exists()
    model.write_bytes(whole)
    assert [finding.done for finding in repair_home(home)] == ["deleted, nothing needs them"] * 2


def test_what_a_study_needs_that_has_lost_its_winner_stays(home: Home, make: Callable[..., Path]) -> None:
    folder = make("lost", is_finished=True)
    final = Study.open(folder, storage=None).record.final
    assert final is not None
    Study.open(folder, storage=None, space=_SPACE).keep_final(replace(final, trial=7))
    assert lines(repair_home(home)) == ["study lost: its winner, trial 7, is not among its trials; left alone"]
    assert Study.open(folder, storage=None).record.best is None  # and automl status shows the rest
    assert (folder / "finalists").exists()


def test_checkpoints_of_a_larger_budget_that_was_interrupted_stay(home: Home, make: Callable[..., Path]) -> None:
    folder = make("extended", is_finished=True)
    assert Study.open(folder, storage=None, space=_SPACE).ask() is not None
    assert repair_home(home) == []
    assert (folder / "checkpoints").exists()


def test_the_log_of_a_search_that_was_killed_as_it_began_goes_once_it_is_old(home: Home) -> None:
    old, new = home.new_worker_log(), home.new_worker_log()
    for log in (old, new):
        log.touch()
    os.utime(old, (0, 0))
    assert [finding.where for finding in repair_home(home)] == [old.name]
    assert (old.exists(), new.exists()) == (False, True)


def test_stamps_that_were_never_wholly_written_go_once_they_are_old(home: Home) -> None:
    old, new = (home.path / f"{PARTIAL_STAMP}{name}" for name in ("old", "new"))
    for partial in (old, new):
        partial.touch()
    os.utime(old, (0, 0))
    assert [finding.where for finding in repair_home(home)] == [old.name]
    assert (old.exists(), new.exists()) == (False, True)


def test_half_written_datasets_and_deletions_go_and_damaged_ones_are_named(
    home: Home, prepared: PreparedDataset
) -> None:
    sound, half, damaged = "0" * 16, "1" * 16, "2" * 16
    for name in (sound, half, damaged):
        shutil.copytree(prepared.folder, home.datasets / name)
    (home.datasets / half / "spec.json").unlink()
    (home.datasets / damaged / "train" / "x0.npy").write_bytes(b"short")
    for name in (".old.1.partial", ".new.1.partial", ".busy.1.partial"):
        (home.datasets / name).mkdir()
    (home.datasets / ".busy.1.partial" / "x0.npy").touch()  # a file grows, which does not change its folder's time
    for name in (".old.1.partial", ".busy.1.partial"):
        os.utime(home.datasets / name, (0, 0))
    (home.studies / ".deleted-x").mkdir()
    (home.datasets / "mine").mkdir()
    findings = {finding.where: bool(finding.done) for finding in repair_home(home)}
    assert findings == {
        ".deleted-x": True,
        "datasets/.old.1.partial": True,
        f"datasets/{half}": True,
        f"datasets/{damaged}": False,
    }
    assert sorted(path.name for path in home.datasets.iterdir()) == [
        *(".busy.1.partial", ".new.1.partial"),
        *(sound, damaged, "mine"),
    ]


def test_what_cannot_be_read_hides_nothing_else(home: Home, make: Callable[..., Path]) -> None:
    torn, folder = make("a-torn") / "journal.log", make("b-folder") / "journal.log"
    with torn.open("ab") as journal:
        journal.write(b"{")
    folder.unlink()
    folder.mkdir()
    found = {finding.where: bool(finding.done) for finding in repair_home(home)}
    assert found == {"study a-torn": True, "study b-folder": False}


def test_a_damaged_mlflow_store_is_named_and_left(home: Home) -> None:
    store = home.path / "mlflow.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("CREATE TABLE runs (id)")
        connection.commit()
    assert repair_home(home) == []
    content = b"no database" + store.read_bytes()[11:]
    store.write_bytes(content)
    (finding,) = repair_home(home)
    assert (finding.where, finding.done) == ("mlflow.db", "")
    assert "automl sync --all" in finding.meaning
    assert store.read_bytes() == content


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "studies.db"


def _execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute(statement).rowcount == 1
        connection.commit()


def test_a_sound_storage_has_no_findings_and_ended_searches_are_tidied(
    home: Home, make: Callable[..., Path], database: Path
) -> None:
    url = f"sqlite:///{database}"
    make("journaled")
    opened = make("open", storage=url)
    with home.driving("open"):
        assert check_storage(home, url) == (1, [])
    assert check_storage(home, url) == (1, [])
    assert (opened / "finalists").exists()
    done = make("done", is_finished=True, storage=url)
    optuna.create_study(storage=url, study_name="another program's")
    count, findings = check_storage(home, url)
    assert (count, [finding.done for finding in findings]) == (3, ["deleted, nothing needs them"] * 2)
    assert not (done / "finalists").exists()
    assert Study.open(done, storage=url).record.final is not None


def test_what_a_storage_has_lost_is_named_and_left(home: Home, make: Callable[..., Path], database: Path) -> None:
    url = f"sqlite:///{database}"
    for name in ("attribute", "elsewhere", "epoch"):
        make(name, storage=url)
    of = "study_id = (SELECT study_id FROM studies WHERE study_name = '{}')"
    trial = f"trial_id = (SELECT trial_id FROM trials WHERE {of.format('epoch')} AND number = 0)"
    _execute(database, f"DELETE FROM trial_user_attributes WHERE key = 'epoch:2' AND {trial}")
    attribute = f"key = 'objective' AND {of.format('attribute')}"
    _execute(database, f"DELETE FROM study_user_attributes WHERE {attribute}")
    shutil.rmtree(home.studies / "elsewhere")
    (home.studies / "nowhere").mkdir()
    content = database.read_bytes()
    count, findings = check_storage(home, url)
    assert database.read_bytes() == content
    assert count == 3
    assert lines(findings) == [
        "study attribute: the records of study 'attribute' are damaged (KeyError: 'objective'); left alone",
        "study epoch: trial 0 has lost its epochs 2; left alone",
        "study nowhere: its trials are neither in a journal nor in this --storage; left alone",
    ]


def test_a_study_that_cannot_be_read_hides_no_other_of_the_home(
    home: Home, make: Callable[..., Path], database: Path
) -> None:
    url = f"sqlite:///{database}"
    make("journaled")
    for name in ("sound", "torn"):
        make(name, storage=url, is_finished=True)
    torn = "key = 'dataset' AND study_id = (SELECT study_id FROM studies WHERE study_name = 'torn')"
    _execute(database, f"UPDATE study_user_attributes SET value_json = substr(value_json, 1, 9) WHERE {torn}")
    count, findings = check_storage(home, url)
    assert count == 2
    assert [finding.where for finding in findings] == ["storage", "study sound", "study sound", "study torn"]
    assert [bool(finding.done) for finding in findings] == [False, True, True, False]
    with pytest.raises(SurroundingsError, match="is damaged"):
        stored_names(url)


def test_a_storage_that_is_locked_is_the_surroundings_fault(
    home: Home, make: Callable[..., Path], database: Path
) -> None:
    make("made", storage=f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SurroundingsError, match="database is locked"):
            check_storage(home, f"sqlite:///{database}?timeout=0.1")
