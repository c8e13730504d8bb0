from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from file_sizes import largest_file

from automl.errors import RequestError, UnknownNameError
from automl.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "runs")
    home.create()
    return home


def test_the_folder_is_the_given_one_or_the_environments_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOML_HOME", raising=False)
    assert Home().path == tmp_path / "automl-runs"
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "by-environment"))
    assert Home().path == tmp_path / "by-environment"
    assert Home("here").path == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    assert Home("~/runs").path == tmp_path / "person" / "runs"


def test_nothing_is_written_before_create(tmp_path: Path) -> None:
    home = Home(tmp_path / "runs")
    assert home.study_names() == []
    with pytest.raises(UnknownNameError):
        home.study_folder("digits-mlp-001")
    assert list(tmp_path.iterdir()) == []


def test_create_makes_the_folders_and_a_stamp_and_may_be_repeated(home: Home) -> None:
    (home.studies / "kept").mkdir()
    home.create()
    assert home.study_names() == ["kept"]
    assert json.loads((home.path / "automl.json").read_text()) == {"version": 2}
    assert home.datasets.is_dir()
    assert home.mlflow_artifacts.is_dir()


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(
            RequestError, match=r"the home folder .* cannot be written \(.+\): choose another with --home"
        ):
            Home(path).create()
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_stamp_that_does_not_fit_is_no_obstacle_once_there_is_room(tmp_path: Path) -> None:
    home = Home(tmp_path / "runs")
    with largest_file(5), pytest.raises(RequestError, match="cannot be written"):
        home.create()
    assert sorted(path.name for path in home.path.iterdir()) == ["datasets", "mlflow", "studies"]
    home.create()
    assert json.loads((home.path / "automl.json").read_text()) == {"version": 2}
    home.remove_unused()
    assert not home.path.exists()


def test_a_home_of_a_later_version_is_refused(home: Home) -> None:
    (home.path / "automl.json").write_text('{"version": 3}')
    with pytest.raises(RequestError, match="was made by version 3 of this folder's format, not 2"):
        home.create()


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"{}", b"3", b"\xff\xfe"])
def test_a_damaged_stamp_is_refused(home: Home, text: bytes) -> None:
    (home.path / "automl.json").write_bytes(text)
    with pytest.raises(RequestError, match=r"automl.json is damaged: delete that one file"):
        home.create()


def test_a_stamp_that_cannot_be_read_is_refused(home: Home) -> None:
    (home.path / "automl.json").unlink()
    (home.path / "automl.json").mkdir()
    with pytest.raises(RequestError, match="is damaged"):
        home.create()


def test_studies_are_numbered_and_listed_by_name(home: Home) -> None:
    folders = [home.new_study_folder(None, "digits-mlp") for _ in range(3)]
    assert [folder.name for folder in folders] == ["digits-mlp-001", "digits-mlp-002", "digits-mlp-003"]
    shutil.rmtree(folders[1])
    assert home.new_study_folder(None, "digits-mlp") == folders[1]
    home.new_study_folder("aaa", "digits-mlp")
    (home.studies / "a-file").write_text("no study")
    (home.studies / ".deleted-x").mkdir()
    assert home.study_names() == ["aaa", "digits-mlp-001", "digits-mlp-002", "digits-mlp-003"]
    assert home.study_folder("aaa") == home.studies / "aaa"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("my data (2)-mlp", "my-data-2-mlp-001"),
        ("../../etc-mlp", "etc-mlp-001"),
        ("_hidden-mlp", "hidden-mlp-001"),
        ("données-mlp", "donn-es-mlp-001"),
        ("--", "study-001"),
        ("数据", "study-001"),
        ("x" * 300, "x" * 90 + "-001"),
    ],
)
def test_a_generated_name_is_one_that_could_have_been_given(home: Home, stem: str, name: str) -> None:
    folder = home.new_study_folder(None, stem)
    assert folder == home.studies / name
    folder.rmdir()
    assert home.new_study_folder(name, "other") == folder


def test_an_explicit_name_that_exists_is_refused_with_a_way_on(home: Home) -> None:
    home.new_study_folder("mine", "x")
    with pytest.raises(
        RequestError, match="a study 'mine' exists: choose another --name, or go on with: automl resume"
    ):
        home.new_study_folder("mine", "x")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "-x", ".hidden", "a b", "x" * 101, "name\n"])
def test_what_is_no_name_is_refused_and_nothing_is_made(home: Home, name: str) -> None:
    with pytest.raises(RequestError, match="a study's name has letters"):
        home.new_study_folder(name, "x")
    assert home.study_names() == []


def test_a_deleted_study_is_gone_and_its_name_is_free(home: Home) -> None:
    for _ in range(2):
        folder = home.new_study_folder("mine", "x")
        (folder / "journal.log").write_text("all of it")
        home.delete_study("mine")
        assert list(home.studies.iterdir()) == []


def test_a_deletion_that_was_interrupted_is_no_obstacle(home: Home) -> None:
    (home.studies / ".deleted-mine").mkdir()
    (home.studies / ".deleted-mine" / "journal.log").write_text("half of it")
    home.new_study_folder("mine", "x")
    home.delete_study("mine")
    assert list(home.studies.iterdir()) == []


def test_an_unknown_study_is_refused_with_the_nearest(home: Home) -> None:
    home.new_study_folder("digits-mlp-001", "x")
    for act in (home.study_folder, home.delete_study):
        with pytest.raises(UnknownNameError, match=r"unknown study 'digits-mlp-01'; did you mean 'digits-mlp-001'\?"):
            act("digits-mlp-01")
    with pytest.raises(UnknownNameError):
        home.study_folder("..")


def test_a_study_has_one_driver_at_a_time(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    home.new_study_folder("one", "")
    with (
        home.driving("one"),
        pytest.raises(RequestError, match=f"searched by process {os.getpid()}"),
        home.driving("one"),
    ):
        pass
    with home.driving("one"):
        pass


def test_names_that_a_shared_storage_has_are_taken(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    assert home.new_study_folder(None, "iris", taken=["iris-001"]).name == "iris-002"
    with pytest.raises(RequestError, match="exists"):
        home.new_study_folder("mine", "", taken=["mine"])


def test_a_command_names_home_and_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    assert Home().command("resume", "one") == "automl resume one"
    other = Home(tmp_path / "a b").command("resume", "one", "sqlite:///x.db")
    assert other == f"automl resume one --home '{tmp_path / 'a b'}' --storage sqlite:///x.db"


def test_a_command_shows_no_password_and_works_where_the_environment_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path))
    url = "postgresql://me:secret@host/studies"
    assert Home().command("resume", "one", url) == "automl resume one --storage 'postgresql://me:***@host/studies'"
    monkeypatch.setenv("AUTOML_STORAGE", url)
    assert Home().command("resume", "one", url) == "automl resume one"
    assert Home().command("resume", "one", "sqlite:///x.db") == "automl resume one --storage sqlite:///x.db"


def test_drivers_that_share_a_study_hold_it_together_against_others(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.join_study("shared", stored=["shared"])
    with home.driving("shared", shared=True):
        with home.driving("shared", shared=True):
            pass
        with pytest.raises(RequestError, match="is being searched by process"), home.driving("shared"):
            pass
    with home.driving("shared"), pytest.raises(RequestError), home.driving("shared", shared=True):
        pass


def test_a_study_that_no_driver_has_cannot_be_joined(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'shared'\?.* in this storage"):
        Home(tmp_path / "new").join_study("shard", stored=["shared"])
    assert not (tmp_path / "new").exists()


def test_a_study_that_was_joined_in_vain_leaves_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "new")
    assert home.join_study("shared", stored=["shared"])
    assert not home.join_study("shared", stored=["shared"])
    with home.driving("shared", shared=True):
        home.leave_study("shared")
    assert home.study_names() == ["shared"]  # another driver has come to it
    begun = home.study_folder("shared") / "drivers"
    begun.mkdir()
    home.leave_study("shared")
    assert begun.exists()
    begun.rmdir()
    home.leave_study("shared")
    assert not home.path.exists()
