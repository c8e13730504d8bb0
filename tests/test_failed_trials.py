"""What is said of failed trials: counted once each, with their reasons and the time they took."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from digits_spec import SPEC

from automl.cli.summary import best_text, result_json
from automl.failed_trials import failures_text, is_hopeless, retries_text, why_nothing
from automl.objective import Objective
from automl.records import EpochReport, TrialRecord, TrialResult, TrialState
from automl.study_record import StudyRecord

_ATTEMPT = TrialResult(state=TrialState.FAILED, reason="crashed", wall_seconds=4.0, is_transient=True)


def _trial(number: int, state: TrialState, reason: str, **changes: object) -> TrialRecord:
    made = TrialRecord(number=number, config={"units": number}, seed=number, state=state, reason=reason)
    return replace(made, **changes)


def _study(*trials: TrialRecord) -> StudyRecord:
    return StudyRecord(
        name="digits-mlp-001",
        folder=Path("studies/digits-mlp-001"),
        dataset=SPEC,
        space="mlp",
        space_table=(),
        objective=Objective("val_accuracy", "max"),
        settings={},
        trials=trials,
    )


_GOOD = _trial(
    0,
    TrialState.COMPLETE,
    "epochs",
    value=0.5,
    best_epoch=1,
    epochs=(EpochReport(epoch=1, metrics={"val_accuracy": 0.5}, seconds=1.0),),
    attempts=(_ATTEMPT, _ATTEMPT),
    wall_seconds=9.0,
)
_RECORD = _study(
    _GOOD,
    _trial(1, TrialState.FAILED, "nan", wall_seconds=1.5),
    _trial(2, TrialState.FAILED, "crashed", wall_seconds=2.0, attempts=(_ATTEMPT,)),
    _trial(3, TrialState.FAILED, "nan", wall_seconds=2.5),
    _trial(4, TrialState.RUNNING, ""),
)


def test_the_summary_says_how_many_failed_why_and_what_it_cost() -> None:
    assert failures_text(_RECORD) == "3 of 5 trials (2 nan, 1 crashed), 10 s lost"
    assert retries_text(_RECORD) == "1 trial after 2 crashed, 8 s lost"
    lines = [line.split() for line in best_text([_RECORD]).splitlines()]
    assert ["failed", *failures_text(_RECORD).split()] in lines
    assert ["run", "again", *retries_text(_RECORD).split()] in lines
    values = result_json(_RECORD)
    assert (values["failures"], values["lost_seconds"]) == ({"nan": 2, "crashed": 1}, 18.0)


def test_nothing_is_said_where_nothing_failed() -> None:
    record = _study(replace(_GOOD, attempts=()))
    assert failures_text(record) == retries_text(record) == ""
    assert "failed" not in best_text([record])
    assert "again" not in best_text([record])


def test_a_search_is_hopeless_where_ten_trials_failed_alike_and_none_went_well() -> None:
    failed = [_trial(number, TrialState.FAILED, "nan", message="a\nloss is nan") for number in range(10)]
    running = _trial(11, TrialState.RUNNING, "")
    assert is_hopeless(_study(*failed, running))
    assert not is_hopeless(_study(*failed[:9], running))
    assert not is_hopeless(_study(*failed[:9], _trial(10, TrialState.FAILED, "oom")))
    assert not is_hopeless(_study(*failed, _GOOD))
    assert not is_hopeless(_study(*(replace(_GOOD, number=number) for number in range(10))))
    said = why_nothing(_study(*failed))
    assert said.startswith("the first 10 trials all failed as nan: loss is nan; lower the learning rate, as in --set")
    crashed = [replace(one, reason="crashed", message="") for one in failed]
    assert "studies/digits-mlp-001/workers.log" in why_nothing(_study(*crashed))
