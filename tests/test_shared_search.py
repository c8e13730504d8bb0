"""Two driver processes on one study: one budget, exactly, whoever is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from digits_spec import SPEC
from scripted_search import SPACE

from automl.objective import Objective
from automl.records import TrialState
from automl.settings import SearchSettings
from automl.study.shared_study import SharedStudy
from automl.study.study import Study
from automl.study_record import StudyRecord

TESTS = Path(__file__).parent
TRIALS = 40

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}?timeout=30"
    address: str = request.getfixturevalue("postgresql_url")
    return address


@pytest.fixture
def start(tmp_path: Path, url: str, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return a function that starts a driver of the study, in a home folder of that name."""
    name = f"digits-{abs(hash(request.node.nodeid)):x}"
    started: list[subprocess.Popen[str]] = []

    def make(home: str = "here", *, beat_seconds: float = 5.0, grace_seconds: float = 30.0) -> subprocess.Popen[str]:
        folder = tmp_path / home / name
        folder.mkdir(parents=True, exist_ok=True)
        if not started:
            settings = SearchSettings(trials=TRIALS, seconds=None, epochs=3, finalists=1, scheduler="none", refit=False)
            goal = Objective("val_accuracy", "max")
            SharedStudy.create(folder, storage=url, space=SPACE, spec=SPEC, objective=goal, settings=settings)
        asked = {"folder": str(folder), "url": url, "slots": 2}
        asked |= {"beat_seconds": beat_seconds, "grace_seconds": grace_seconds}
        log = (tmp_path / f"driver-{len(started)}.log").open("w+")
        paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
        command = [sys.executable, TESTS / "shared_driver.py", json.dumps(asked)]
        driver = subprocess.Popen(command, stdout=log, stderr=log, text=True, env={**os.environ, "PYTHONPATH": paths})
        log.close()
        started.append(driver)
        return driver

    yield make
    for driver in started:
        driver.kill()
        driver.wait()


@pytest.fixture
def said(tmp_path: Path) -> Callable[[int, str], list[int]]:
    """Return a function that returns the numbers that a driver has said a word of."""

    def read(driver: int, word: str) -> list[int]:
        pairs = [line.split() for line in (tmp_path / f"driver-{driver}.log").read_text().splitlines()]
        return [int(pair[1]) for pair in pairs if pair[0] == word]

    return read


def _record(tmp_path: Path, url: str) -> StudyRecord:
    (folder,) = (tmp_path / "here").iterdir()
    return Study.open(folder, storage=url).record


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _check_whole(record: StudyRecord) -> None:
    assert record.count(TrialState.COMPLETE) == TRIALS == len(record.trials)
    assert all([one.epoch for one in trial.epochs] == [1, 2, 3] for trial in record.trials)
    assert len({trial.config["quality"] for trial in record.trials}) == TRIALS
    assert record.final is not None
    assert record.final.judged_trials == TRIALS


def test_two_drivers_give_one_budget(start: Start, said: Callable[..., list[int]], tmp_path: Path, url: str) -> None:
    drivers = [start(), start("there")]
    assert [driver.wait(60) for driver in drivers] == [0, 0]
    _check_whole(_record(tmp_path, url))
    assert sorted(said(0, "told") + said(1, "told")) == list(range(TRIALS))
    assert sorted(said(0, "trains") + said(1, "trains")) == list(range(TRIALS))  # none twice
    assert said(0, "told")
    assert said(1, "told")
    assert len(said(0, "scores") + said(1, "scores")) == 1
    assert said(0, "ends") == said(1, "ends") == [TRIALS]


@pytest.mark.parametrize("home", ["here", "there"])
@pytest.mark.parametrize("word", ["told", "finalist"])
def test_a_driver_that_is_killed_leaves_its_work_to_the_other(
    start: Start, said: Callable[..., list[int]], tmp_path: Path, url: str, home: str, word: str
) -> None:
    """In one home its lock file tells that it has died; from another home it is silent for the grace period."""
    beats = {} if home == "here" else {"beat_seconds": 0.2, "grace_seconds": 1.5}
    first, second = start(**beats), start(home, **beats)
    _until(lambda: len(said(0, word)) >= (8 if word == "told" else 1) or said(1, word))
    killed, other = (0, 1) if said(0, word) else (1, 0)
    running = set(said(killed, "trains")) - set(said(killed, "told"))
    (first, second)[killed].kill()
    assert (first, second)[other].wait(60) == 0
    _check_whole(_record(tmp_path, url))
    told = said(0, "told") + said(1, "told")
    assert sorted(told) == list(range(TRIALS))
    if word == "told":
        assert running & set(said(other, "told"))
    assert said(other, "scores")
    assert said(other, "ends") == [TRIALS]
