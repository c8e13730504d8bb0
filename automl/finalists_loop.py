"""The driver's last part: re-trains the finalists, refits the winner, and has it scored on the sealed test split."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

from automl.driver import Driver
from automl.durable import sync_named
from automl.executors.backends import TENSORFLOW
from automl.executors.base import Event, Reported
from automl.finalist_plan import (
    CONCENTRATE_SECONDS,
    SEEDS,
    drop_damaged_weights,
    plan_finalists,
    refit_seconds,
    weights_path,
    whole_trainings,
)
from automl.finalists import choose_winner, finalist_jobs, refit_job, score_on_test
from automl.records import EpochReport, TrialRecord, TrialState
from automl.training.checkpoint import discard
from automl.training.job import TrialJob

_NO_REFIT = "time allowed no refit on training and validation rows"


class FinalistsLoop:
    """Runs what follows a study's search."""

    def __init__(self, driver: Driver, *, reserve_seconds: float) -> None:
        """Plan for the time that is left.

        Args:
            driver: Runs the jobs.
            reserve_seconds: What the search kept of the time. It still holds where the last epochs of the search took
                a little of it: late finalists are stopped.
        """
        self._driver = driver
        self._study = driver.study
        self._executor = driver.executor
        self._running: dict[int, TrialRecord] = {}  # by the job's seed
        self._waiting: list[tuple[TrialJob, TrialRecord]] = []  # not begun, or to be run again
        self._repeats: dict[int, int] = {}  # by the job's seed
        driver.shown = self._running.values
        drop_damaged_weights(self._study.record.folder)
        seconds = max(driver.seconds_left(), reserve_seconds, driver.closing_seconds)
        self._plan = plan_finalists(
            self._study.record, slots=driver.slots, seconds=seconds, closing=driver.closing_seconds
        )
        driver.notes["finalists"] = self._plan.shortened

    def run(self) -> None:
        """Re-train the finalists, choose the winner, refit it, and score it.

        Raises:
            KeyboardInterrupt: The driver was told to stop.
        """
        if self._plan.configs and not self._plan.seeds:
            (only,) = self._plan.configs
            refit = self._refit(only, [])
            if refit is not None:
                self._score(only, [], refit)
                return
            self._plan = replace(self._plan, seeds=1, refit_seconds=0.0)
        self._train_finalists()
        record = self._study.record
        trained = self._trained()
        winner = choose_winner(replace(record, finalists=tuple(one for one, _ in trained)), self._plan)
        if winner is None:  # there was no time for any: what an earlier session found still stands
            return
        own = [pair for pair in trained if pair[0].number == winner]
        own.sort(key=lambda pair: record.objective.rank(pair[0]))
        trial = self._study.trial(winner)
        self._score(trial, own, self._refit(trial, [one for one, _ in own]))

    def _train_finalists(self) -> None:
        self._driver.phase = "finalists"
        missing = [
            (repeat, job)
            for repeat, job in finalist_jobs(self._plan, self._study.record)
            if self._study.finalist(job.number, repeat) is None or not _has_weights(job)
        ]
        self._repeats = {job.seed: repeat for repeat, job in missing}
        if missing and self._plan.seconds > CONCENTRATE_SECONDS:
            self._executor.concentrate(len(missing))
        self._train([job for _, job in missing], self._driver.closing_seconds + self._plan.refit_seconds)

    def _refit(self, trial: TrialRecord, retrained: list[TrialRecord]) -> tuple[int, Path] | None:
        """Train a config on all rows that are not sealed, and return seed and weights; None where nothing came of it.

        One that the deadline cuts is worth less than a re-training, and more than nothing.
        """
        if not self._study.settings.refit:
            return None
        whole = whole_trainings(trial, retrained)
        if not whole:
            self._driver.notes["refit"] = _NO_REFIT
            return None
        job = refit_job(trial, whole, self._study.record)
        if self._study.record.refit is None or not _has_weights(job):
            predicted = refit_seconds(whole, self._study.record, self._driver.slots, measured=retrained)
            if retrained and predicted > self._driver.seconds_left(self._driver.closing_seconds):
                self._driver.notes["refit"] = _NO_REFIT
                return None
            self._driver.phase = "refit"
            if predicted > CONCENTRATE_SECONDS:
                self._executor.concentrate(1)
            self._train([job], self._driver.closing_seconds)
        return self._usable(job, or_cut=not retrained)

    def _usable(self, job: TrialJob, *, or_cut: bool) -> tuple[int, Path] | None:
        """Return seed and weights of a refit that is whole, or was cut where that will do; None where it is neither."""
        refit = self._study.record.refit
        if refit is None or job.weights_path is None:
            return None
        if refit.state is not TrialState.COMPLETE:
            self._driver.notes["refit"] = f"the refit on training and validation rows ended early ({refit.reason})"
        is_usable = refit.state is TrialState.COMPLETE or (refit.state is TrialState.PRUNED and or_cut)
        return (job.seed, job.weights_path) if is_usable and job.weights_path.exists() else None

    def _score(self, trial: TrialRecord, own: list[tuple[TrialRecord, Path]], refit: tuple[int, Path] | None) -> None:
        self._driver.phase = "test"
        self._driver.tell_news(force=True)
        record = self._study.record
        final = self._executor.call(
            score_on_test,
            backend=TENSORFLOW,
            trial=trial.number,
            config=trial.config,
            seeds_and_weights=[(one.seed, weights) for one, weights in own],
            refit=refit,
            epochs=self._study.settings.epochs,
            metric=record.test_metric,
            folder=record.folder / "model",
        )
        self._study.keep_final(replace(final, judged_trials=self._study.counted))
        shutil.rmtree(weights_path(record.folder, trial.number, 0).parent)

    def _train(self, jobs: list[TrialJob], reserve_seconds: float) -> None:
        """Run trainings; none begins where no more than the reserve is left of the time."""
        self._waiting = [(job, _started(job)) for job in jobs]
        while True:
            while self._may_begin(reserve_seconds):
                job, record = self._waiting.pop(0)
                self._running[job.seed] = record
                self._driver.submit(job)
            if not self._executor.running:
                return
            seconds_left = self._driver.seconds_left(self._driver.closing_seconds)
            self._driver.wait(seconds_left + self._mercy_seconds(), self._take_up)

    def _may_begin(self, reserve_seconds: float) -> bool:
        """Return True where a training waits for a slot that is free, and there is time for it, or nothing yet.

        One is always trained, so that no search ends without a model.
        """
        has_any = bool(self._running or self._trained())
        has_time = self._driver.seconds_left(reserve_seconds) > 0 or not has_any
        return bool(self._waiting) and self._driver.has_free_slot and has_time

    def _mercy_seconds(self) -> float:
        """Return how much longer than the deadline trainings may take to their first epoch, while there is none."""
        some_epoch = any(one.epochs for one in self._running.values()) or self._trained()
        return 0.0 if some_epoch else self._plan.seconds

    def _take_up(self, event: Event) -> None:
        job = event.job
        if isinstance(event, Reported):
            self._running[job.seed] = _with_epoch(self._running[job.seed], event.report)
            late = "deadline" if self._is_late(self._running[job.seed]) else ""
            self._driver.answer(job, stopped_by=late or self._driver.stop_reason(job, self._driver.closing_seconds))
            return
        record = self._running.pop(job.seed)
        if self._driver.goes_on_later(event):
            return
        if self._driver.may_retry(event, record):
            again = replace(record, epochs=(), attempts=(*record.attempts, event.result))
            self._waiting.append((job, again))
            return
        ended = record.ended(self._driver.reasoned(event))
        if job.weights_path is not None:
            sync_named(job.weights_path)  # the journal, which is synced, must not speak of what a loss of power empties
        if job.refit_epochs is not None:
            self._study.keep_refit(ended)
        else:
            self._study.keep_finalist(job.number, self._repeats[job.seed], ended)
        discard(job.checkpoint_folder)

    def _is_late(self, running: TrialRecord) -> bool:
        """Return True where a training must end: at the deadline, or where the refit just fits into what is left."""
        seconds_left = self._driver.seconds_left(self._driver.closing_seconds)
        if seconds_left <= 0 or self._driver.phase == "refit" or seconds_left > self._plan.refit_seconds:
            return seconds_left <= 0
        retrained = [one for one, _ in self._trained() if one.number == running.number]
        whole = whole_trainings(self._study.trial(running.number), retrained)
        if not whole:
            return False
        predicted = refit_seconds(whole, self._study.record, self._driver.slots, measured=[running])
        return predicted <= seconds_left

    def _trained(self) -> list[tuple[TrialRecord, Path]]:
        """Return the re-trainings of the planned configs that have a value, with their weights."""
        found = []
        for trial, repeat in product(self._plan.configs, range(SEEDS)):
            finalist = self._study.finalist(trial.number, repeat)
            weights = weights_path(self._study.record.folder, trial.number, repeat)
            if finalist is not None and finalist.value is not None and weights.exists():
                found.append((finalist, weights))
        return found


def _started(job: TrialJob) -> TrialRecord:
    return TrialRecord(number=job.number, config=job.config, seed=job.seed, state=TrialState.RUNNING)


def _with_epoch(record: TrialRecord, report: EpochReport) -> TrialRecord:
    return replace(record, epochs=(*record.epochs, report))


def _has_weights(job: TrialJob) -> bool:
    return job.weights_path is not None and job.weights_path.exists()
