"""What is said of failed trials: how many, why, what time they took, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from automl.records import FailureReason, TrialRecord, TrialState
from automl.study_record import StudyRecord

HOPELESS_FAILURES = 10
"""So many first trials that all fail for one reason end a search."""

_ADVICE: Mapping[str, str] = {
    FailureReason.NAN: "lower the learning rate, as in --set learning_rate=1e-5..1e-3, or look for extreme values",
    FailureReason.OOM: "restrict what makes models large, as in --set batch_size=16..64, or use fewer --workers",
    FailureReason.TIMEOUT: "give trials a longer --trial-timeout, or restrict what makes models large",
    FailureReason.CRASHED: "see what its worker said last in {folder}/workers.log, and: automl doctor",
    FailureReason.INVALID_MODEL: "correct the space's build, or restrict the parameters that it fails with by --set",
    FailureReason.DATA: "the prepared dataset cannot be read: see that the disk is well, and search again",
    FailureReason.INTERRUPTED: "something ends the workers from outside: find out what, then: automl resume {name}",
}


def failures_by_reason(record: StudyRecord) -> dict[str, tuple[TrialRecord, ...]]:
    """Return the failed trials of a study by reason, the most frequent one first."""
    by_reason: dict[str, list[TrialRecord]] = {}
    for trial in record.trials:
        if trial.state is TrialState.FAILED:
            by_reason.setdefault(trial.reason or "unknown", []).append(trial)
    ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    return {reason: tuple(trials) for reason, trials in ordered}


def failures_text(record: StudyRecord) -> str:
    """Return how many trials failed, why, and what time that took; empty where none did.

    Example:
        `3 of 25 trials (2 nan, 1 oom), 41 s lost`
    """
    failures = failures_by_reason(record)
    if not failures:
        return ""
    reasons = ", ".join(f"{len(trials)} {reason}" for reason, trials in failures.items())
    failed = [trial for trials in failures.values() for trial in trials]
    return f"{len(failed)} of {len(record.trials)} trials ({reasons}), {_lost(failed)}"


def retries_text(record: StudyRecord) -> str:
    """Return how many trials that did not fail in the end were run again, and why; empty where none was.

    Example:
        `2 trials after 2 crashed, 12 s lost`
    """
    again = [trial for trial in record.trials if trial.attempts and trial.state is not TrialState.FAILED]
    if not again:
        return ""
    reasons = Counter(attempt.reason for trial in again for attempt in trial.attempts)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f"{len(again)} trial{'s' if len(again) > 1 else ''} after {counted}, {_lost(again)}"


def _lost(trials: Sequence[TrialRecord]) -> str:
    return f"{sum(trial.lost_seconds for trial in trials):.0f} s lost"


def is_hopeless(record: StudyRecord) -> bool:
    """Return True where so many trials have failed, all for one reason, that none can be expected to go well."""
    ended = [trial for trial in record.trials if trial.state.is_final]
    reasons = {trial.reason for trial in ended}
    return len(ended) >= HOPELESS_FAILURES and len(reasons) == 1 and ended[0].state is TrialState.FAILED


def why_nothing(record: StudyRecord, *, of: str = "") -> str:
    """Return in one line why a search found nothing, and what to do; `of` says which trials the record has."""
    failures = failures_by_reason(record)
    if not failures:
        return f"study {record.name!r} ended before any trial finished an epoch: give it more --time"
    reason, trials = next(iter(failures.items()))
    message = next((trial.message.strip() for trial in trials if trial.message.strip()), "no message")
    said = f"{reason}: {message.splitlines()[-1].strip()}"
    if is_hopeless(record):
        counted = f"the first {len(trials)} trials{of} all failed as {said}"
    else:
        counted = f"none of {len(record.trials)} trials{of} gave a usable model; most often {said}"
    advice = _ADVICE.get(reason, "").format(folder=record.folder, name=record.name)
    return f"{counted}; {advice}" if advice else counted
