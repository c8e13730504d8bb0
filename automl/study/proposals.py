"""`Proposals`: where the next config of a study comes from, one chosen ahead of the ask for it."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from automl.records import Config, FailureReason
from automl.search_space import SearchSpace, flatten
from automl.seeds import derive_seed
from automl.study.claims import DRIVER
from automl.study.distributions import suggest
from automl.study.journal import together
from automl.study.samplers import make_sampler
from automl.study.trials import TrialTable

_DUPLICATES_IN_A_ROW = 8  # proposals that repeat a config, after which an unseen one is taken instead


class Proposal(NamedTuple):
    """An Optuna trial whose parameters are chosen, and their config; it is no trial of the study yet."""

    trial: Trial
    config: Config


class Proposals:
    """Chooses configs that the study has not seen: enqueued ones first, then what the sampler says.

    In the storage a proposal is a running trial without a seed. A driver that dies leaves it so, and the next driver
    proposes it again, with the values that were chosen.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study_name: str,
        space: SearchSpace,
        trials: TrialTable,
        *,
        sampler: str,
        seed: int,
        owner: str = "",
    ) -> None:
        """Start with nothing proposed; `read` takes up what the storage holds.

        Args:
            storage: The study's.
            study_name: Its name there.
            space: What is searched.
            trials: What has been tried.
            sampler: The sampler's name.
            seed: The study's.
            owner: The driver's name, where there may be others; every proposal of its carries it.
        """
        self._storage = storage
        self._study_name = study_name
        self._study_id = storage.get_study_id_from_name(study_name)
        self._space = space
        self._trials = trials
        self._sampler = sampler
        self._seed = seed
        self._owner = owner
        self._grid = iter(space.grid())
        self._queued = 0  # configs that were enqueued and not proposed yet
        self._unfinished: list[int] = []  # proposals of a driver that died
        self._asked = 0  # after the highest number of a trial that was proposed
        self._ahead: Proposal | None = None
        self.is_exhausted = False

    def read(self, frozen: FrozenTrial) -> bool:
        """Take up what the storage holds; return True where it is a trial of the study, with a config."""
        if frozen.state is optuna.trial.TrialState.WAITING:
            self._queued += 1
            return False
        has_config = "seed" in frozen.user_attrs  # of what the study writes when it asks, the last
        if not has_config and frozen.state is optuna.trial.TrialState.RUNNING:
            self._unfinished.append(frozen.number)
            return False
        self._asked = max(self._asked, frozen.number + 1)
        return has_config

    def recount(self) -> None:
        """Forget how many configs are queued: whoever shares the storage may have taken some; `read` counts them."""
        self._queued = 0

    def prefetch(self) -> None:
        """Choose what `take` returns, by what is known now; nothing where that is done, or the space is exhausted."""
        if self._ahead is None and not self.is_exhausted:
            self._ahead = self._propose()
            self.is_exhausted = self._ahead is None

    def refuse_repeated(self) -> bool:
        """Refuse what was chosen ahead where its config has become a trial meanwhile; return True where it had."""
        if self._ahead is None or not self._trials.has_seen(self._ahead.config):
            return False
        repeated, self._ahead = self._ahead, None
        self._refuse(repeated.trial, FailureReason.DUPLICATE.value)
        return True

    def take(self) -> Proposal | None:
        """Return the next proposal, or None when every config of a finite space has been tried."""
        self.prefetch()
        taken, self._ahead = self._ahead, None
        return taken

    def drop(self) -> None:
        """Let go of proposals that nobody will ask for; Optuna counts them as failed."""
        left = [] if self._ahead is None else [self._ahead.trial]
        left += [self.trial(number, self._load(number)) for number in self._unfinished]
        self._ahead, self._unfinished = None, []
        for trial in left:
            self._refuse(trial, "not needed")

    def trial(self, number: int, study: optuna.Study) -> Trial:
        """Return a trial that the storage holds."""
        return Trial(study, self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number))

    def _propose(self) -> Proposal | None:
        repeats = 0
        while repeats <= _DUPLICATES_IN_A_ROW:
            proposed = not self._has_queued  # repeats among what was enqueued say nothing about the space
            trial = self._next_trial(last_resort=repeats == _DUPLICATES_IN_A_ROW)
            if trial is None:
                return None
            with together(self._storage):
                config = self._space.walk(partial(suggest, trial))
            if not self._trials.has_seen(config):
                return Proposal(trial, config)
            self._refuse(trial, FailureReason.DUPLICATE.value)
            repeats += proposed
        return None

    @property
    def _has_queued(self) -> bool:
        return bool(self._unfinished or self._queued)

    def _next_trial(self, *, last_resort: bool) -> Trial | None:
        """Return a trial that has no config yet, or None when the space is exhausted."""
        if self._unfinished:
            number = self._unfinished.pop(0)
            trial = self.trial(number, self._load(number))
        elif self._enqueue(last_resort=last_resort):
            trial = self._new_trial()
        else:
            return None
        self._asked = max(self._asked, trial.number + 1)
        return trial

    def _load(self, number: int) -> optuna.Study:
        """Return the Optuna study anew, for a trial: one that has sampled before remembers the trials it saw then."""
        sampler = make_sampler(self._sampler, seed=self._seed, number=number)
        return optuna.load_study(storage=self._storage, study_name=self._study_name, sampler=sampler)

    def _enqueue(self, *, last_resort: bool) -> bool:
        """Enqueue what does not come from Optuna's sampler; False when the space is exhausted."""
        if self._has_queued:
            return True
        if self._sampler == "grid":
            config = next((one for one in self._grid if not self._trials.has_seen(one)), None)
        elif not last_resort:
            return True
        elif self._space.is_finite:
            config = self._space.unseen(self._trials.has_seen)
        else:
            config = self._space.random_config(Random(derive_seed(self._seed, self._asked)))
        if config is not None:
            self._load(self._asked).enqueue_trial(dict(flatten(config)))
            self._queued += 1
        return config is not None

    def _new_trial(self) -> Trial:
        if self._queued:
            self._queued -= 1
            number = self._load(self._asked).ask().number
            trial = self.trial(number, self._load(number))
            if self._owner:
                trial.set_user_attr(DRIVER, self._owner)
            return trial
        # Optuna's own `ask` would look through all trials for one that waits.
        trial_id = self._storage.create_new_trial(self._study_id, self._template)
        trial = Trial(self._load(self._storage.get_trial_number_from_id(trial_id)), trial_id)
        _ = trial.relative_params  # what takes the sampler long is done before the storage is locked
        return trial

    @property
    def _template(self) -> FrozenTrial | None:
        """What a new trial holds from its first moment: whoever sees it must see whose it is."""
        if not self._owner:
            return None
        return optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={DRIVER: self._owner})

    def _refuse(self, trial: Trial, reason: str) -> None:
        """Close a trial that has no seed, and is therefore hidden everywhere."""
        with together(self._storage):
            trial.set_user_attr("reason", reason)
            trial.study.tell(trial, state=optuna.trial.TrialState.FAIL)
