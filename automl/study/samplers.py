"""Samplers: they propose configs.

A sampler is made anew for every proposal, seeded by (study seed, trial number): what is proposed then depends on the
trials that are known and on nothing that a process keeps to itself, so that a resumed study proposes what an
uninterrupted one would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import optuna

from automl.errors import UnknownNameError
from automl.seeds import derive_seed

_OPTUNA_SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    # group=True: conditional parameters are sampled jointly too; without it TPE treats them as independent.
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, group=True, multivariate=True, constant_liar=True),
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda seed: optuna.samplers.RandomSampler(seed=seed),  # for what enqueued configs leave open
}
SAMPLERS = (*_OPTUNA_SAMPLERS, "qmc")


def check_sampler(name: str) -> str:
    """Return `name`.

    Raises:
        UnknownNameError: No sampler has that name.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return name


def make_sampler(name: str, *, seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return the Optuna sampler that proposes trial `number`."""
    own_seed = derive_seed(seed, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group=True, qmc
        return _quasi_random(seed, own_seed) if name == "qmc" else _OPTUNA_SAMPLERS[name](own_seed)


def _quasi_random(seed: int, own_seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.QMCSampler(
        seed=seed,  # one seed throughout: the sequence keeps its place in the storage
        scramble=True,
        # What is not in the sequence (parameters that the study's first trial lacks) must differ from trial to trial.
        independent_sampler=optuna.samplers.RandomSampler(seed=own_seed),
        warn_independent_sampling=False,
    )
