"""What is re-trained in the time that there is: everything if possible, then fewer seeds, then fewer configs.

Times are predicted from the epochs that the search has measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np

from automl.durable import is_whole_zip
from automl.records import TrialRecord, TrialState
from automl.study_record import StudyRecord

SEEDS = 3
TIME_SHARE = 0.3  # of the whole budget, at most
CLOSING_SECONDS = 8.0  # kept for the sealed test, saving the model and the last words to MLflow
CLOSING_SHARE = 0.1  # of a small budget, at most
CONCENTRATE_SECONDS = 60.0  # of re-training, from which on idle cores are worth a worker's start
_CORE_GAIN = 0.5  # what every further core adds to the speed of one training


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be re-trained.

    Attributes:
        configs: Trials whose configs are repeated, best first.
        seeds: Fresh seeds for each; 0 where the first config is refit at once.
        seconds: Predicted wall-clock time, refit and closing included.
        refit_seconds: What of it is the winner's refit; 0 where there is none.
        shortened: What was dropped to stay within the budget, in words; empty where nothing was.
    """

    configs: tuple[TrialRecord, ...]
    seeds: int
    seconds: float
    refit_seconds: float = 0.0
    shortened: str = ""


@dataclass(frozen=True)
class Slots:
    """Where trainings run.

    Attributes:
        count: Trials that run at a time.
        shares_cores: Fewer and longer trainings get the cores of all slots.
    """

    count: int
    shares_cores: bool = False

    def seconds(self, runs: Sequence[float]) -> float:
        """Return the wall-clock seconds of trainings that take so long each by themselves."""
        if not runs:
            return 0.0
        if self.shares_cores and len(runs) < self.count and max(runs) > CONCENTRATE_SECONDS:
            return max(runs) / (1 + _CORE_GAIN * (self.count / len(runs) - 1))
        return max(runs) * math.ceil(len(runs) / self.count)


def closing_seconds(budget_seconds: float | None) -> float:
    """Return what is kept of a budget for what follows the last epoch."""
    return CLOSING_SECONDS if budget_seconds is None else min(CLOSING_SECONDS, CLOSING_SHARE * budget_seconds)


def plan_finalists(record: StudyRecord, *, slots: Slots, seconds: float, closing: float = CLOSING_SECONDS) -> Plan:
    """Choose what to re-train within a time: all if possible, then fewer seeds, fewer finalists, the refit alone.

    Without time for a refit, it is dropped. What an earlier session has re-trained takes no time. Where nothing is, and
    not even one run fits, it is that of the trial that was best after so much time: a slow winner of the search would
    be cut before it is any good.

    Args:
        record: The study so far.
        slots: Where trainings run.
        seconds: Wall-clock time that may be used, closing included; infinite where there is no bound.
        closing: Wall-clock time of what follows the last epoch.
    """
    top = record.ranked[: int(record.settings["finalists"])]
    if not top:
        return Plan(configs=(), seeds=0, seconds=0.0)
    for plan in _options(top, slots, closing, record):
        if plan.seconds <= seconds:
            return plan
    done = tuple(trial for trial in top if _repeats_done(trial, record))
    if done:
        return Plan(configs=done, seeds=1, seconds=closing, shortened=_shortened(done, 1, record))
    only = (min(record.ranked, key=lambda trial: _loss_within(trial, seconds - closing, record)),)
    predicted = slots.seconds([_run_seconds(only[0], record)]) + closing
    return Plan(configs=only, seeds=1, seconds=predicted, shortened=_shortened(only, 1, record))


def weights_path(folder: Path, number: int, repeat: int) -> Path:
    """Return where a finalist's weights are kept until the winner is known."""
    return folder / "finalists" / f"{number:06d}-{repeat:02d}.npz"


def drop_damaged_weights(folder: Path) -> None:
    """Delete what weights of finalists cannot be read: they are as good as missing, and are found to be so then."""
    for path in (folder / "finalists").glob("*-??.npz"):
        if not is_whole_zip(path):
            path.unlink()


def whole_trainings(trial: TrialRecord, retrained: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trainings of a config that ended by themselves, and so know its best epoch.

    Args:
        trial: The trial of the search, which is returned where no re-training will do.
        retrained: Its re-trainings.
    """
    return [one for one in (retrained or [trial]) if _is_whole(one)] or [one for one in [trial] if _is_whole(one)]


def refit_epochs(whole: Sequence[TrialRecord]) -> int:
    """Return for how many epochs a config is refit: the median of the best epochs of its whole trainings."""
    return max(1, round(median(one.best_epoch or 1 for one in whole)))


def refit_seconds(
    whole: Sequence[TrialRecord], record: StudyRecord, slots: Slots, *, measured: Sequence[TrialRecord] = ()
) -> float:
    """Predict the wall-clock seconds of refitting a config.

    Args:
        whole: Its whole trainings.
        record: The study.
        slots: Where trainings run.
        measured: Its latest trainings, whose epochs tell how fast the machine is now; by default those of `whole`.
    """
    return _refit_seconds(measured or whole, refit_epochs(whole), record, slots)


def _options(top: tuple[TrialRecord, ...], slots: Slots, closing: float, record: StudyRecord) -> Iterator[Plan]:
    """Yield plans, what is wanted most first."""
    fewer = [(top, seeds) for seeds in range(SEEDS, 0, -1)]
    fewer += [(top[:count], 1) for count in range(len(top) - 1, 0, -1)]
    if record.settings.get("refit"):
        # One run of one config chooses nothing; but a trial that was stopped needs it to know its best epoch.
        whole = [trial for trial in top if _is_whole(trial)][:1]
        for configs, seeds in [*fewer, *[((trial,), 0) for trial in whole]]:
            if (configs, seeds) != (tuple(whole), 1):
                yield _plan(configs, seeds, slots, closing, record, refits=True)
    for configs, seeds in fewer:
        yield _plan(configs, seeds, slots, closing, record, refits=False)


def _plan(
    configs: tuple[TrialRecord, ...], seeds: int, slots: Slots, closing: float, record: StudyRecord, *, refits: bool
) -> Plan:
    runs = [
        _run_seconds(trial, record)
        for trial in configs
        for repeat in range(seeds)
        if repeat not in _repeats_done(trial, record)
    ]
    last = max(_reserved_for_refit(trial, record, slots) for trial in configs) if refits else 0.0
    return Plan(
        configs=configs,
        seeds=seeds,
        seconds=slots.seconds(runs) + last + closing,
        refit_seconds=last,
        shortened=_shortened(configs, seeds, record),
    )


def _repeats_done(trial: TrialRecord, record: StudyRecord) -> set[int]:
    """Return which re-trainings of a config an earlier session has done whose weights are still there."""
    if not record.finalist_values(trial.number):
        return set()
    return {repeat for repeat in range(SEEDS) if weights_path(record.folder, trial.number, repeat).exists()}


def _shortened(configs: Sequence[TrialRecord], seeds: int, record: StudyRecord) -> str:
    wanted = int(record.settings["finalists"])
    if len(configs) == len(record.ranked[:wanted]) and seeds == SEEDS:
        return ""
    return f"time allowed {len(configs)} x {seeds} of {wanted} x {SEEDS} runs"


def _loss_within(trial: TrialRecord, seconds: float, record: StudyRecord) -> float:
    """Return the loss that a trial had by then: what its re-training will reach, if it is cut there."""
    spent = trial.compile_seconds + np.cumsum([report.seconds for report in trial.epochs])
    in_time = [report for report, end in zip(trial.epochs, spent, strict=True) if end <= seconds]
    best = record.objective.counted_epoch(in_time)
    return math.inf if best is None else record.objective.loss(best.metrics[record.objective.metric])


def _run_seconds(trial: TrialRecord, record: StudyRecord) -> float:
    epoch_seconds = fmean(report.seconds for report in trial.epochs)
    return trial.compile_seconds + _whole_epochs(trial, record) * epoch_seconds


def _whole_epochs(trial: TrialRecord, record: StudyRecord) -> int:
    """Predict a re-training: a stopped trial would have gone on for as long as the longest complete one."""
    complete = [len(one.epochs) for one in record.trials if one.state is TrialState.COMPLETE and one.epochs]
    usual = max(complete, default=int(record.settings["epochs"]))
    return len(trial.epochs) if _is_whole(trial) else max(len(trial.epochs), usual)


def _is_whole(trial: TrialRecord) -> bool:
    return trial.state is TrialState.COMPLETE


def _reserved_for_refit(trial: TrialRecord, record: StudyRecord, slots: Slots) -> float:
    """Return what a refit may take, and the epoch by which the finalists before it may end late."""
    epochs = refit_epochs([trial]) if _is_whole(trial) else _whole_epochs(trial, record)
    return _refit_seconds([trial], epochs, record, slots) + max(report.seconds for report in trial.epochs)


def _refit_seconds(trained: Sequence[TrialRecord], epochs: int, record: StudyRecord, slots: Slots) -> float:
    spec = record.dataset
    growth = 1.0 if spec.folds else 1 + spec.validation_rows / spec.train_rows
    epoch_seconds = fmean(report.seconds for one in trained for report in one.epochs)
    compile_seconds = max(one.compile_seconds for one in trained)
    return slots.seconds([compile_seconds + epochs * epoch_seconds * growth])
