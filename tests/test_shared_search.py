"""Two driver processes on one study: one budget, exactly, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
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
SLOTS = 2

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def url(postgresql_url: str) -> str:
    return postgresql_url


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
        asked = {"folder": str(folder), "url": url, "slots": SLOTS}
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
    assert len({trial.number for trial in record.trials}) == TRIALS
    assert all([one.epoch for one in trial.epochs] == [1, 2, 3] for trial in record.trials)
    assert len({trial.config["quality"] for trial in record.trials}) == TRIALS
    assert record.final is not None
    assert record.final.judged_trials == TRIALS


def test_two_drivers_give_one_budget(start: Start, said: Callable[..., list[int]], tmp_path: Path, url: str) -> None:
    drivers = [start(), start("there")]
    assert [driver.wait(60) for driver in drivers] == [0, 0]
    record = _record(tmp_path, url)
    _check_whole(record)
    numbers = [trial.number for trial in record.trials]
    assert sorted(said(0, "told") + said(1, "told")) == numbers
    assert sorted(said(0, "trains") + said(1, "trains")) == numbers  # none twice
    assert said(0, "told")
    assert said(1, "told")
    assert len(said(0, "scores") + said(1, "scores")) == 1
    assert said(0, "ends") == said(1, "ends") == [TRIALS]


@pytest.mark.parametrize(("word", "home"), [("told", "here"), ("told", "there"), ("finalist", "there")])
def test_a_driver_that_is_killed_leaves_its_work_to_the_other(
    start: Start, said: Callable[..., list[int]], tmp_path: Path, url: str, word: str, home: str
) -> None:
    """In one home its lock file tells that it has died; from another home it is silent for the grace period."""
    beats = {} if home == "here" else {"beat_seconds": 0.2, "grace_seconds": 1.5}
    first, second = start(**beats), start(home, **beats)
    drivers = (first, second)
    _until(lambda: any(len(said(one, word)) >= (5 if word == "told" else 1) for one in (0, 1)))
    killed = 0 if said(0, word) else 1
    other = 1 - killed

    def running() -> set[int]:
        return set(said(killed, "trains")) - set(said(killed, "told"))

    def stands_still_while_it_trains() -> bool:
        drivers[killed].send_signal(signal.SIGSTOP)
        if word == "finalist" or len(running()) == SLOTS:
            return True
        drivers[killed].send_signal(signal.SIGCONT)
        return False

    _until(stands_still_while_it_trains)
    drivers[killed].kill()
    assert drivers[other].wait(60) == 0
    record = _record(tmp_path, url)
    _check_whole(record)
    told = said(0, "told") + said(1, "told")
    assert len(told) == len(set(told))
    unsaid = {trial.number for trial in record.trials} - set(told)
    assert len(unsaid) <= 1  # it may die after it has told a trial, and before it says so
    assert running() - unsaid <= set(said(other, "told"))
    assert said(other, "scores")
    assert said(other, "ends") == [TRIALS]
