"""Samplers: the same seed proposes the same twice, also over a resume; and each covers the space as its name says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked_studies import FINITE, SPACE, epoch, run

from automl.errors import UnknownNameError
from automl.parameters import Float
from automl.records import TrialResult, TrialState
from automl.search_space import SearchSpace, config_key
from automl.seeds import derive_seed
from automl.study.samplers import SAMPLERS, check_sampler
from automl.study.study import Study

_TRIALS = 16  # more than the ten that TPE draws at random


def _proposals(study: Study, count: int) -> list[tuple[dict[str, Any], int]]:
    found = []
    for _ in range(count):
        trial = study.ask()
        assert trial is not None
        found.append((trial.config, trial.seed))
        run(study, trial)
    return found


def _folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_proposes_the_same(create: Callable[..., Study], tmp_path: Path, sampler: str) -> None:
    one, two, other = (
        _proposals(create(place=_folder(tmp_path, name), sampler=sampler, seed=seed), _TRIALS)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    assert one == two
    assert [seed for _, seed in one] != [seed for _, seed in other]
    if sampler != "grid":
        assert [config for config, _ in one[1:]] != [config for config, _ in other[1:]]
    assert all(SPACE.contains(config) for config, _ in one)
    assert len({config_key(config) for config, _ in one}) == _TRIALS


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_resumed_study_proposes_what_an_uninterrupted_one_would(
    create: Callable[..., Study], tmp_path: Path, sampler: str
) -> None:
    enqueue = [{"optimizer": "sgd"}]
    whole = _proposals(create(place=_folder(tmp_path, "whole"), sampler=sampler, enqueue=enqueue), _TRIALS)
    folder = _folder(tmp_path, "resumed")
    study = create(place=folder, sampler=sampler, enqueue=enqueue)
    parts = []
    for _ in range(_TRIALS // 4):
        parts += _proposals(study, 4)
        study = Study.open(folder, storage=None, space=SPACE)
    assert parts == whole


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_every_parameter_varies_conditional_ones_too(create: Callable[..., Study], sampler: str) -> None:
    configs = [config for config, _ in _proposals(create(sampler=sampler), 24)]
    momenta = [config["momentum"] for config in configs if "momentum" in config]
    thirds = [config["hidden"][2]["units"] for config in configs if len(config["hidden"]) == 3]
    assert len(momenta) > 2
    assert len(set(momenta)) == len(momenta)
    assert len(set(thirds)) > 1
    assert len({config["learning_rate"] for config in configs}) == len(configs)


def test_tpe_learns_where_the_good_configs_are(create: Callable[..., Study]) -> None:
    space = SearchSpace("toy", SPACE.parameters, print)
    configs = [config for config, _ in _proposals(create(space, sampler="tpe", seed=1), 40)]
    units = [sum(layer["units"] for layer in config["hidden"]) for config in configs]
    assert sum(units[-15:]) / 15 > 1.3 * sum(units[1:11]) / 10  # `quality` grows with the units


def test_tpe_keeps_away_from_what_fails(create: Callable[..., Study], tmp_path: Path) -> None:
    """Half of the space fails, and the best configs lie beside it; also with what is read back half-way."""
    space = SearchSpace("half", [Float("width", 0.0, 1.0), Float("depth", 0.0, 1.0)], print)

    def failures(name: str, reason: str, seed: int) -> int:
        folder = _folder(tmp_path, f"{name}-{seed}")
        study = create(space, place=folder, sampler="tpe", seed=seed)
        count = 0
        for number in range(40):
            if number == 20:
                study = Study.open(folder, storage=None, space=space)
            trial = study.ask()
            assert trial is not None
            size = trial.config["width"] + trial.config["depth"]
            if size > 1:
                study.tell(trial.number, TrialResult(state=TrialState.FAILED, reason=reason))
                count += number >= 20
            else:
                study.report(trial.number, epoch(1, size / 2))
                study.tell(trial.number, TrialResult(state=TrialState.COMPLETE, reason="epochs"))
        return count

    told = sum(failures("told", "oom", seed) for seed in range(3))
    untold = sum(failures("untold", "interrupted", seed) for seed in range(3))
    assert told < 0.7 * untold


def test_a_grid_gives_its_points_in_order_after_the_default(create: Callable[..., Study]) -> None:
    study = create(FINITE, sampler="grid")
    proposed = []
    while (trial := study.ask()) is not None:
        proposed.append(trial.config)
    default = FINITE.default_config()
    assert proposed == [default, *[config for config in FINITE.grid() if config != default]]


def test_a_name_nobody_has_is_refused_with_the_nearest() -> None:
    assert check_sampler("tpe") == "tpe"
    with pytest.raises(UnknownNameError, match=r"'random'"):
        check_sampler("rndom")


def test_a_seed_depends_on_every_part() -> None:
    seeds = {derive_seed(study, number) for study in range(10) for number in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(0, 1, 2) == derive_seed(0, 1, 2)
