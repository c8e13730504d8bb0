"""Samplers: they propose configs.

A sampler is made anew for every proposal, seeded by (study seed, trial number): what is proposed then depends on the
trials that are known and on nothing that a process keeps to itself, so that a resumed study proposes what an
uninterrupted one would have.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Callable, Mapping

import optuna

from automl.errors import UnknownNameError
from automl.records import Config
from automl.search_space import SearchSpace

_OPTUNA_SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    # group=True: conditional parameters are sampled jointly too; without it TPE treats them as independent.
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, group=True, multivariate=True, constant_liar=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed: optuna.samplers.QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False),
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),  # after the grid's own points
}
SAMPLERS = tuple(_OPTUNA_SAMPLERS)


def check_sampler(name: str) -> str:
    """Return `name`.

    Raises:
        UnknownNameError: No sampler has that name.
    """
    if name not in _OPTUNA_SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return name


def make_sampler(name: str, *, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler that proposes trial `number`."""
    # A quasi-random sequence needs one seed throughout; it keeps its place in the storage.
    own_seed = seed if name == "qmc" else derive_seed(seed, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True, qmc
        return _OPTUNA_SAMPLERS[name](own_seed)


def derive_seed(*parts: int) -> int:
    """Return a seed of 31 bits that depends on every part.

    Example:
        >>> derive_seed(0, 1) != derive_seed(1, 0)
        True
    """
    return random.Random(repr(parts)).getrandbits(31)


def grid_point(space: SearchSpace, index: int) -> Config | None:
    """Return point `index` of the space's grid, or None past its end."""
    return next(itertools.islice(space.grid(), index, None), None)
