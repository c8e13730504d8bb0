"""`Driver`: jobs under way in an executor, the budget that they have, and the news of them.

What the search and the finalists share. Nothing here knows where trials run or where records go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from time import thread_time
from typing import Literal

from automl.executors.base import Ended, Event, Executor, Reported
from automl.finalist_plan import Slots, closing_seconds
from automl.records import Decision, FailureReason, TrialRecord, TrialResult, TrialState
from automl.study.study import Study
from automl.study_record import StudyRecord
from automl.tracking.base import Tracker
from automl.training.job import TrialJob

_TICK_SECONDS = 0.25
_NEWS_SECONDS = 0.25  # between two looks of tracker and progress at the study
_NEWS_SHARE = 0.05  # of a processor that looks may take: a live table costs more as trials pile up
_PAUSE_SECONDS = 3.0  # what running trials are given at least to write a checkpoint when the driver is interrupted
_PAUSE_EPOCHS = 2.5  # of the last one's length: the one under way, one that is trained ahead of the answer, the writing
_LONGEST_PAUSE_SECONDS = 30.0  # about what a crash loses: a checkpoint is due as often
GRACE_SECONDS = 5.0  # what a running epoch is given after the deadline before its worker is ended
_TIMEOUT_GRACE_SECONDS = 2.0  # what an epoch is given to end after the trial's timeout before its worker is ended
_SPEND_SECONDS = 5.0  # between two notes of the time spent: what a killed driver forgets at most

Phase = Literal["search", "finalists", "refit", "test", "done"]

TakeUp = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a search shows of itself while it runs.

    Attributes:
        record: The study as it stands.
        phase: What is going on.
        running: Finalists or the refit under way, with the epochs so far; running trials of the search are in `record`.
        seconds_left: Until the deadline; None without one.
        note: What a person should know, such as why finalists were dropped; empty otherwise.
    """

    record: StudyRecord
    phase: Phase
    running: tuple[TrialRecord, ...] = ()
    seconds_left: float | None = None
    note: str = ""


class Driver:
    """Runs jobs for whoever decides which, until their ends or the deadline.

    Attributes:
        study: The study.
        executor: Where jobs run.
        phase: What is going on.
        shown: Trainings that are under way and no trials of the study.
        notes: What a person should know, by subject.
    """

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
            is_interrupted: Asked a few times a second; a True ends what waits by KeyboardInterrupt.
            started: `time.monotonic()` when this driver began its work.
        """
        self.study = study
        self.executor = executor
        self.phase: Phase = "search"
        self.shown: Callable[[], Iterable[TrialRecord]] = tuple
        self.notes: dict[str, str] = {}
        self._tracker = tracker
        self._progress = progress
        self._is_interrupted = is_interrupted
        self._started = started - study.record.elapsed_seconds
        self._stopped_by: dict[int, str] = {}  # by the job's seed: finalists share numbers
        self._spent: dict[int, float] = {}  # seconds that earlier epochs took, by the job's seed
        self._epoch_seconds: dict[int, float] = {}  # of the last epoch, by the job's seed
        self._is_pausing = False
        self._news_due = self._spend_due = 0.0

    @property
    def slots(self) -> Slots:
        """Where trainings run."""
        return Slots(self.executor.slot_count, self.executor.shares_cores)

    @property
    def has_free_slot(self) -> bool:
        """True where another job may be submitted."""
        return len(self.executor.running) < self.executor.slot_count

    @property
    def closing_seconds(self) -> float:
        """What is kept of the time for what follows the last epoch."""
        return closing_seconds(self.study.settings.seconds)

    def seconds_left(self, reserve_seconds: float = 0.0) -> float:
        """Return the wall-clock seconds until so much before the deadline; infinite without one."""
        budget = self.study.settings.seconds
        return math.inf if budget is None else budget - reserve_seconds - self._elapsed

    def submit(self, job: TrialJob, *, spent: float = 0.0) -> None:
        """Let a job run; `spent` are seconds that went into its epochs before."""
        self._spent[job.seed] = spent
        self._stopped_by.pop(job.seed, None)  # an earlier run's, which ended otherwise
        self.executor.submit(job)

    def answer(self, job: TrialJob, *, stopped_by: str) -> None:
        """Let a job go on, or stop it for a reason; while the driver is interrupted, pause it."""
        if stopped_by:
            self._stopped_by[job.seed] = stopped_by
            self.executor.decide(job, Decision.STOP)
        else:
            self.executor.decide(job, Decision.PAUSE if self._is_pausing else Decision.CONTINUE)

    def stop_reason(self, job: TrialJob, reserve_seconds: float) -> str:
        """Return why a trial must not go on, whatever its scheduler says; empty where it may."""
        if self.seconds_left(reserve_seconds) <= 0:
            return "deadline"
        return FailureReason.TIMEOUT.value if self._overdue_seconds(job) > 0 else ""

    def goes_on_later(self, event: Ended) -> bool:
        """Return True for a trial that stays one that was running, for the next driver.

        What interrupts the driver may end its workers too: a scheduler that ends a whole job.

        Raises:
            OSError: The disk failed under it, which ends this session: it would fail under the others too.
        """
        if event.result.reason == FailureReason.DISK:
            raise OSError(event.result.message)
        died = self._is_pausing and event.result.reason in (FailureReason.CRASHED, FailureReason.INTERRUPTED)
        return died or event.result.state is TrialState.PAUSED

    def may_retry(self, event: Ended, trial: TrialRecord) -> bool:
        """Return True where running a trial again may help, and is allowed."""
        return event.result.is_transient and len(trial.attempts) < self.study.settings.retries

    def reasoned(self, event: Ended) -> TrialResult:
        """Return how a job ended, with the reason why it was stopped where it was."""
        if event.result.state is not TrialState.PRUNED or event.result.reason:
            return event.result
        reason = self._stopped_by.pop(event.job.seed, "scheduler")
        is_late = reason == FailureReason.TIMEOUT
        return self._timed_out(event.result) if is_late else replace(event.result, reason=reason)

    def wait(self, seconds_left: float, take_up: TakeUp) -> None:
        """Wait for events a moment and pass them on; keep everyone informed; end what does not end by itself.

        Args:
            seconds_left: Until jobs should have ended.
            take_up: Takes each event.

        Raises:
            KeyboardInterrupt: The driver was told to stop; what was running has been paused.
        """
        self.tell_news()
        if self._is_interrupted():
            self._pause(take_up)
            raise KeyboardInterrupt
        if seconds_left < -GRACE_SECONDS:
            stopped = TrialResult(state=TrialState.PRUNED, reason="deadline")
            for job in self.executor.running:
                self.executor.abandon(job, stopped)
        self._pass_on(take_up)
        if self._end_overdue():
            self._pass_on(take_up)  # it may have been all that ran: nobody waits again

    def spend(self) -> None:
        """Note the time that has been spent."""
        self.study.spend(self._elapsed)

    def tell_news(self, *, force: bool = False) -> None:
        """Let tracker and progress look at the study, a few times a second."""
        now = time.monotonic()
        if now >= self._spend_due:
            self._spend_due = now + _SPEND_SECONDS
            self.spend()
        if now < self._news_due and not force:
            return
        begun = thread_time()
        record = self.study.record
        self._tracker.update(record)
        left = self.seconds_left()
        self._progress(
            Progress(
                record=record,
                phase=self.phase,
                running=tuple(self.shown()),
                seconds_left=None if left == math.inf else left,
                note="; ".join(note for note in self.notes.values() if note),
            )
        )
        self._news_due = now + max(_NEWS_SECONDS, (thread_time() - begun) / _NEWS_SHARE)

    def _pass_on(self, take_up: TakeUp) -> None:
        """Wait for events a moment and pass them on."""
        for event in self.executor.wait(_TICK_SECONDS):
            if isinstance(event, Reported):
                self._epoch_seconds[event.job.seed] = event.report.seconds
            take_up(event)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _overdue_seconds(self, job: TrialJob) -> float:
        """Return by how much a running trial exceeds what a trial may take; negative while it does not."""
        limit = self.study.settings.trial_timeout_seconds
        if limit is None:
            return -math.inf
        return self._spent[job.seed] + self.executor.training_seconds(job) - limit

    def _end_overdue(self) -> bool:
        """End trials that take too long and do not end at an epoch's end: they may hang; return True for any."""
        overdue = [job for job in self.executor.running if self._overdue_seconds(job) > _TIMEOUT_GRACE_SECONDS]
        for job in overdue:
            ended = TrialResult(state=TrialState.PRUNED)
            # What was told to stop before has ended by that, whatever it has been doing since.
            is_late = self._stopped_by.get(job.seed, FailureReason.TIMEOUT) == FailureReason.TIMEOUT
            self.executor.abandon(job, self._timed_out(ended) if is_late else ended)
        return bool(overdue)

    def _timed_out(self, ended: TrialResult) -> TrialResult:
        message = f"it took longer than --trial-timeout allows: {self.study.settings.trial_timeout_seconds:g} s"
        return replace(ended, state=TrialState.FAILED, reason=FailureReason.TIMEOUT.value, message=message)

    def _pause(self, take_up: TakeUp) -> None:
        """Let what is running write a checkpoint at an epoch's end; what takes much longer is not waited for."""
        self._is_pausing = True
        if self.executor.running:
            self.notes["pause"] = "interrupted: running trials write checkpoints first; a second Ctrl-C ends them"
            self.tell_news(force=True)
        began = time.monotonic()
        while self.executor.running and time.monotonic() - began < self._pause_seconds:
            self._pass_on(take_up)

    @property
    def _pause_seconds(self) -> float:
        """What the running trials need to end an epoch, write a checkpoint and say so, by their last epochs."""
        longest = max((self._epoch_seconds.get(job.seed, 0.0) for job in self.executor.running), default=0.0)
        return min(_LONGEST_PAUSE_SECONDS, max(_PAUSE_SECONDS, _PAUSE_EPOCHS * longest))
