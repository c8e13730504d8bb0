"""The driver's loop: asks the study, feeds the executor, passes decisions on, and keeps the budget.

First the search, then the finalists, then the sealed test. Nothing here knows where trials run or where records go.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from time import thread_time
from typing import Literal

from automl.errors import NoUsableModelError
from automl.executors.backends import TENSORFLOW
from automl.executors.base import Ended, Event, Executor, Reported
from automl.failed_trials import is_hopeless, why_nothing
from automl.finalists import (
    SEEDS,
    TIME_SHARE,
    Plan,
    choose_winner,
    closing_seconds,
    finalist_jobs,
    plan_finalists,
    score_on_test,
    weights_path,
)
from automl.records import Decision, EpochReport, FailureReason, TrialRecord, TrialResult, TrialState
from automl.retries import Retries, must_be_alone
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.tracking.base import Tracker
from automl.training.checkpoint import checkpoint_folder, discard, discard_all
from automl.training.job import TrialJob

_TICK_SECONDS = 0.25
_NEWS_SECONDS = 0.25  # between two looks of tracker and progress at the study
_CONCENTRATE_SECONDS = 60.0  # of re-training, from which on idle cores are worth a worker's start
_NEWS_SHARE = 0.05  # of a processor that looks may take: a live table costs more as trials pile up
_PLAN_SECONDS = 1.0  # between two predictions of what the finalists will take
_PAUSE_SECONDS = 3.0  # what running epochs are given to end when the loop is interrupted
_GRACE_SECONDS = 5.0  # what a running epoch is given after the deadline before its worker is ended
_TIMEOUT_GRACE_SECONDS = 2.0  # what an epoch is given to end after the trial's timeout before its worker is ended
_SPEND_SECONDS = 5.0  # between two notes of the time spent: what a killed driver forgets at most

Phase = Literal["search", "finalists", "test", "done"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a search shows of itself while it runs.

    Attributes:
        record: The study as it stands.
        phase: What is going on.
        running: Finalists under way, with the epochs so far; running trials of the search are in `record`.
        seconds_left: Until the deadline; None without one.
        note: What a person should know, such as why finalists were dropped; empty otherwise.
    """

    record: StudyRecord
    phase: Phase
    running: tuple[TrialRecord, ...] = ()
    seconds_left: float | None = None
    note: str = ""


class SearchLoop:
    """Runs one study to its end."""

    def __init__(
        self,
        study: Study,
        executor: Executor,
        tracker: Tracker,
        *,
        progress: Callable[[Progress], None],
        is_interrupted: Callable[[], bool],
        started: float,
    ) -> None:
        """Wire the parts.

        Args:
            study: What is searched.
            executor: Started, and prepared for the study's dataset and space.
            tracker: Told of every change.
            progress: Called a few times a second.
            is_interrupted: Asked a few times a second; a True ends the loop by KeyboardInterrupt.
            started: `time.monotonic()` when this driver began its work.
        """
        self._study = study
        self._executor = executor
        self._tracker = tracker
        self._progress = progress
        self._is_interrupted = is_interrupted
        self._started = started - study.record.elapsed_seconds
        self._phase: Phase = "search"
        self._stopped_by: dict[int, str] = {}  # by the job's seed: finalists share numbers
        self._spent: dict[int, float] = {}  # seconds that earlier epochs took, by the job's seed
        self._finalists: dict[int, TrialRecord] = {}
        self._waiting: list[tuple[TrialJob, TrialRecord]] = []  # finalists that are not begun, or run again
        self._repeats: dict[int, int] = {}  # of finalists, by the job's seed
        self._is_pausing = False
        self._retries = Retries()
        self._plan = Plan(configs=(), seeds=0, seconds=0.0)
        self._is_exhausted = False
        self._news_due = self._spend_due = self._plan_due = 0.0

    def run(self) -> None:
        """Search, re-train the finalists, and score the winner.

        Raises:
            NoUsableModelError: No trial gave a value.
            KeyboardInterrupt: The loop was told to stop.
        """
        try:
            self._search()
            self._close_interrupted()
            if not self._study.record.ranked:
                discard_all(self._study.record.folder)
                raise NoUsableModelError(why_nothing(self._study.record))
            final = self._study.record.final
            if self._study.settings.finalists and (final is None or self._study.counted > final.judged_trials):
                self._train_finalists()
                self._score()
            self._phase = "done"
            discard_all(self._study.record.folder)
        finally:
            self._study.spend(self._elapsed)
            self._tell_news(force=True)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    @property
    def _note(self) -> str:
        exhausted = "the space is exhausted: every config has been tried" if self._is_exhausted else ""
        shortened = self._plan.shortened if self._phase != "search" else ""
        return "; ".join(note for note in (exhausted, shortened) if note)

    def _seconds_left(self, reserve: float) -> float:
        budget = self._study.settings.seconds
        return float("inf") if budget is None else budget - reserve - self._elapsed

    def _search(self) -> None:
        while True:
            self._submit_trials()
            if not self._executor.running:
                break
            for event in self._wait(self._seconds_left(self._plan.seconds)):
                self._take_up(event)
            self._end_overdue()
        for trial in self._retries.drain():  # there is no time left for them
            self._study.tell(trial.number, replace(trial.attempts[-1], wall_seconds=0.0))
        self._study.drop_prefetched()

    def _submit_trials(self) -> None:
        """Fill every slot; then choose the next trial while they train, rather than while one of them waits for it."""
        while self._has_free_slot and (trial := self._next_trial()) is not None:
            self._submit(self._job(trial), spent=sum(report.seconds for report in trial.epochs))
        if not self._has_free_slot and self._may_ask():
            self._study.prefetch()

    def _next_trial(self) -> TrialRecord | None:
        """Return what a free slot runs now: a trial that is to be run again, or a new one; None for neither."""
        if self._seconds_left(self._plan.seconds) <= 0:
            return None
        running = [job.number for job in self._executor.running]
        trial = self._retries.take(running)
        if trial is not None or self._retries.holds_back(running):
            return trial
        if self._is_exhausted or not self._may_ask():
            return None
        trial = self._study.ask()
        self._is_exhausted = trial is None
        if trial is None or not must_be_alone(trial):
            return trial
        self._retries.add(trial)  # the driver died while it waited
        return self._retries.take(running)

    def _submit(self, job: TrialJob, *, spent: float = 0.0) -> None:
        """Let a job run; `spent` are seconds that went into its epochs before."""
        self._spent[job.seed] = spent
        self._stopped_by.pop(job.seed, None)  # an earlier run's, which ended otherwise
        self._executor.submit(job)

    def _overdue_seconds(self, job: TrialJob) -> float:
        """Return by how much a running trial exceeds what a trial may take; negative while it does not."""
        limit = self._study.settings.trial_timeout_seconds
        if limit is None:
            return -math.inf
        return self._spent[job.seed] + self._executor.training_seconds(job) - limit

    def _end_overdue(self) -> None:
        """End trials that take too long and do not end at an epoch's end: they may hang."""
        for job in self._executor.running:
            if self._overdue_seconds(job) > _TIMEOUT_GRACE_SECONDS:
                ended = TrialResult(state=TrialState.PRUNED)
                # What was told to stop before has ended by that, whatever it has been doing since.
                self._executor.abandon(job, ended if job.seed in self._stopped_by else self._timed_out(ended))

    def _timed_out(self, ended: TrialResult) -> TrialResult:
        message = f"it took longer than --trial-timeout allows: {self._study.settings.trial_timeout_seconds:g} s"
        return replace(ended, state=TrialState.FAILED, reason=FailureReason.TIMEOUT.value, message=message)

    def _stop_reason(self, job: TrialJob, reserve: float) -> str:
        """Return why a trial must not go on, whatever its scheduler says; empty where it may."""
        if self._seconds_left(reserve) <= 0:
            return "deadline"
        return FailureReason.TIMEOUT.value if self._overdue_seconds(job) > 0 else ""

    def _take_up(self, event: Event) -> None:
        if self._phase == "finalists":
            self._take_up_finalist(event)
        elif isinstance(event, Reported):
            self._decide(event)
        else:
            self._end(event)

    def _close_interrupted(self) -> None:
        """Close trials of a dead driver for which no time was left: no study ends with a trial that seems to run."""
        for _ in self._study.interrupted:
            trial = self._study.ask()
            if trial is not None:
                self._study.tell(trial.number, TrialResult(state=TrialState.PRUNED, reason="deadline"))
                discard(checkpoint_folder(self._study.record.folder, trial.number))

    def _may_ask(self) -> bool:
        """Return True while the budget has a trial more than those that are running, should all of them count."""
        settings, running = self._study.settings, len(self._executor.running) + len(self._retries)
        if self._study.failed >= settings.failure_limit:
            return False
        if self._study.failed and not self._study.counted and is_hopeless(self._study.record):
            return False
        if settings.trials is not None and self._study.counted + running >= settings.trials:
            return False
        return self._seconds_left(self._plan.seconds) > 0

    def _job(self, trial: TrialRecord) -> TrialJob:
        settings = self._study.settings
        return TrialJob(
            number=trial.number,
            config=trial.config,
            seed=trial.seed,
            epochs=settings.epochs,
            patience=settings.patience,
            objective=self._study.record.objective,
            checkpoint_folder=checkpoint_folder(self._study.record.folder, trial.number),
        )

    def _decide(self, event: Reported) -> None:
        job = event.job
        decision = self._study.report(job.number, event.report)
        reason = self._stop_reason(job, self._plan.seconds) or ("scheduler" if decision is Decision.STOP else "")
        self._answer(job, stopped_by=reason)

    def _answer(self, job: TrialJob, *, stopped_by: str) -> None:
        if stopped_by:
            self._stopped_by[job.seed] = stopped_by
            self._executor.decide(job, Decision.STOP)
        else:
            self._executor.decide(job, Decision.PAUSE if self._is_pausing else Decision.CONTINUE)

    def _end(self, event: Ended) -> None:
        if self._goes_on_later(event):
            return
        if self._may_retry(event, self._study.trial(event.job.number)):
            self._retries.add(self._study.retry(event.job.number, event.result))
            return
        self._study.tell(event.job.number, self._reasoned(event))
        discard(event.job.checkpoint_folder)
        now = time.monotonic()
        if self._study.settings.seconds is not None and self._study.settings.finalists and now >= self._plan_due:
            self._plan_due = now + _PLAN_SECONDS
            share = self._study.settings.seconds * TIME_SHARE
            plan = self._planned(share)
            self._plan = replace(plan, seconds=min(plan.seconds, share))

    def _may_retry(self, event: Ended, trial: TrialRecord) -> bool:
        """Return True where running a trial again may help, and is allowed."""
        return event.result.is_transient and len(trial.attempts) < self._study.settings.retries

    def _goes_on_later(self, event: Ended) -> bool:
        """Return True for a trial that stays one that was running, for the next driver.

        What interrupts the driver may end its workers too: a scheduler that ends a whole job.
        """
        died = self._is_pausing and event.result.reason in (FailureReason.CRASHED, FailureReason.INTERRUPTED)
        return died or event.result.state is TrialState.PAUSED

    def _planned(self, seconds: float) -> Plan:
        closing = closing_seconds(self._study.settings.seconds)
        return plan_finalists(self._study.record, slots=self._executor.slot_count, seconds=seconds, closing=closing)

    def _reasoned(self, event: Ended) -> TrialResult:
        if event.result.state is not TrialState.PRUNED or event.result.reason:
            return event.result
        reason = self._stopped_by.pop(event.job.seed, "scheduler")
        is_late = reason == FailureReason.TIMEOUT
        return self._timed_out(event.result) if is_late else replace(event.result, reason=reason)

    def _train_finalists(self) -> None:
        self._phase = "finalists"
        record = self._study.record
        closing = closing_seconds(self._study.settings.seconds)
        # What the search reserved still holds where its last epochs took a little of it: late finalists are stopped.
        self._plan = self._planned(max(self._seconds_left(0.0), self._plan.seconds, closing))
        missing = [
            (repeat, job)
            for repeat, job in finalist_jobs(self._plan, record)
            if self._study.finalist(job.number, repeat) is None or not _has_weights(job)
        ]
        self._repeats = {job.seed: repeat for repeat, job in missing}
        self._waiting = [(job, _running(job)) for _, job in missing]
        if missing and self._plan.seconds > _CONCENTRATE_SECONDS:
            self._executor.concentrate(len(missing))
        while True:
            while self._waiting and self._has_free_slot and (self._seconds_left(closing) > 0 or not self._has_any()):
                job, finalist = self._waiting.pop(0)
                self._finalists[job.seed] = finalist
                self._submit(job)
            if not self._executor.running:
                return
            for event in self._wait(self._seconds_left(closing) + self._mercy_seconds()):
                self._take_up(event)
            self._end_overdue()

    def _take_up_finalist(self, event: Event) -> None:
        job = event.job
        if isinstance(event, Reported):
            self._finalists[job.seed] = _with_epoch(self._finalists[job.seed], event.report)
            reserve = closing_seconds(self._study.settings.seconds)
            self._answer(job, stopped_by=self._stop_reason(job, reserve))
            return
        finalist = self._finalists.pop(job.seed)
        if self._goes_on_later(event):
            return
        if self._may_retry(event, finalist):
            again = replace(finalist, epochs=(), attempts=(*finalist.attempts, event.result))
            self._waiting.append((job, again))
        else:
            self._study.keep_finalist(job.number, self._repeats[job.seed], finalist.ended(self._reasoned(event)))
            discard(job.checkpoint_folder)

    def _has_any(self) -> bool:
        """Return True when a finalist is trained or running: one always is, so that no search ends without a model."""
        return bool(self._finalists or self._trained_finalists())

    def _mercy_seconds(self) -> float:
        """Return how much longer than the deadline finalists may take to their first epoch, while there is none."""
        some_epoch = any(finalist.epochs for finalist in self._finalists.values()) or self._trained_finalists()
        return 0.0 if some_epoch else self._plan.seconds

    @property
    def _has_free_slot(self) -> bool:
        return len(self._executor.running) < self._executor.slot_count

    def _score(self) -> None:
        self._phase = "test"
        self._tell_news(force=True)
        record = self._study.record
        trained = self._trained_finalists()
        winner = choose_winner(replace(record, finalists=tuple(one for one, _ in trained)), self._plan)
        if winner is None:  # there was no time for any: what an earlier session found still stands
            return
        trial = next(one for one in record.trials if one.number == winner)
        own = [(one, weights) for one, weights in trained if one.number == winner]
        own.sort(key=lambda pair: record.objective.rank(pair[0]))
        final = self._executor.call(
            score_on_test,
            backend=TENSORFLOW,
            trial=winner,
            config=trial.config,
            seeds_and_weights=[(one.seed, weights) for one, weights in own],
            epochs=self._study.settings.epochs,
            metric=record.test_metric,
            folder=record.folder / "model",
        )
        self._study.keep_final(replace(final, judged_trials=self._study.counted))
        shutil.rmtree(weights_path(record.folder, winner, 0).parent)

    def _trained_finalists(self) -> list[tuple[TrialRecord, Path]]:
        """Return the re-trainings of the planned configs that have a value, with their weights."""
        found = []
        for trial, repeat in product(self._plan.configs, range(SEEDS)):
            finalist = self._study.finalist(trial.number, repeat)
            weights = weights_path(self._study.record.folder, trial.number, repeat)
            if finalist is not None and finalist.value is not None and weights.exists():
                found.append((finalist, weights))
        return found

    def _wait(self, seconds_left: float) -> list[Event]:
        """Wait for events a moment; keep everyone informed; end what does not end by itself after the deadline."""
        self._tell_news()
        if self._is_interrupted():
            self._pause()
            raise KeyboardInterrupt
        if seconds_left < -_GRACE_SECONDS:
            stopped = TrialResult(state=TrialState.PRUNED, reason="deadline")
            for job in self._executor.running:
                self._executor.abandon(job, stopped)
        return self._executor.wait(_TICK_SECONDS)

    def _pause(self) -> None:
        """Let what is running write a checkpoint at its epoch's end; longer epochs are not waited for."""
        self._is_pausing = True
        deadline = time.monotonic() + _PAUSE_SECONDS
        while self._executor.running and time.monotonic() < deadline:
            for event in self._executor.wait(_TICK_SECONDS):
                self._take_up(event)

    def _tell_news(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if now >= self._spend_due:
            self._spend_due = now + _SPEND_SECONDS
            self._study.spend(self._elapsed)
        if now < self._news_due and not force:
            return
        begun = thread_time()
        record = self._study.record
        self._tracker.update(record)
        left = self._seconds_left(0.0)
        self._progress(
            Progress(
                record=record,
                phase=self._phase,
                running=tuple(self._finalists.values()),
                seconds_left=None if left == float("inf") else left,
                note=self._note,
            )
        )
        self._news_due = now + max(_NEWS_SECONDS, (thread_time() - begun) / _NEWS_SHARE)


def _running(job: TrialJob) -> TrialRecord:
    return TrialRecord(number=job.number, config=job.config, seed=job.seed, state=TrialState.RUNNING)


def _with_epoch(record: TrialRecord, report: EpochReport) -> TrialRecord:
    return replace(record, epochs=(*record.epochs, report))


def _has_weights(job: TrialJob) -> bool:
    return job.weights_path is not None and job.weights_path.exists()
