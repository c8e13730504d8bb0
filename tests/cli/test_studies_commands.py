"""`automl delete`, `automl doctor`, and what `automl resume` refuses."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command import Run
from digits_spec import SPEC
from executors.gpus import A100, card, present

from automl.data_request import DataRequest
from automl.home import Home
from automl.objective import Objective
from automl.parameters import Int
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.shared_study import SharedStudy
from automl.study.storage import stored_names
from automl.study.study import Study

MADE: dict[str, Any] = {
    "space": SearchSpace("made", [Int("units", 1, 9)], print),
    "spec": SPEC,
    "objective": Objective("val_accuracy", "max"),
    "settings": SearchSettings(trials=1, seconds=None),
}


def test_delete_removes_the_folder_and_nothing_else(automl: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    for name in ("one", "two"):
        (home.new_study_folder(name, "") / "journal.log").write_text("{}\n")
    assert automl("delete", "one", "--yes").out == "deleted one\n"
    assert home.study_names() == ["two"]
    refused = automl("delete", "one", "--yes")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[SharedStudy, str]]:
    """A study in an SQLite file, that a driver of another home works on, and the file's URL."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    elsewhere = Home(tmp_path / "elsewhere")
    elsewhere.create()
    folder = elsewhere.new_study_folder("made", "")
    origin = {"data": DataRequest(source=str(tmp_path / "gone.csv")).to_json(), "fingerprint": "0" * 16}
    study = SharedStudy.create(folder, storage=url, **MADE, origin=origin)
    yield study, url
    study.close()


def test_a_study_is_not_deleted_under_a_driver_of_another_home(
    automl: Run, tmp_path: Path, shared: tuple[SharedStudy, str]
) -> None:
    study, url = shared
    home = Home(tmp_path / "home")
    home.join_study("made", stored=["made"])
    assert study.ask() is not None
    refused = automl("delete", "made", "--yes", "--storage", url)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert f":{os.getpid()}:" in refused.err
    assert home.study_names() == stored_names(url) == ["made"]
    study.close()
    assert automl("delete", "made", "--yes", "--storage", url).code == 0
    assert home.study_names() == stored_names(url) == []


def test_a_study_that_cannot_be_joined_leaves_no_home(
    automl: Run, tmp_path: Path, shared: tuple[SharedStudy, str]
) -> None:
    _, url = shared
    refused = automl("resume", "made", "--storage", url)
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    assert "gone.csv" in refused.err
    assert not (tmp_path / "home").exists()


def test_doctor_starts_a_worker_and_describes_the_machine(
    automl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a machine that seems to have two GPUs."""
    present(monkeypatch, tmp_path / "bin", [card(0), card(1, name="NVIDIA L4", total="23034", free="22000")])
    ran = automl("doctor", "--gpus-per-trial", "0.5", "--json")
    assert ran.code == 0, ran.out
    checks = {check["check"]: check for check in json.loads(ran.out)}
    assert all(check["ok"] for check in checks.values())
    assert {"tensorflow", "optuna", "mlflow", "ray", "cores", "memory", "gpu", "home", "worker", "start"} <= set(checks)
    assert "ready in" in checks["start"]["found"]
    found = [check["found"] for check in json.loads(ran.out) if check["check"] == "worker"]
    assert [line.split(";")[0] for line in found] == [
        *(f"GPU 0 ({A100}), 19.2 GiB of its memory", "GPU 1 (NVIDIA L4), 10.2 GiB of its memory"),
        *(f"GPU 0 ({A100}), 19.2 GiB of its memory", "GPU 1 (NVIDIA L4), 10.2 GiB of its memory"),
    ]


def test_doctor_says_what_fails(automl: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = automl("doctor", "--home", "file", "--json")
    assert ran.code == 3
    (failed,) = [check for check in json.loads(ran.out) if not check["ok"]]
    assert failed["check"] == "home"


@pytest.mark.parametrize("url", ["sqlite:///missing.db", "sqlite:////no/such/folder/studies.db", "nonsense://here"])
def test_doctor_refuses_a_storage_that_cannot_be_opened(automl: Run, tmp_path: Path, url: str) -> None:
    ran = automl("doctor", "--storage", url)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
    assert url in ran.err
    assert list(tmp_path.iterdir()) == []


def test_doctor_looks_at_the_studies_of_a_storage(automl: Run, tmp_path: Path) -> None:
    database = tmp_path / "studies.db"
    url = f"sqlite:///{database}"
    home = Home(tmp_path / "home")
    home.create()
    Study.create(home.new_study_folder("made", ""), storage=url, **MADE)
    (home.studies / "lost").mkdir()
    (home.path / "automl.json").write_text("")  # a disk was full at the first use: it is repaired, and holds nothing up
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE study_user_attributes SET value_json = '7' WHERE key = 'objective'")
        connection.commit()
    ran = automl("doctor", "--storage", url, "--json")
    assert ran.code == 3, ran.out
    checks = json.loads(ran.out)
    assert [check["found"] for check in checks if check["check"] == "storage"] == [f"{url}, 1 studies"]
    assert [check["found"].split(":")[0] for check in checks if check["check"] == "repair" and check["ok"]] == [
        "automl.json"
    ]
    lost, damaged = [check["found"] for check in checks if not check["ok"]]
    assert lost == "study lost: its trials are neither in a journal nor in this --storage; left alone"
    assert damaged.startswith("study made: the records of study 'made' are damaged")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--executor", "rai"], "'rai'"),
        (["--ray-address", "auto"], "--executor ray"),
        (["--gpus-per-trial", "1.5"], "--gpus-per-trial"),
    ],
)
def test_a_study_is_not_resumed_where_there_is_no_such_place(
    automl: Run, tmp_path: Path, options: list[str], said: str
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    folder = home.new_study_folder("made", "")
    Study.create(folder, storage=None, **MADE)
    ran = automl("resume", "made", *options)
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert said in ran.err
