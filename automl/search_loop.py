"""The driver's loop: asks the study, feeds the executor, passes decisions on, and keeps the budget.

First the search, then the finalists (`finalists_loop.py`). What both share is `driver.py`.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

from automl.driver import GRACE_SECONDS, Driver
from automl.errors import NoUsableModelError
from automl.executors.base import Ended, Event, Reported
from automl.failed_trials import is_hopeless, why_nothing
from automl.finalist_plan import TIME_SHARE, plan_finalists
from automl.finalists_loop import FinalistsLoop
from automl.records import Decision, TrialRecord, TrialResult, TrialState
from automl.retries import Retries, must_be_alone
from automl.study_record import StudyRecord
from automl.training.checkpoint import checkpoint_folder, discard, discard_all
from automl.training.job import TrialJob

_PLAN_SECONDS = 1.0  # between two predictions of what the finalists will take


class SearchLoop:
    """Runs one study to its end."""

    def __init__(self, driver: Driver) -> None:
        """Search what a driver has."""
        self._driver = driver
        self._study = driver.study
        self._executor = driver.executor
        self._retries = Retries()
        self._ended_before = frozenset(one.number for one in driver.study.record.trials if one.state.is_final)
        self._failed_before = driver.study.failed
        self._is_exhausted = False
        self._reserve_seconds = 0.0  # what the finalists are predicted to take
        self._plan_due = 0.0

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
                raise NoUsableModelError(self._why_nothing())
            if self._takes_finalists():
                FinalistsLoop(self._driver, reserve_seconds=self._reserve_seconds).run()
            self._driver.phase = "done"
            discard_all(self._study.record.folder)
        finally:
            self._driver.spend()
            self._driver.tell_news(force=True)

    def _search(self) -> None:
        while True:
            self._study.catch_up()
            self._submit_trials()
            if not self._executor.running and not self._waits_for_others():
                break
            self._driver.wait(self._driver.seconds_left(self._reserve_seconds), self._take_up)
        for trial in self._retries.drain():  # there is no time left for them
            self._study.tell(trial.number, replace(trial.attempts[-1], wall_seconds=0.0))
        self._study.drop_prefetched()

    def _waits_for_others(self) -> bool:
        """Return True while other drivers train trials: one that dies or fails leaves them to this one."""
        left = self._driver.seconds_left(self._reserve_seconds)
        return self._study.elsewhere > 0 and left > -GRACE_SECONDS

    def _takes_finalists(self) -> bool:
        """Return True once finalists are this driver's to train, and False where there are none to be trained.

        While another driver trains them this one waits: should that one die, it goes on from what is kept.
        """
        while self._wants_finalists() and (other := self._study.take_role("finalists")):
            self._driver.notes["finalists"] = f"driver {other} trains the finalists, and its home gets the final model"
            self._driver.wait(math.inf, self._take_up)
        return self._wants_finalists()  # the other may have finished them

    def _wants_finalists(self) -> bool:
        final = self._study.record.final
        return self._study.settings.finalists > 0 and (final is None or self._study.counted > final.judged_trials)

    def _submit_trials(self) -> None:
        """Fill every slot; then choose the next trial while they train, rather than while one of them waits for it."""
        while self._driver.has_free_slot and (trial := self._next_trial()) is not None:
            self._driver.submit(self._job(trial), spent=sum(report.seconds for report in trial.epochs))
        if not self._driver.has_free_slot and self._may_ask():
            self._study.prefetch()

    def _next_trial(self) -> TrialRecord | None:
        """Return what a free slot runs now: a trial that is to be run again, or a new one; None for neither."""
        if self._driver.seconds_left(self._reserve_seconds) <= 0:
            return None
        running = [job.number for job in self._executor.running]
        trial = self._retries.take(running)
        if trial is not None or self._retries.holds_back(running):
            return trial
        if self._is_exhausted or not self._may_ask():
            return None
        trial = self._study.ask()
        if trial is None:
            self._is_exhausted = self._study.is_exhausted
        if self._is_exhausted:
            self._driver.notes["space"] = "the space is exhausted: every config has been tried"
        if trial is None or not must_be_alone(trial):
            return trial
        self._retries.add(trial)  # the driver died while it waited
        return self._retries.take(running)

    def _may_ask(self) -> bool:
        """Return True while the budget has a trial more than those that are running, should all of them count."""
        settings, running = self._study.settings, len(self._executor.running) + len(self._retries)
        if self._gives_up():
            return False
        if settings.trials is not None and self._study.counted + running + self._study.elsewhere >= settings.trials:
            return False
        return self._driver.seconds_left(self._reserve_seconds) > 0

    def _gives_up(self) -> bool:
        """Return True where so many trials of this session failed that no more are tried.

        What failed in an earlier session may have been mended since: it does not count.
        """
        failed = self._study.failed - self._failed_before
        if failed >= self._study.settings.failure_limit:
            return True
        return failed > 0 and not self._study.counted and is_hopeless(self._session())

    def _session(self) -> StudyRecord:
        """Return the study as if no trial had ended before this session."""
        record = self._study.record
        return replace(record, trials=tuple(one for one in record.trials if one.number not in self._ended_before))

    def _why_nothing(self) -> str:
        session = self._session()
        if self._ended_before and any(trial.state.is_final for trial in session.trials):
            return why_nothing(session, of=" of this session")
        return why_nothing(self._study.record)

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

    def _take_up(self, event: Event) -> None:
        if isinstance(event, Reported):
            self._decide(event)
        else:
            self._end(event)

    def _decide(self, event: Reported) -> None:
        job = event.job
        decision = self._study.report(job.number, event.report)
        reason = self._driver.stop_reason(job, self._reserve_seconds)
        self._driver.answer(job, stopped_by=reason or ("scheduler" if decision is Decision.STOP else ""))

    def _end(self, event: Ended) -> None:
        if self._driver.goes_on_later(event):
            return
        if self._driver.may_retry(event, self._study.trial(event.job.number)):
            again = self._study.retry(event.job.number, event.result)
            if again is not None:
                self._retries.add(again)
            return
        if self._study.tell(event.job.number, self._driver.reasoned(event)) is not None:
            discard(event.job.checkpoint_folder)
        self._reserve()

    def _reserve(self) -> None:
        """Predict what the finalists will take of the time, and keep it for them."""
        settings, now = self._study.settings, time.monotonic()
        if settings.seconds is None or not settings.finalists or now < self._plan_due:
            return
        self._plan_due = now + _PLAN_SECONDS
        share = settings.seconds * TIME_SHARE
        closing = self._driver.closing_seconds
        plan = plan_finalists(self._study.record, slots=self._driver.slots, seconds=share, closing=closing)
        self._reserve_seconds = min(plan.seconds, share)

    def _close_interrupted(self) -> None:
        """Close trials of a dead driver for which no time was left: no study ends with a trial that seems to run."""
        while (trial := self._study.take_interrupted()) is not None:
            self._study.tell(trial.number, TrialResult(state=TrialState.PRUNED, reason="deadline"))
            discard(checkpoint_folder(self._study.record.folder, trial.number))
