"""Several drivers on one study: who trains what, and that a budget holds, on every database that has a lock."""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from asked_studies import FINITE, SPACE, epoch, run
from digits_spec import SPEC
from scripted_search import RememberingTracker
from sqlalchemy.exc import InternalError

from automl.objective import Objective
from automl.records import Decision, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study import claims
from automl.study.shared_study import SharedStudy
from automl.study.study import Study
from automl.tracking import base

COMPLETE = TrialResult(state=TrialState.COMPLETE, reason="epochs")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    address: str = request.getfixturevalue("postgresql_url")
    return address


@pytest.fixture
def homes(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a function that makes the study's folder in another home."""
    name = f"digits-{abs(hash(request.node.nodeid)):x}"

    def make(home: str) -> Path:
        (tmp_path / home / name).mkdir(parents=True, exist_ok=True)
        return tmp_path / home / name

    return make


@pytest.fixture
def drivers(homes: Callable[[str], Path], url: str) -> Iterator[Callable[..., SharedStudy]]:
    """Return a function that starts one driver more; settings are the first one's keyword arguments."""
    opened: list[SharedStudy] = []

    def make(home: str = "here", space: SearchSpace = SPACE, **settings: object) -> SharedStudy:
        folder = homes(home)
        values = {"trials": 4, "seconds": None, "scheduler": "none", "sampler": "random"} | settings
        if opened:
            study = SharedStudy.open(folder, storage=url, space=space)
        else:
            goal = Objective("val_accuracy", "max")
            asked = SearchSettings(**values)
            study = SharedStudy.create(folder, storage=url, space=space, spec=SPEC, objective=goal, settings=asked)
        opened.append(study)
        return study

    yield make
    for study in opened:
        study.close()


def test_two_drivers_share_a_budget_to_the_trial(drivers: Callable[..., SharedStudy]) -> None:
    here, there = drivers(trials=5), drivers("there")
    asked = [study.ask() for study in (here, there, here, there, here)]
    assert sorted(trial.number for trial in asked) == [0, 1, 2, 3, 4]
    assert len({str(trial.config) for trial in asked}) == len({trial.seed for trial in asked}) == 5
    assert here.ask() is None
    assert there.ask() is None
    there.tell(asked[1].number, TrialResult(state=TrialState.FAILED, reason="nan"))
    assert here.ask() is not None  # what failed does not count
    assert there.ask() is None
    assert not here.is_exhausted


def test_what_is_chosen_ahead_counts_nowhere_and_goes_to_the_next_when_its_driver_ends(
    drivers: Callable[..., SharedStudy],
) -> None:
    here, there = drivers(trials=4), drivers("there")
    first = here.ask()
    here.prefetch()
    second, third = there.ask(), there.ask()
    assert [trial.number for trial in (first, second, third)] == [0, 2, 3]  # 1 was chosen here
    assert there.elsewhere == 1
    here.close()
    again = there.ask()
    assert (again.number, again.config, again.seed) == (first.number, first.config, first.seed)
    there.revise(trials=5)
    assert {there.ask().number, there.ask().number} == {1, 4}  # 4 had been chosen there meanwhile
    assert there.ask() is None


def test_a_driver_that_is_silent_loses_its_trials_and_drops_what_it_finds(
    drivers: Callable[..., SharedStudy], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 60.0)  # as one that stands still
    monkeypatch.setattr(claims, "GRACE_SECONDS", 0.5)
    here, there = drivers(trials=2), drivers("there")
    lost, kept = here.ask(), here.ask()
    here.report(lost.number, epoch(1, 0.5))
    run(here, kept)
    assert there.ask() is None  # not yet
    assert [one.epoch for one in there.record.trials[0].epochs] == [1]
    time.sleep(0.6)
    taken = there.ask()
    assert (taken.number, taken.config, taken.seed) == (lost.number, lost.config, lost.seed)
    assert here.report(lost.number, epoch(2, 0.9)) is Decision.STOP
    assert here.tell(lost.number, COMPLETE) is None
    assert here.retry(lost.number, COMPLETE) is None
    assert f"trial {lost.number} was taken over by driver" in caplog.text
    told = run(there, taken, epochs=3)
    assert told.value != 0.9
    for study in (here, there):
        assert study.ask() is None
        assert study.counted == 2
    assert here.record.best == there.record.best


def test_a_driver_whose_last_word_the_database_does_not_take_is_not_waited_for_on_its_machine(
    homes: Callable[[str], Path], tmp_path: Path
) -> None:
    url, folder = f"sqlite:///{tmp_path / 'studies.db'}?timeout=0.1", homes("here")
    goal, asked = Objective("val_accuracy", "max"), SearchSettings(trials=4, seconds=None)
    ended = SharedStudy.create(folder, storage=url, space=SPACE, spec=SPEC, objective=goal, settings=asked)
    trial = ended.ask()
    with closing(sqlite3.connect(tmp_path / "studies.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended.close()
    following = SharedStudy.open(folder, storage=url, space=SPACE)
    assert following.ask().number == trial.number
    following.close()


def test_a_finite_space_is_tried_once_by_both(drivers: Callable[..., SharedStudy]) -> None:
    here, there = drivers(space=FINITE, trials=50), drivers("there", FINITE)
    tried = []
    while not (here.is_exhausted and there.is_exhausted):
        for study in (here, there):
            study.prefetch()
        for study in (here, there):
            trial = study.ask()
            if trial is not None:
                tried.append(str(trial.config))
                study.report(trial.number, epoch(1, 0.5))
                study.tell(trial.number, COMPLETE)
    assert len(tried) == len(set(tried)) == 6
    assert {str(trial.config) for trial in here.record.trials} == set(tried)


def test_a_larger_budget_reaches_every_driver(drivers: Callable[..., SharedStudy]) -> None:
    here, there = drivers(trials=1), drivers("there")
    assert here.ask() is not None
    assert there.ask() is None
    there.revise(trials=3)
    assert there.ask() is not None
    assert here.ask() is not None
    assert here.ask() is None


def test_work_for_all_is_one_drivers_until_it_ends(drivers: Callable[..., SharedStudy]) -> None:
    here, there = drivers(), drivers("there")
    assert here.take_role("finalists") == ""
    assert here.take_role("finalists") == ""
    assert there.take_role("finalists") != ""
    assert there.take_role("another") == ""
    here.close()
    assert there.take_role("finalists") == ""


def test_a_driver_that_is_at_work_is_seen_from_another_home(
    drivers: Callable[..., SharedStudy], homes: Callable[[str], Path], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.2)
    here, folder = drivers(), homes("there")
    watched: list[str] = []
    find = functools.partial(claims.living_driver, url, watching=watched.append)
    assert find(folder.name, folder) == ""  # nobody has begun
    here.ask()
    assert str(os.getpid()) in find(folder.name, folder)
    assert len(watched) == 1
    here.close()
    assert find(folder.name, folder) == ""
    assert find("another", folder) == ""
    assert len(watched) == 1


def test_a_driver_that_was_killed_is_taken_for_dead_after_the_grace_period(
    drivers: Callable[..., SharedStudy], homes: Callable[[str], Path], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 60.0)  # as one that stands still
    monkeypatch.setattr(claims, "GRACE_SECONDS", 0.5)
    drivers().ask()
    folder, began = homes("there"), time.monotonic()
    watched: list[str] = []
    assert claims.living_driver(url, folder.name, folder, watching=watched.append) == ""
    assert len(watched) == 1
    assert time.monotonic() - began > 0.5


def test_a_study_of_an_earlier_version_is_taken_up(
    drivers: Callable[..., SharedStudy], homes: Callable[[str], Path], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "GRACE_SECONDS", 1.0)  # what a busy machine may take under the lock too
    drivers().close()
    before = Study.open(homes("here"), storage=url, space=SPACE)
    trial = before.ask()
    before.report(trial.number, epoch(1, 0.5))
    here = drivers()
    assert here.ask().number == 1
    time.sleep(1.1)
    assert here.ask().number == trial.number  # nobody's name stands in it: it was some driver's that is dead


def test_one_driver_writes_runs_until_it_ends(
    drivers: Callable[..., SharedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_TURN_SECONDS", 0.0)
    studies = [drivers(), drivers("there")]
    stores = [RememberingTracker(), RememberingTracker()]
    here, there = (
        base.TakingTurns(store, lambda study=study: not study.take_role("mlflow"))
        for store, study in zip(stores, studies, strict=True)
    )
    for _ in range(2):
        for tracker, study in ((here, studies[0]), (there, studies[1])):
            tracker.update(study.record)
    assert [len(store.records) for store in stores] == [2, 0]
    studies[0].close()
    there.update(studies[1].record)
    assert [len(store.records) for store in stores] == [2, 1]


def test_a_driver_that_hangs_in_the_lock_loses_it(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "GRACE_SECONDS", 0.3)
    hanging, other = (claims.study_lock(postgresql_url, "one") for _ in range(2))

    def hang() -> None:
        with hanging.held():
            started = time.monotonic()
            with other.held():
                assert 0.2 < time.monotonic() - started < 5

    with pytest.raises(InternalError, match="idle-in-transaction"):
        hang()
    for lock in (hanging, other):
        lock.close()
