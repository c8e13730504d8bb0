"""`SharedStudy`: a study that several drivers work on at a time, through a database.

A trial is claimed before it is trained: the driver's name stands in it, then its seed. Under the study's lock a driver
counts complete, pruned and claimed trials, so that a budget holds exactly, and takes over what a dead driver has
claimed. Values that were chosen ahead carry the driver's name too; they have no seed, and count nowhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from automl.records import Decision, EpochReport, TrialRecord, TrialResult
from automl.search_space import SearchSpace
from automl.study.claims import DRIVER, Claims, Lock, study_lock
from automl.study.study import Study
from automl.study.trial_values import read_running

_LOOK_SECONDS = 1.0  # between two looks at what others have done
_ROLE = "role:"

_log = logging.getLogger(__name__)


class SharedStudy(Study):
    """One driver's view of a study that others change meanwhile."""

    def __init__(
        self,
        folder: Path,
        storage: BaseStorage,
        optuna_study: optuna.Study,
        space: SearchSpace | None,
        lock: Lock,
    ) -> None:
        """Read everything the storage knows; use `create` or `open`."""
        self._study_id = storage.get_study_id_from_name(optuna_study.study_name)
        self._claims = Claims(storage, self._study_id, folder=folder, lock=lock)
        self._elsewhere: set[int] = set()
        self._settled: set[int] = set()  # trials that have ended, which nobody changes any more
        self._roles: dict[str, str] = {}
        self._look_due = 0.0
        super().__init__(folder, storage, optuna_study, space, owner=self._claims.driver)

    @classmethod
    def _over(
        cls, folder: Path, store: BaseStorage, study: optuna.Study, space: SearchSpace | None, url: str | None
    ) -> Self:
        assert url is not None, "is_shared was not asked"
        return cls(folder, store, study, space, study_lock(url, study.study_name))

    @property
    def elsewhere(self) -> int:
        """Trials that other living drivers train."""
        return len(self._elsewhere)

    def catch_up(self) -> None:
        """Take up what other drivers have done, once a second at most."""
        if time.monotonic() >= self._look_due:
            with self._claims.locked():
                self._look()

    def ask(self) -> TrialRecord | None:
        """Claim the next trial to run; None too where others train what is left of the budget."""
        while True:
            if self._has_room and not self._interrupted:
                self._proposals.prefetch()  # it may take long, and others wait for the lock
            with self._claims.locked():
                self._look()
                if not self._interrupted:
                    if not self._has_room:
                        return None
                    if self._proposals.refuse_repeated():  # somebody else has claimed the same meanwhile
                        continue
                return super().ask()

    def take_interrupted(self) -> TrialRecord | None:
        """Claim a trial of a dead driver, or return None."""
        with self._claims.locked():
            self._look()
            return super().take_interrupted()

    def report(self, number: int, report: EpochReport) -> Decision:
        """Keep an epoch of a trial that is this driver's, and decide whether it goes on; another's stops here."""
        with self._claims.locked():
            return super().report(number, report) if self._holds(number) else Decision.STOP

    def retry(self, number: int, result: TrialResult) -> TrialRecord | None:
        """Keep how a run failed of a trial that is this driver's; None where it is another's now."""
        with self._claims.locked():
            return super().retry(number, result) if self._holds(number) else None

    def tell(self, number: int, result: TrialResult) -> TrialRecord | None:
        """Keep how a trial ended that is this driver's; None where it is another's now, and the result is dropped."""
        with self._claims.locked():
            if not self._holds(number):
                return None
            self._settled.add(number)
            return super().tell(number, result)

    def take_role(self, role: str) -> str:
        """Take up work that one driver does for all, such as the finalists.

        Returns:
            The living driver that does it; empty where it is this one.
        """
        with self._claims.locked():
            self._look()
            holder = self._roles.get(role, self._claims.driver)
            if holder != self._claims.driver and self._claims.is_alive(holder):
                return holder
            self._optuna.set_user_attr(_ROLE + role, self._claims.driver)
            return ""

    def close(self) -> None:
        """Give up every claim; what was running is anybody's."""
        self._claims.end()

    @property
    def _has_room(self) -> bool:
        budget = self.settings.trials
        return budget is None or self.counted + len(self._running) + self.elsewhere < budget

    def _look(self) -> None:
        """Take up what the storage holds; the study's lock is held."""
        self._claims.begin()
        self._take_up(self._optuna.user_attrs)
        self._elsewhere.clear()
        self._interrupted.clear()
        self._proposals.recount()
        for frozen in self._optuna.get_trials(deepcopy=False):
            if frozen.number not in self._settled:
                self._read(frozen)
        self._look_due = time.monotonic() + _LOOK_SECONDS

    def _take_up(self, attributes: Mapping[str, Any]) -> None:
        super()._take_up(attributes)
        self._claims.look(attributes)
        self._roles = {
            name.removeprefix(_ROLE): driver for name, driver in attributes.items() if name.startswith(_ROLE)
        }

    def _read(self, frozen: FrozenTrial) -> None:
        number, owner = frozen.number, str(frozen.user_attrs.get(DRIVER, ""))
        is_running = frozen.state is optuna.trial.TrialState.RUNNING
        if number in self._running and not (is_running and owner == self._claims.driver):
            self._lose(number, owner)
        if is_running and owner == self._claims.driver:
            return  # this driver knows it best
        if is_running and not self._is_abandoned(owner):
            self._read_claimed(frozen)
            return
        if frozen.state.is_finished():
            self._settled.add(number)
        elif is_running and "seed" not in frozen.user_attrs:
            self._proposals.trial(number, self._optuna).set_user_attr(DRIVER, self._claims.driver)
        super()._read(frozen)

    def _is_abandoned(self, owner: str) -> bool:
        """Return True for a driver that has died; nothing is taken from one before this driver beats itself."""
        return self._claims.has_begun and not self._claims.is_alive(owner)

    def _read_claimed(self, frozen: FrozenTrial) -> None:
        """Take up how far another driver's trial has come."""
        if "seed" not in frozen.user_attrs:  # chosen ahead, and not claimed
            return
        self._elsewhere.add(frozen.number)
        record = read_running(self._objective, frozen)
        if not self._trials.has(record):
            self._trials.put(record)

    def _start(self, trial: Trial, record: TrialRecord) -> TrialRecord:
        owner = trial.user_attrs.get(DRIVER)
        if owner != self._claims.driver:
            trial.set_user_attr(DRIVER, self._claims.driver)
            _log.info("trial %d is taken over from driver %s, which has died", record.number, owner)
        return super()._start(trial, record)

    def _holds(self, number: int) -> bool:
        """Return True where a trial is this driver's still; the study's lock is held."""
        if number not in self._running:
            return False
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        frozen = self._storage.get_trial(trial_id)
        owner = frozen.user_attrs[DRIVER]
        if owner == self._claims.driver and not frozen.state.is_finished():
            return True
        self._lose(number, owner)
        return False

    def _lose(self, number: int, owner: str) -> None:
        del self._running[number]
        _log.warning(
            "trial %d was taken over by driver %s, which had not heard of this one: what it gives here is dropped",
            number,
            owner,
        )
