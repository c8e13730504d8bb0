"""The one place where our parameters become Optuna distributions, and back. Both sides have inclusive bounds."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from automl.errors import SpaceError
from automl.parameters import Choice, Float, Int, Leaf, Scalar, canonical
from automl.search_space import SearchSpace


def to_distribution(parameter: Leaf) -> BaseDistribution:
    """Return the Optuna distribution of a parameter.

    Example:
        >>> to_distribution(Int("units", 8, 64, step=8))
        IntDistribution(high=64, log=False, low=8, step=8)
    """
    match parameter:
        case Int():
            return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
        case Float():
            return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
        case Choice():
            return CategoricalDistribution(tuple(parameter.values))


def from_distribution(name: str, distribution: BaseDistribution) -> Leaf:
    """Return the parameter of an Optuna distribution, with the default that its range implies.

    Raises:
        SpaceError: The distribution is none of Optuna's three.
    """
    match distribution:
        case IntDistribution():
            return Int(name, distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case FloatDistribution():
            return Float(name, distribution.low, distribution.high, log=distribution.log, step=distribution.step)
        case CategoricalDistribution():
            return Choice(name, list(distribution.choices))
        case _:
            raise SpaceError(f"{name!r}: no parameter corresponds to {distribution!r}")


def distributions(space: SearchSpace) -> Mapping[str, BaseDistribution]:
    """Return the distributions of every parameter that can become active, by flat name."""
    return {name: to_distribution(parameter) for name, parameter in space.leaves().items()}


def suggest(trial: Trial, name: str, parameter: Leaf) -> Scalar:
    """Let an Optuna trial choose a value; it comes without the binary dust that Optuna leaves on grids."""
    match parameter:
        case Int():
            return trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
        case Float():
            number = trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)
            return float(canonical(parameter, number))
        case Choice():
            value: Scalar = trial.suggest_categorical(name, tuple(parameter.values))
            return value
