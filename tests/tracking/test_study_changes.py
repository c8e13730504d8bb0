"""What is new since the last look, and a curve that is drawn on from where it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tracked_studies import trial

from automl.records import TrialRecord, TrialState
from automl.study_record import StudyRecord
from automl.tracking.study_changes import BestCurve, StudyChanges

Make = Callable[..., StudyRecord]
RUNNING = TrialState.RUNNING


def test_only_new_and_changed_trials_are_found(study: Make) -> None:
    trials = [trial(number) for number in range(4)]
    changes = StudyChanges()
    record = study(*trials)
    assert changes.take(record) == trials
    assert changes.take(record) == []
    assert changes.take(study(*trials)) == []
    changed = replace(trials[1], reason="patience")
    assert changes.take(study(trials[0], changed, *trials[2:], trial(4))) == [changed, trial(4)]
    assert changes.take(study(*trials[:2])) == [trials[1]]


def test_a_curve_drawn_in_parts_is_the_curve_drawn_at_once(study: Make) -> None:
    values = [0.3, None, 0.5, 0.4, 0.5, 0.9]
    ended = [
        trial(n, value=value) if value else trial(n, TrialState.FAILED, value=None) for n, value in enumerate(values)
    ]
    parts, changes = BestCurve(), StudyChanges()
    points = []
    for count in range(len(ended) + 1):
        record = study(*ended[:count], trial(count, RUNNING), *ended[count + 1 : count + 2])
        points += parts.advance(record, changes.take(record))
    whole = BestCurve()
    assert points == whole.advance(study(*ended), ())
    assert points == [(0, 0.3), (1, 0.3), (2, 0.5), (3, 0.5), (4, 0.5), (5, 0.9)]
    assert parts.best == whole.best == ended[5]


def test_the_best_is_the_records_best_also_of_equal_values(study: Make) -> None:
    def tied(number: int, loss: float) -> TrialRecord:
        one = trial(number, value=0.5)
        epochs = tuple(replace(report, metrics={"val_accuracy": 0.5, "val_loss": loss}) for report in one.epochs)
        return replace(one, epochs=epochs)

    record = study(tied(0, 0.7), tied(1, 0.6), tied(2, 0.6))
    curve = BestCurve()
    curve.advance(record, ())
    assert curve.best == record.best == record.trials[1]


def test_a_passed_trial_that_changes_draws_the_curve_anew(study: Make) -> None:
    paused = trial(0, TrialState.PAUSED, value=0.99)
    rest = [trial(number) for number in (1, 2)]
    curve, changes = BestCurve(), StudyChanges()
    record = study(paused, *rest)
    assert curve.advance(record, changes.take(record)) == [(1, 0.51), (2, 0.52)]
    record = study(replace(paused, state=TrialState.COMPLETE), *rest)
    assert curve.advance(record, changes.take(record)) == [(0, 0.99), (1, 0.99), (2, 0.99)]
