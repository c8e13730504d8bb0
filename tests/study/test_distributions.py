from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from automl.errors import SpaceError
from automl.parameters import Choice, Float, Int, Leaf, Repeat, same
from automl.search_space import SearchSpace
from automl.space_sources import find_space
from automl.study.distributions import distributions, from_distribution, suggest, to_distribution

PAIRS: list[tuple[Leaf, BaseDistribution]] = [
    (Int("p", 1, 9), IntDistribution(1, 9)),
    (Int("p", 4, 4), IntDistribution(4, 4)),
    (Int("p", 16, 512, log=True), IntDistribution(16, 512, log=True)),
    (Int("p", -3, 9, step=4), IntDistribution(-3, 9, step=4)),
    (Float("p", 0.0, 0.7), FloatDistribution(0.0, 0.7)),
    (Float("p", 1e-4, 1e-1, log=True), FloatDistribution(1e-4, 1e-1, log=True)),
    (Float("p", 0.0, 0.6, step=0.05), FloatDistribution(0.0, 0.6, step=0.05)),
    (Float("p", 0.1, 0.7, step=0.2), FloatDistribution(0.1, 0.7, step=0.2)),
    (Choice("p", ["relu", "tanh"]), CategoricalDistribution(["relu", "tanh"])),
    (Choice("p", [None, True, 3, 0.5, "x"]), CategoricalDistribution([None, True, 3, 0.5, "x"])),
]


@pytest.mark.parametrize(("parameter", "distribution"), PAIRS)
def test_a_parameter_becomes_a_distribution_and_back(parameter: Leaf, distribution: BaseDistribution) -> None:
    assert to_distribution(parameter) == distribution
    assert from_distribution("p", distribution) == parameter
    assert to_distribution(from_distribution("p", distribution)) == distribution


@pytest.mark.parametrize(("low", "high"), [(1, 10), (0, 9)])
def test_a_range_that_its_step_does_not_divide_ends_on_the_grid_on_both_sides(low: int, high: int) -> None:
    assert to_distribution(Int("p", low, high, step=4)) == IntDistribution(low, low + 8, step=4)
    thirds = Float("p", 0.0, 1.0, step=1 / 3)  # Optuna would warn of a range that its step does not divide
    assert from_distribution("p", to_distribution(thirds)) == thirds


def test_what_is_none_of_optunas_three_is_refused() -> None:
    class Odd(BaseDistribution):
        def __repr__(self) -> str:
            return "Odd()"

        def single(self) -> bool:
            return True

        def to_internal_repr(self, param_value_in_external_repr: Any) -> float:
            return 0.0

        def _contains(self, param_value_in_internal_repr: float) -> bool:
            return True

    with pytest.raises(SpaceError, match=r"'p': no parameter corresponds to Odd\(\)"):
        from_distribution("p", Odd())


@pytest.fixture
def trials() -> Iterator[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return iter(study.ask, None)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Int("p", 1, 3), {1, 2, 3}),
        (Int("p", 2, 9, step=3), {2, 5, 8}),
        (Int("p", 1, 4, log=True), {1, 2, 3, 4}),
        (Float("p", 0.0, 0.6, step=0.05), {index * 5 / 100 for index in range(13)}),
        (Float("p", 0.1, 0.7, step=0.2), {0.1, 0.3, 0.5, 0.7}),
        (Choice("p", [None, True, 3, "x"]), {None, True, 3, "x"}),
    ],
)
def test_suggestions_reach_every_value_bounds_included_and_leave_no_binary_dust(
    parameter: Leaf, expected: set[Any], trials: Any
) -> None:
    values = {suggest(next(trials), "p", parameter) for _ in range(150)}
    assert values == expected
    assert all(parameter.contains(value) for value in values)


@pytest.mark.parametrize("value", [0.15000000000000002, 0.15])
def test_an_enqueued_value_and_a_suggested_one_are_the_same(value: float) -> None:
    study = optuna.create_study()
    study.enqueue_trial({"p": value})
    assert suggest(study.ask(), "p", Float("p", 0.0, 0.6, step=0.05)) == 0.15


def test_an_enqueued_whole_number_becomes_a_float() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"p": 1})
    assert same(suggest(study.ask(), "p", Float("p", 0.0, 2.0)), 1.0)


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn"])
def test_the_distributions_of_a_space_are_those_of_its_leaves(name: str) -> None:
    space = find_space(name)
    made = distributions(space)
    assert list(made) == list(space.leaves())
    for flat, distribution in made.items():
        assert to_distribution(from_distribution("p", distribution)) == distribution, flat


def test_a_trial_walks_a_space_and_gives_a_point_of_it(trials: Any) -> None:
    space = SearchSpace(
        "s", [Repeat("hidden", 0, 3, [Float("dropout", 0.0, 0.6, step=0.1)]), Choice("c", ["x", "y"])], print
    )
    for _ in range(30):
        trial = next(trials)
        config = space.walk(lambda name, parameter, trial=trial: suggest(trial, name, parameter))
        space.validate(config)
        assert set(trial.params) == {"hidden", "c", *(f"hidden.{n}.dropout" for n in range(len(config["hidden"])))}
