from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from tracked_studies import CONFIG, FINAL, SPEC, epochs, trial

from automl.dataset_spec import Column, ColumnKind
from automl.records import EpochReport, TrialResult, TrialState
from automl.study_record import StudyRecord
from automl.tracking import mlflow_values
from automl.tracking.mlflow_values import (
    dataset_fields,
    epoch_metrics,
    final_metrics,
    flatten,
    now_ms,
    start_times_ms,
    state_tags,
    study_status,
)
from automl.tracking.study_changes import BestCurve

Make = Callable[..., StudyRecord]


def test_tags_say_why_earlier_attempts_failed() -> None:
    died = TrialResult(state=TrialState.FAILED, reason="crashed", message="in build\nthe worker died (SIGSEGV)")
    long = TrialResult(state=TrialState.FAILED, reason="oom", message="x" * 9000)
    tags = state_tags(replace(trial(0, TrialState.COMPLETE), attempts=(died, long)))
    assert tags["automl.attempts"] == "crashed, oom"
    assert tags["automl.attempt_messages"].startswith("1. crashed: in build\nthe worker died (SIGSEGV)\n\n2. oom: xxx")
    assert len(tags["automl.attempt_messages"]) < 1100
    assert "automl.attempt_messages" not in state_tags(trial(0, TrialState.COMPLETE))


def test_a_config_becomes_flat_params() -> None:
    assert flatten(CONFIG) == {
        "hidden": "2",
        "hidden.0.units": "64",
        "hidden.0.dropout": "0.1",
        "hidden.1.units": "32",
        "hidden.1.dropout": "0.0",
        "activation": "relu",
        "optimizer": "adam",
        "learning_rate": "0.001",
    }


@pytest.mark.parametrize(
    ("config", "params"),
    [
        ({"hidden": []}, {"hidden": "0"}),
        ({"initializer": None}, {"initializer": "None"}),
        ({"kernel": [3, 3]}, {"kernel": "[3, 3]"}),
        ({"loss": {"kind": "huber", "delta": 1.0}}, {"loss.kind": "huber", "loss.delta": "1.0"}),
        ({"Größe (cm)/x": True}, {"Größe _cm__x": "True"}),
        ({"text": "x" * 9000}, {"text": "x" * 6000}),
    ],
)
def test_odd_values_become_params_that_mlflow_takes(config: dict[str, object], params: dict[str, str]) -> None:
    assert flatten(config) == params


def test_the_best_value_follows_the_numbers_and_waits_for_running_trials(study: Make) -> None:
    record = study(
        trial(0, TrialState.FAILED, value=None),
        trial(1, value=0.7),
        trial(2, TrialState.PAUSED, value=0.99),
        trial(3, TrialState.PRUNED, value=0.6),
        trial(4, value=0.8),
        trial(5, TrialState.RUNNING),
        trial(6, value=0.9),
    )
    assert BestCurve().advance(record, ()) == [(1, 0.7), (2, 0.7), (3, 0.7), (4, 0.8)]


def test_infinity_is_written_as_nan_and_epochs_are_timed_from_the_start() -> None:
    reports = (*epochs(1, seconds=2.0), EpochReport(epoch=2, metrics={"loss": math.inf}, seconds=1.0))
    first, second = epoch_metrics(reports, start_ms=1_000)
    assert {point.timestamp_ms for point in first} == {3_000}
    assert [(point.key, point.timestamp_ms, point.step) for point in second] == [
        ("loss", 4_000, 2),
        ("epoch_seconds", 4_000, 2),
    ]
    assert math.isnan(second[0].value)


def test_trials_that_are_written_together_began_in_their_order_and_none_in_the_future() -> None:
    trials = [trial(0, epochs=epochs(1, seconds=2.0)), trial(1, epochs=epochs(3, seconds=9.0)), trial(2, epochs=())]
    first, second, third = start_times_ms(trials)
    assert first < second < third
    assert third <= now_ms() - 500
    assert now_ms() - second == pytest.approx(27_500, abs=500)


def test_the_final_score_has_interval_mean_and_spread(study: Make) -> None:
    metrics = final_metrics(study(trial(0), trial(1), final=FINAL))
    assert metrics["test_accuracy"] == 0.95
    assert (metrics["test_accuracy_interval_low"], metrics["test_accuracy_interval_high"]) == (0.92, 0.97)
    assert metrics["test_accuracy_mean"] == pytest.approx(0.94)
    assert metrics["test_accuracy_spread"] == pytest.approx(0.01 * math.sqrt(2))


@pytest.mark.parametrize(
    ("states", "finalists", "has_final", "is_last", "status"),
    [
        ([TrialState.COMPLETE], 3, False, False, "RUNNING"),
        ([TrialState.COMPLETE], 3, True, False, "FINISHED"),
        ([TrialState.COMPLETE, TrialState.RUNNING], 3, True, True, "KILLED"),
        ([TrialState.COMPLETE], 3, False, True, "KILLED"),
        ([TrialState.COMPLETE, TrialState.WAITING], 0, False, True, "FINISHED"),
        ([TrialState.COMPLETE, TrialState.RUNNING], 0, False, True, "KILLED"),
        ([TrialState.FAILED], 3, False, True, "FAILED"),
    ],
)
def test_a_study_that_can_go_on_is_killed_and_one_without_a_model_has_failed(
    study: Make, states: list[TrialState], finalists: int, has_final: bool, is_last: bool, status: str
) -> None:
    trials = [trial(number, state) for number, state in enumerate(states)]
    record = study(*trials, settings={"finalists": finalists}, final=FINAL if has_final else None)
    assert study_status(record, is_last=is_last) == status


def test_a_study_keeps_its_id_when_it_was_given_one(study: Make) -> None:
    assert mlflow_values.study_id(study()) == mlflow_values.study_id(study(trial(0)))
    assert mlflow_values.study_id(study(settings={"study_id": "a'b-1"})) == "a-b-1"


def test_a_dataset_is_described_in_the_ui() -> None:
    fields = dataset_fields(SPEC)
    assert json.loads(fields["profile"])["target"] == "multiclass, 10 labels"
    assert json.loads(fields["schema"])["mlflow_colspec"] == [
        {"name": "image", "type": "image 8x8"},
        {"name": "target", "type": "multiclass"},
    ]
    columns = (Column(name="age"), Column(name="married", kind=ColumnKind.BOOLEAN))
    schema = json.loads(dataset_fields(replace(SPEC, columns=columns))["schema"])
    assert schema["mlflow_colspec"] == [
        {"name": "age", "type": "number"},
        {"name": "married", "type": "boolean"},
        {"name": "target", "type": "multiclass"},
    ]


def test_passwords_do_not_reach_a_message() -> None:
    error = ConnectionError("no answer from https://me:secret@example.org/api\nsecond line")
    assert mlflow_values.one_line(error) == "no answer from https://example.org/api"
