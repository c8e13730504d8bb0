"""`Study`: the only truth about trials. Ask, report and tell over an Optuna study, and every epoch kept in it.

What Optuna's own columns cannot hold (the nested config, every epoch's metrics, why a trial ended) lies in user
attributes beside them, so that a study is whole in its storage and `optuna-dashboard` opens it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from automl.dataset_spec import DatasetSpec
from automl.errors import RequestError
from automl.objective import Objective
from automl.records import (
    Config,
    Decision,
    EpochReport,
    FailureReason,
    FinalScore,
    TrialRecord,
    TrialResult,
    TrialState,
)
from automl.search_space import SearchSpace, config_key, flatten
from automl.seeds import derive_seed
from automl.settings import SearchSettings
from automl.study.distributions import suggest
from automl.study.samplers import make_sampler
from automl.study.schedulers import make_scheduler
from automl.study.storage import open_storage
from automl.study_record import StudyRecord

_DUPLICATES_IN_A_ROW = 8  # proposals that repeat a config, after which an unseen one is taken instead
_OPTUNA_STATE = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}


class Study:
    """One search: dataset x space x objective. Made by `Study.create`, or found again by `Study.open`."""

    def __init__(
        self, folder: Path, storage: BaseStorage, optuna_study: optuna.Study, space: SearchSpace | None
    ) -> None:
        """Read everything the storage knows; use `create` or `open`."""
        self._folder = folder
        self._storage = storage
        self._optuna = optuna_study
        self._read_only = space is None
        self._space = space or _placeholder(optuna_study.user_attrs["space"]["name"])
        attributes = optuna_study.user_attrs
        self._spec = DatasetSpec.from_json(attributes["dataset"])
        self._objective = Objective(**attributes["objective"])
        self._space_attributes = attributes["space"]
        self.origin: Mapping[str, Any] = {
            **attributes["origin"],
            "space_source": attributes["space"]["source"],
        }
        self.settings = SearchSettings.from_json(attributes["settings"])
        self._elapsed_seconds = float(attributes.get("elapsed_seconds", 0.0))
        self._final = FinalScore.from_json(attributes["final"]) if attributes.get("final") else None
        self._finalists = {
            name: TrialRecord.from_json(value)
            for name, value in sorted(attributes.items())
            if name.startswith("finalist:")
        }
        self._grid = self._space.grid()
        self._scheduler = make_scheduler(self.settings.scheduler, max_epochs=self.settings.epochs)
        self._trials: dict[int, TrialRecord] = {}
        self._running: dict[int, Trial] = {}
        self._keys: set[str] = set()
        self._asked = 0
        self._half_asked: list[int] = []
        for frozen in optuna_study.get_trials(deepcopy=False):
            self._read(frozen)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        storage: str | None,
        space: SearchSpace,
        spec: DatasetSpec,
        objective: Objective,
        settings: SearchSettings,
        enqueue: Sequence[Mapping[str, Any]] = (),
        origin: Mapping[str, Any] | None = None,
    ) -> Study:
        """Start a study; its name is the folder's.

        Args:
            folder: The study's folder, which exists.
            storage: An Optuna storage URL, or None for the journal file in the folder.
            space: What is searched.
            spec: The dataset.
            objective: What is optimised.
            settings: How the search is run.
            enqueue: Whole or partial configs to be tried first; the space's default config comes after them.
            origin: What a resume needs beside: where the data came from.

        Raises:
            SpaceError: An enqueued config does not lie in the space.
            RequestError: The storage has a study of that name.
        """
        queued = [_checked(space, config) for config in enqueue]
        maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        direction = maximize if objective.direction == "max" else minimize
        store = open_storage(folder, storage)
        try:
            study = optuna.create_study(storage=store, study_name=folder.name, direction=direction)
        except optuna.exceptions.DuplicatedStudyError as error:
            raise RequestError(
                f"the storage has a study {folder.name!r}: choose another --name, or: automl resume {folder.name}"
            ) from error
        attributes = {
            "objective": {
                "metric": objective.metric,
                "direction": objective.direction,
                "epoch": objective.epoch,
            },
            "settings": settings.to_json(),
            "space": {
                "name": space.name,
                "source": space.source,
                "fingerprint": space.fingerprint(),
                "table": space.table(),
            },
            "origin": dict(origin or {}),
            "dataset": spec.to_json(),  # last: a study that has it is whole
        }
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        for config in [*queued, flatten(space.default_config())]:
            study.enqueue_trial(dict(config))
        return cls(folder, store, study, space)

    @classmethod
    def open(cls, folder: Path, *, storage: str | None, space: SearchSpace | None = None) -> Study:
        """Find a study again.

        Args:
            folder: The study's folder.
            storage: As it was for `create`.
            space: The space it was created with; None to read only (such a study cannot be asked).

        Raises:
            RequestError: There is no such study, or the space is not the one it was created with.
        """
        store = open_storage(folder, storage, read_only=space is None)
        try:
            study = optuna.load_study(storage=store, study_name=folder.name)
        except KeyError as error:
            raise RequestError(f"no study {folder.name!r} in this storage: see automl status") from error
        if "dataset" not in study.user_attrs:
            raise RequestError(f"study {folder.name!r} was never wholly created: automl delete {folder.name}")
        if space is not None and space.fingerprint() != study.user_attrs["space"]["fingerprint"]:
            raise RequestError(
                f"the parameters of space {space.name!r} differ from those that study {folder.name!r} was started with"
            )
        return cls(folder, store, study, space)

    @property
    def record(self) -> StudyRecord:
        """All that is known now."""
        return StudyRecord(
            name=self._folder.name,
            folder=self._folder,
            dataset=self._spec,
            space=self._space_attributes["name"],
            space_table=tuple(self._space_attributes["table"]),
            objective=self._objective,
            settings=self.settings.to_json(),
            trials=tuple(self._trials.values()),
            finalists=tuple(self._finalists.values()),
            final=self._final,
            elapsed_seconds=self._elapsed_seconds,
        )

    @property
    def counted(self) -> int:
        """Complete and pruned trials: what a budget of trials counts."""
        return sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in self._trials.values())

    @property
    def failed(self) -> int:
        """Failed trials."""
        return sum(trial.state is TrialState.FAILED for trial in self._trials.values())

    @property
    def interrupted(self) -> tuple[TrialRecord, ...]:
        """Trials that were running when the driver of an earlier session died; they keep number, config and seed."""
        return tuple(
            trial
            for trial in self._trials.values()
            if trial.state is TrialState.RUNNING and trial.number not in self._running
        )

    def ask(self) -> TrialRecord | None:
        """Return the next trial to run, or None when every config of a finite space has been tried.

        Interrupted trials come first, then enqueued configs, then the space's default, then what the sampler
        proposes. A config that the study has seen is never returned again.
        """
        for interrupted in self.interrupted:
            return self._start(self._again(interrupted.number), interrupted)
        repeats = 0
        while repeats <= _DUPLICATES_IN_A_ROW:
            proposed = not self._has_queued()  # repeats among what was enqueued say nothing about the space
            trial = self._next_trial(last_resort=repeats == _DUPLICATES_IN_A_ROW)
            if trial is None:
                return None
            config = self._space.walk(partial(suggest, trial))
            if config_key(config) not in self._keys:
                return self._start(trial, self._new_record(trial, config))
            trial.set_user_attr("reason", FailureReason.DUPLICATE.value)
            self._optuna.tell(trial, state=optuna.trial.TrialState.FAIL)
            repeats += proposed
        return None

    def report(self, number: int, report: EpochReport) -> Decision:
        """Keep an epoch of a running trial, and decide whether it goes on."""
        record = self._trials[number]
        known = {one.epoch for one in record.epochs}
        epochs = [*(one for one in record.epochs if one.epoch != report.epoch), report]
        record = self._with_value(replace(record, epochs=tuple(sorted(epochs, key=lambda one: one.epoch))))
        self._trials[number] = record
        trial = self._running[number]
        trial.set_user_attr(f"epoch:{report.epoch}", report.to_json())
        loss = self._losses(record).get(report.epoch)
        if loss is None:
            return Decision.CONTINUE
        if report.epoch not in known:
            # The value so far, not the epoch's: Optuna takes the last of these as the value of a pruned trial.
            trial.report(self._objective.loss(loss), report.epoch)
        decision = self._scheduler.report(number, report.epoch, loss)
        # What went on after this epoch in an earlier session goes on, though more may be known by now.
        went_on = report.epoch in known and report.epoch < max(known)
        return Decision.CONTINUE if went_on else decision

    def tell(self, number: int, result: TrialResult) -> TrialRecord:
        """Keep how a running trial ended; one that ended without a usable epoch counts as failed."""
        record = self._trials[number]
        if record.value is None and result.state is TrialState.COMPLETE:
            result = replace(result, state=TrialState.FAILED, reason=FailureReason.NAN.value)
        trial = self._running.pop(number)
        trial.set_user_attr("result", result.to_json())
        self._trials[number] = record.ended(result)
        self._close(self._trials[number])
        return self._trials[number]

    def spend(self, seconds: float) -> None:
        """Say how many seconds a driver has been alive, over all resumes."""
        self._elapsed_seconds = seconds
        self._optuna.set_user_attr("elapsed_seconds", seconds)

    def rebudget(self, *, trials: int | None, seconds: float | None) -> None:
        """Set new totals for the budgets that are given."""
        if trials is None and seconds is None:
            return
        now = self.settings
        kept = (None, None) if now.is_default_budget else (now.trials, now.seconds)
        self.settings = replace(
            now,
            trials=trials if trials is not None else kept[0],
            seconds=seconds if seconds is not None else kept[1],
            is_default_budget=False,
        )
        self._optuna.set_user_attr("settings", self.settings.to_json())

    def keep_finalist(self, number: int, repeat: int, record: TrialRecord) -> None:
        """Keep one re-training of a top config."""
        name = f"finalist:{number:06d}:{repeat:02d}"
        self._finalists[name] = self._with_value(record)
        self._optuna.set_user_attr(name, self._finalists[name].to_json())

    def finalist(self, number: int, repeat: int) -> TrialRecord | None:
        """Return a re-training that was kept, or None."""
        return self._finalists.get(f"finalist:{number:06d}:{repeat:02d}")

    def keep_final(self, final: FinalScore) -> None:
        """Keep the sealed test's verdict."""
        self._final = final
        self._optuna.set_user_attr("final", final.to_json())

    def _seen(self, config: Config) -> bool:
        return config_key(config) in self._keys

    def _enqueue_proposal(self, *, last_resort: bool) -> bool:
        """Enqueue what does not come from Optuna's sampler; False when the space is exhausted."""
        if self._has_queued():
            return True
        if self.settings.sampler == "grid":
            config = next((one for one in self._grid if not self._seen(one)), None)
        elif not last_resort:
            return True
        elif self._space.is_finite:
            config = self._space.unseen(self._seen)
        else:
            config = self._space.random_config(Random(derive_seed(self.settings.seed, self._asked)))
        if config is not None:
            self._optuna.enqueue_trial(dict(flatten(config)))
        return config is not None

    def _new_record(self, trial: Trial, config: Config) -> TrialRecord:
        seed = derive_seed(self.settings.seed, trial.number)
        trial.set_user_attr("config", config)
        trial.set_user_attr("seed", seed)
        return TrialRecord(number=trial.number, config=config, seed=seed, state=TrialState.RUNNING)

    def _start(self, trial: Trial, record: TrialRecord) -> TrialRecord:
        self._running[record.number] = trial
        self._trials[record.number] = record
        self._keys.add(config_key(record.config))
        return record

    def _has_queued(self) -> bool:
        waiting = self._optuna.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
        return bool(self._half_asked or waiting)

    def _next_trial(self, *, last_resort: bool) -> Trial | None:
        """Return a trial that has no config yet, or None when the space is exhausted."""
        self._optuna.sampler = make_sampler(self.settings.sampler, seed=self.settings.seed, number=self._asked)
        if self._half_asked:
            trial = self._again(self._half_asked.pop(0))
        elif self._enqueue_proposal(last_resort=last_resort):
            trial = self._optuna.ask()
        else:
            return None
        self._asked += 1
        return trial

    def _again(self, number: int) -> Trial:
        study_id = self._storage.get_study_id_from_name(self._optuna.study_name)
        return Trial(self._optuna, self._storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def _close(self, record: TrialRecord) -> None:
        """Tell Optuna of a trial that has ended."""
        value = record.value if record.state is TrialState.COMPLETE else None
        self._optuna.tell(record.number, value, state=_OPTUNA_STATE[record.state])

    def _with_value(self, record: TrialRecord) -> TrialRecord:
        best = self._objective.counted_epoch(record.epochs)
        if best is None:
            return record
        return replace(record, value=best.metrics[self._objective.metric], best_epoch=best.epoch)

    def _read(self, frozen: FrozenTrial) -> None:
        """Take up a trial that the storage holds."""
        if frozen.state is optuna.trial.TrialState.WAITING:
            return
        attributes = frozen.user_attrs
        running = frozen.state is optuna.trial.TrialState.RUNNING
        if running and "seed" not in attributes:  # the driver died between asking and writing the config down
            self._half_asked.append(frozen.number)
            return
        self._asked += 1
        if "seed" not in attributes:  # a duplicate
            return
        epochs = [EpochReport.from_json(value) for name, value in attributes.items() if name.startswith("epoch:")]
        record = TrialRecord(
            number=frozen.number,
            config=attributes["config"],
            seed=attributes["seed"],
            state=TrialState.RUNNING,
            epochs=tuple(sorted(epochs, key=lambda one: one.epoch)),
        )
        record = self._with_value(record)
        if "result" in attributes:
            record = record.ended(TrialResult.from_json(attributes["result"]))
            if running and not self._read_only:  # the driver died before the last word
                self._close(record)
        self._trials[frozen.number] = record
        self._keys.add(config_key(record.config))
        self._replay(record)

    def _replay(self, record: TrialRecord) -> None:
        """Tell the scheduler what it heard before; a trial that runs again will report by itself."""
        if not record.state.is_final:
            return
        for epoch, loss in self._losses(record).items():
            self._scheduler.report(record.number, epoch, loss)

    def _losses(self, record: TrialRecord) -> Mapping[int, float]:
        """Return by epoch what a scheduler hears: the loss that counts by then, from the first usable epoch on.

        It looks at no later epoch: a trial that runs again has them already, and must be judged as it was.
        """
        losses: dict[int, float] = {}
        so_far = math.inf
        for report in record.epochs:
            value = report.metrics.get(self._objective.metric, math.nan)
            if math.isfinite(value):
                own = self._objective.loss(value)
                so_far = own if self._objective.epoch == "last" else min(so_far, own)
            if so_far < math.inf:
                losses[report.epoch] = so_far
        return losses


def _checked(space: SearchSpace, partial: Mapping[str, Any]) -> dict[str, Any]:
    """Return a partial config by flat names, after checking that it can be completed."""
    space.complete(partial, lambda _, parameter: parameter.default)
    return dict(flatten(partial))


def _placeholder(name: str) -> SearchSpace:
    """Return a space for reading a study without the code that defines its own."""

    def build(config: Config, spec: Any) -> Any:
        raise RequestError(f"the study was opened without its space {name!r}")

    return SearchSpace(name, [], build)
