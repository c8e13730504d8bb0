"""`Study`: the only truth about trials. Ask, report and tell over an Optuna study, and every epoch kept in it.

What Optuna's own columns cannot hold (the nested config, every epoch's metrics, why a trial ended) lies in user
attributes beside them, so that a study is whole in its storage and `optuna-dashboard` opens it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from sys import intern
from typing import Any, Self

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from automl.dataset_spec import DatasetSpec
from automl.errors import RequestError, SurroundingsError
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
from automl.search_space import SearchSpace, flatten
from automl.seeds import derive_seed
from automl.settings import SearchSettings
from automl.study.journal import together
from automl.study.proposals import Proposal, Proposals
from automl.study.schedulers import make_scheduler
from automl.study.storage import open_storage, store_failures
from automl.study.trial_values import losses_by_epoch, read_running, with_value
from automl.study.trials import TrialTable
from automl.study_record import StudyRecord

_OPTUNA_STATE = {
    TrialState.COMPLETE: optuna.trial.TrialState.COMPLETE,
    TrialState.PRUNED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}
_CONSTRAINT = "can be trained"  # violated above 0


class Study:
    """One search: dataset x space x objective. Made by `Study.create`, or found again by `Study.open`."""

    settings: SearchSettings
    _refit: TrialRecord | None
    _final: FinalScore | None

    def __init__(
        self,
        folder: Path,
        storage: BaseStorage,
        optuna_study: optuna.Study,
        space: SearchSpace | None,
        *,
        owner: str = "",
    ) -> None:
        """Read everything the storage knows; use `create` or `open`. `owner` is written into what is proposed."""
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
        self._take_up(attributes)
        self._scheduler = make_scheduler(self.settings.scheduler, max_epochs=self.settings.epochs)
        self._trials = TrialTable()
        self._running: dict[int, Trial] = {}
        self._heard: dict[int, int] = {}  # the last epoch that the scheduler was told of a running trial
        self._interrupted: list[int] = []
        self._proposals = Proposals(
            storage,
            optuna_study.study_name,
            self._space,
            self._trials,
            sampler=self.settings.sampler,
            seed=self.settings.seed,
            owner=owner,
        )
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
    ) -> Self:
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
        return cls._over(folder, store, study, space, storage)

    @classmethod
    def open(cls, folder: Path, *, storage: str | None, space: SearchSpace | None = None) -> Self:
        """Find a study again.

        Args:
            folder: The study's folder.
            storage: As it was for `create`.
            space: The space it was created with; None to read only (such a study cannot be asked).

        Raises:
            RequestError: There is no such study, or the space is not the one it was created with.
            SurroundingsError: The disk or the database failed, or what they hold is damaged.
        """
        try:
            with store_failures(f"the store of study {folder.name!r}", "see: automl doctor"):
                return cls._open(folder, storage, space)
        except (ValueError, KeyError, TypeError) as error:  # what records raise that are not what was written
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise SurroundingsError(f"the records of study {folder.name!r} are damaged ({reason})") from error

    @classmethod
    def _open(cls, folder: Path, storage: str | None, space: SearchSpace | None) -> Self:
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
        return cls._over(folder, store, study, space, storage)

    @classmethod
    def _over(
        cls, folder: Path, store: BaseStorage, study: optuna.Study, space: SearchSpace | None, url: str | None
    ) -> Self:
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
            trials=self._trials.records,
            finalists=tuple(self._finalists.values()),
            refit=self._refit,
            final=self._final,
            elapsed_seconds=self._elapsed_seconds,
        )

    @property
    def counted(self) -> int:
        """Complete and pruned trials: what a budget of trials counts."""
        return self._trials.count(TrialState.COMPLETE, TrialState.PRUNED)

    @property
    def failed(self) -> int:
        """Failed trials."""
        return self._trials.count(TrialState.FAILED)

    @property
    def interrupted(self) -> tuple[TrialRecord, ...]:
        """Trials that were running when the driver of an earlier session died; they keep number, config and seed."""
        return tuple(self._trials[number] for number in self._interrupted)

    @property
    def elsewhere(self) -> int:
        """Trials that other living drivers train."""
        return 0

    @property
    def is_exhausted(self) -> bool:
        """True when every config of a finite space has been tried."""
        return self._proposals.is_exhausted

    def catch_up(self) -> None:
        """Take up what other drivers have done; here there are none."""

    def take_role(self, role: str) -> str:
        """Take up work that one driver does for all; empty where it is this one's, or else the driver that does it."""
        return ""

    def close(self) -> None:
        """Say that this driver does no more."""

    def trial(self, number: int) -> TrialRecord:
        """Return a trial as it stands."""
        return self._trials[number]

    def ask(self) -> TrialRecord | None:
        """Return the next trial to run, or None when every config of a finite space has been tried.

        Interrupted trials come first, then enqueued configs, then the space's default, then what the sampler
        proposes. A config that the study has seen is never returned again.
        """
        if self._interrupted:
            return self._take_interrupted()
        proposal = self._proposals.take()
        return None if proposal is None else self._start(proposal.trial, self._new_record(proposal))

    def take_interrupted(self) -> TrialRecord | None:
        """Return a trial that was interrupted, or None: never a new one."""
        return self._take_interrupted() if self._interrupted else None

    def prefetch(self) -> None:
        """Let the sampler choose what the next `ask` returns, by what is known now.

        Until then it is no trial of the study: it is not counted and in no record. A driver that dies leaves it behind
        as one that it died over while asking: with its values, so that the next driver asks for the same.
        """
        if not self._interrupted:
            self._proposals.prefetch()

    def drop_prefetched(self) -> None:
        """Let go of what was chosen and will not be asked for; Optuna counts it as failed."""
        self._proposals.drop()

    def report(self, number: int, report: EpochReport) -> Decision:
        """Keep an epoch of a running trial, and decide whether it goes on."""
        # The names come from another process with every report, and are the same each time.
        report = replace(report, metrics={intern(name): value for name, value in report.metrics.items()})
        record = self._trials[number]
        known = {one.epoch for one in record.epochs}
        epochs = [*(one for one in record.epochs if one.epoch != report.epoch), report]
        record = with_value(self._objective, replace(record, epochs=tuple(sorted(epochs, key=lambda one: one.epoch))))
        loss = losses_by_epoch(self._objective, record).get(report.epoch)
        trial = self._running[number]
        with together(self._storage):
            trial.set_user_attr(f"epoch:{report.epoch}", report.to_json())
            if loss is not None and report.epoch not in known:
                # The value so far, not the epoch's: Optuna takes the last of these as the value of a pruned trial.
                trial.report(self._objective.loss(loss), report.epoch)
        self._trials.put(record)  # once it is written: the tracker is told of nothing that a full disk did not take
        if loss is None or report.epoch <= self._heard.get(number, 0):  # a retry's: it went on after that
            return Decision.CONTINUE
        self._heard[number] = report.epoch
        decision = self._scheduler.report(number, report.epoch, loss)
        # What went on after this epoch in an earlier session goes on, though more may be known by now.
        went_on = report.epoch in known and report.epoch < max(known)
        return Decision.CONTINUE if went_on else decision

    def retry(self, number: int, result: TrialResult) -> TrialRecord | None:
        """Keep how a run of a running trial failed that is to be run again, with number, config and seed as before.

        Returns:
            The trial; None where another driver has taken it over.
        """
        record = self._trials[number]
        self._running[number].set_user_attr(f"attempt:{len(record.attempts):02d}", result.to_json())
        record = replace(record, attempts=(*record.attempts, result))
        self._trials.put(record)
        return record

    def tell(self, number: int, result: TrialResult) -> TrialRecord | None:
        """Keep how a running trial ended; one that ended without a usable epoch counts as failed.

        Returns:
            The trial; None where another driver has taken it over.
        """
        record = self._trials[number]
        if record.value is None and result.state is TrialState.COMPLETE:
            result = replace(result, state=TrialState.FAILED, reason=FailureReason.NAN.value)
        record = record.ended(result)
        with together(self._storage):
            self._running.pop(number).set_user_attr("result", result.to_json())
            self._close(record)
        self._trials.put(record)
        self._heard.pop(number, None)
        return record

    def spend(self, seconds: float) -> None:
        """Say how many seconds a driver has been alive, over all resumes."""
        self._elapsed_seconds = seconds
        self._optuna.set_user_attr("elapsed_seconds", seconds)

    def revise(
        self,
        *,
        trials: int | None = None,
        seconds: float | None = None,
        retries: int | None = None,
        trial_timeout_seconds: float | None = None,
    ) -> None:
        """Set new totals for the budgets that are given, and new bounds for a trial; what is None stays."""
        given = {
            "trials": trials,
            "seconds": seconds,
            "retries": retries,
            "trial_timeout_seconds": trial_timeout_seconds,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            return
        now = self.settings
        if now.is_default_budget and not given.keys().isdisjoint({"trials", "seconds"}):
            now = replace(now, trials=None, seconds=None, is_default_budget=False)
        self.settings = replace(now, **given)  # type: ignore[arg-type]
        self._optuna.set_user_attr("settings", self.settings.to_json())

    def keep_finalist(self, number: int, repeat: int, record: TrialRecord) -> None:
        """Keep one re-training of a top config."""
        name = f"finalist:{number:06d}:{repeat:02d}"
        record = with_value(self._objective, record)
        self._optuna.set_user_attr(name, record.to_json())
        self._finalists[name] = record

    def finalist(self, number: int, repeat: int) -> TrialRecord | None:
        """Return a re-training that was kept, or None."""
        return self._finalists.get(f"finalist:{number:06d}:{repeat:02d}")

    def keep_refit(self, record: TrialRecord) -> None:
        """Keep the winner's training on all rows that are not sealed."""
        self._optuna.set_user_attr("refit", record.to_json())
        self._refit = record

    def keep_final(self, final: FinalScore) -> None:
        """Keep the sealed test's verdict."""
        self._optuna.set_user_attr("final", final.to_json())
        self._final = final

    def _take_up(self, attributes: Mapping[str, Any]) -> None:
        """Take up what is said of the study as a whole, and may change."""
        self.settings = SearchSettings.from_json(attributes["settings"])
        self._elapsed_seconds = float(attributes.get("elapsed_seconds", 0.0))
        self._refit = TrialRecord.from_json(attributes["refit"]) if attributes.get("refit") else None
        self._final = FinalScore.from_json(attributes["final"]) if attributes.get("final") else None
        self._finalists = {
            name: TrialRecord.from_json(value)
            for name, value in sorted(attributes.items())
            if name.startswith("finalist:")
        }

    def _take_interrupted(self) -> TrialRecord:
        number = self._interrupted.pop(0)
        return self._start(self._proposals.trial(number, self._optuna), self._trials[number])

    def _new_record(self, proposal: Proposal) -> TrialRecord:
        trial, config = proposal
        seed = derive_seed(self.settings.seed, trial.number)
        with together(self._storage):
            trial.set_user_attr("config", config)
            trial.set_user_attr("seed", seed)
        return TrialRecord(number=trial.number, config=config, seed=seed, state=TrialState.RUNNING)

    def _start(self, trial: Trial, record: TrialRecord) -> TrialRecord:
        self._running[record.number] = trial
        self._trials.put(record)
        return record

    def _close(self, record: TrialRecord) -> None:
        """Tell Optuna of a trial that has ended.

        Its samplers overlook failed trials. A config that fails is therefore told as pruned by a constraint that it
        violates, from which they keep away; what failed for another reason says nothing about the space.
        """
        value = record.value if record.state is TrialState.COMPLETE else None
        state = _OPTUNA_STATE[record.state]
        if record.is_infeasible:
            trial = self._proposals.trial(record.number, self._optuna)
            if not trial.constraints:  # a driver may have died right after this
                trial.set_constraint(_CONSTRAINT, 1.0)
            state = optuna.trial.TrialState.PRUNED
        self._optuna.tell(record.number, value, state=state)

    def _read(self, frozen: FrozenTrial) -> None:
        """Take up a trial that the storage holds."""
        if not self._proposals.read(frozen):
            return
        attributes = frozen.user_attrs
        running = frozen.state is optuna.trial.TrialState.RUNNING
        record = read_running(self._objective, frozen)
        if "result" in attributes:
            record = record.ended(TrialResult.from_json(attributes["result"]))
            if running and not self._read_only:  # the driver died before the last word
                self._close(record)
        elif running:
            self._interrupted.append(frozen.number)
        self._trials.put(record)
        self._replay(record)

    def _replay(self, record: TrialRecord) -> None:
        """Tell the scheduler what it heard before; a trial that runs again will report by itself."""
        if not record.state.is_final:
            return
        heard = self._heard.pop(record.number, 0)
        for epoch, loss in losses_by_epoch(self._objective, record).items():
            if epoch > heard:
                self._scheduler.report(record.number, epoch, loss)


def _checked(space: SearchSpace, partial: Mapping[str, Any]) -> dict[str, Any]:
    """Return a partial config by flat names, after checking that it can be completed."""
    space.complete(partial, lambda _, parameter: parameter.default)
    return dict(flatten(partial))


def _placeholder(name: str) -> SearchSpace:
    """Return a space for reading a study without the code that defines its own."""

    def build(config: Config, spec: Any) -> Any:
        raise RequestError(f"the study was opened without its space {name!r}")

    return SearchSpace(name, [], build)
