"""Proposals that are chosen ahead: no trial until it is asked for, the same after a crash, and none left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from asked_studies import FINITE, SPACE, epoch, run

from automl.records import TrialRecord
from automl.search_space import config_key
from automl.study.samplers import SAMPLERS
from automl.study.storage import JOURNAL_NAME, open_storage
from automl.study.study import Study

Create = Callable[..., Study]


def _ask(study: Study) -> TrialRecord:
    trial = study.ask()
    assert trial is not None
    return trial


def _in_optuna(folder: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=folder.name, storage=open_storage(folder, None, read_only=True)).trials


def _values(frozen: optuna.trial.FrozenTrial, config: dict[str, Any]) -> list[bool]:
    return [frozen.params[name] == config[name] for name in ("optimizer", "learning_rate")]


def test_what_is_chosen_ahead_is_no_trial_until_it_is_asked_for(create: Create, folder: Path) -> None:
    study = create(sampler="random")
    first = _ask(study)
    before = study.record
    study.prefetch()
    study.prefetch()
    assert study.record == before == Study.open(folder, storage=None).record
    assert len(_in_optuna(folder)) == 2
    run(study, first)
    second = _ask(study)
    assert second.number == 1
    assert all(_values(_in_optuna(folder)[1], second.config))
    assert _ask(study).number == 2


def test_it_is_chosen_by_what_is_known_then(create: Create, tmp_path: Path) -> None:
    """TPE learns from the eleventh trial on: what is told after the choice does not change it."""

    def twelfth(name: str, *, ahead: bool, units: int) -> str:
        place = tmp_path / name
        place.mkdir()
        study = create(place=place, sampler="tpe")
        for _ in range(10):
            run(study, _ask(study))
        eleventh = _ask(study)
        if ahead:
            study.prefetch()
        study.report(eleventh.number, epoch(1, 0.01 * units))
        run(study, eleventh)
        return config_key(_ask(study).config)

    assert twelfth("a", ahead=True, units=1) == twelfth("b", ahead=True, units=99)
    assert twelfth("c", ahead=True, units=1) != twelfth("d", ahead=False, units=1)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_killed_driver_leaves_it_to_the_next(create: Create, tmp_path: Path, sampler: str) -> None:
    def proposals(name: str, *, resumed: bool) -> list[tuple[dict[str, Any], int]]:
        place = tmp_path / name
        place.mkdir()
        study = create(place=place, sampler=sampler)
        found = []
        for _ in range(14):
            trial = _ask(study)
            study.prefetch()
            if resumed:
                study = Study.open(place, storage=None, space=SPACE)
                assert _ask(study) == trial
                study.prefetch()
            found.append((trial.config, trial.seed))
            run(study, trial)
            if resumed:
                study = Study.open(place, storage=None, space=SPACE)
        return found

    assert proposals("resumed", resumed=True) == proposals("whole", resumed=False)


def test_killed_at_any_byte_of_choosing_and_asking_loses_and_doubles_nothing(create: Create, folder: Path) -> None:
    study = create(sampler="random")
    first = _ask(study)
    journal = folder / JOURNAL_NAME
    start = journal.stat().st_size
    study.prefetch()
    chosen = journal.stat().st_size
    asked = _ask(study)
    content = journal.read_bytes()
    ends = [start + index + 1 for index, byte in enumerate(content[start:]) if byte == ord("\n")]
    for end in (start, *ends, *[one - 3 for one in ends]):
        journal.write_bytes(content[:end])
        again = Study.open(folder, storage=None, space=SPACE)
        assert _ask(again) == first
        second = _ask(again)
        assert (second.number, second.seed) == (asked.number, asked.seed)
        if end >= chosen:
            assert second.config == asked.config
        assert len(_in_optuna(folder)) == 2


def test_what_nobody_asks_for_is_hidden_and_leaves_nothing_running(create: Create, folder: Path) -> None:
    study = create(sampler="random")
    run(study, _ask(study))
    study.prefetch()
    before = study.record
    study.drop_prefetched()
    study.drop_prefetched()
    assert [one.state.name for one in _in_optuna(folder)] == ["COMPLETE", "FAIL"]
    again = Study.open(folder, storage=None, space=SPACE)
    assert again.record == study.record == before
    assert (again.failed, again.interrupted) == (0, ())
    assert _ask(again).number == 2


def test_what_a_killed_driver_chose_is_dropped_too(create: Create, folder: Path) -> None:
    create(sampler="random").prefetch()
    again = Study.open(folder, storage=None, space=SPACE)
    again.drop_prefetched()
    assert [one.state.name for one in _in_optuna(folder)] == ["FAIL"]


def test_interrupted_trials_come_first(create: Create, folder: Path) -> None:
    trials = [_ask(create(sampler="random"))]
    study = Study.open(folder, storage=None, space=SPACE)
    study.prefetch()
    assert len(_in_optuna(folder)) == 1
    assert [_ask(study)] == trials


def test_an_exhausted_space_has_nothing_to_choose_ahead(create: Create, folder: Path) -> None:
    study = create(FINITE)
    for _ in range(6):
        _ask(study)
    for _ in range(3):
        study.prefetch()
        assert study.ask() is None
    assert sum(one.state.name == "RUNNING" for one in _in_optuna(folder)) == 6
