from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from automl.dataset_spec import Column, ColumnKind, DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.errors import RequestError
from automl.records import EpochReport, FinalScore, TrialRecord, TrialResult, TrialState
from automl.settings import DEFAULT_TRIALS, SearchSettings

REPORTS = (
    EpochReport(epoch=1, metrics={"loss": 1.5, "val_accuracy": 0.5}, seconds=0.25),
    EpochReport(epoch=2, metrics={"loss": 0.5, "val_accuracy": 0.75}, seconds=0.5),
)
RECORD = TrialRecord(
    number=3,
    config={"hidden": [{"units": 8, "dropout": 0.1}], "optimizer": "adam", "nesterov": None, "norm": True},
    seed=2**31 - 1,
    state=TrialState.PRUNED,
    value=0.75,
    best_epoch=2,
    epochs=REPORTS,
    reason="scheduler",
    message="line\nline",
    parameter_count=1234,
    compile_seconds=1.0,
    attempts=(TrialResult(state=TrialState.FAILED, reason="crashed", wall_seconds=2.0, is_transient=True),),
)
RESULT = TrialResult(
    state=TrialState.FAILED,
    reason="oom",
    message="no memory",
    parameter_count=9,
    compile_seconds=0.5,
    resident_memory_bytes=2**33,
    wall_seconds=4.0,
)
RAW = RawInput(name="input", dtype="float32", shape=(8, 8))
INPUT = InputSpec(name="input", kind=InputKind.IMAGE, shape=(8, 8, 1), pixel_scale=255.0, mean=(33.0,), high=(255.0,))
WORDS = InputSpec(name="text", kind=InputKind.TEXT, shape=(5,), sizes=(3,), token_weights=(0.0, 1.5, 1.0))
CLASSES = OutputSpec(name="kind", task=Task.MULTICLASS, units=3, labels=("a", 2, True))
AMOUNT = OutputSpec(name="price", task=Task.REGRESSION, units=1, offset=(2.5,), scale=(0.5,))
SPEC = DatasetSpec(
    name="d",
    columns=(Column(name="when", kind=ColumnKind.DATE), Column(name="a", kind=ColumnKind.CATEGORY)),
    raw_inputs=(RAW,),
    inputs=(INPUT, WORDS),
    outputs=(CLASSES,),
    train_rows=10,
    validation_rows=3,
    test_rows=4,
    fingerprint="abc",
)
FINAL = FinalScore(
    trial=3, metrics={"accuracy": 0.9}, interval=(0.8, 0.95), seed_metrics=({"accuracy": 0.9}, {"accuracy": 0.8})
)
SETTINGS = SearchSettings(trials=None, seconds=60.0, epochs=4, patience=0, sampler="grid", seed=7, workers=2)


@pytest.mark.parametrize(
    "value",
    [
        REPORTS[0],
        RESULT,
        TrialResult(state=TrialState.COMPLETE),
        RECORD,
        TrialRecord(number=0, config={}, seed=0, state=TrialState.WAITING),
        FINAL,
        SPEC,
        dataclasses.replace(SPEC, inputs=(INPUT, INPUT), outputs=(CLASSES, AMOUNT)),
        SETTINGS,
        SearchSettings(trials=5, seconds=None),
    ],
)
def test_what_is_stored_comes_back_through_json(value: Any) -> None:
    assert type(value).from_json(json.loads(json.dumps(value.to_json()))) == value


@pytest.mark.parametrize("kind", [EpochReport, TrialResult, TrialRecord, FinalScore, DatasetSpec, SearchSettings])
def test_values_are_frozen_and_keyword_only(kind: Any) -> None:
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert kind.__dataclass_params__.frozen


def test_final_states() -> None:
    assert [state.value for state in TrialState if state.is_final] == ["complete", "pruned", "failed"]


def test_a_record_knows_its_seconds_and_the_metrics_of_its_best_epoch() -> None:
    assert RECORD.seconds == 1.75
    assert RECORD.best_metrics == {"loss": 0.5, "val_accuracy": 0.75}
    assert dataclasses.replace(RECORD, best_epoch=1).best_metrics["loss"] == 1.5
    assert dataclasses.replace(RECORD, best_epoch=None).best_metrics == {}


def test_a_record_ends_with_its_result_and_keeps_the_rest() -> None:
    ended = RECORD.ended(RESULT)
    assert (ended.state, ended.reason, ended.message) == (TrialState.FAILED, "oom", "no memory")
    assert (ended.parameter_count, ended.compile_seconds) == (9, 0.5)
    assert ended.lost_seconds == 6.0
    assert (ended.number, ended.config, ended.seed, ended.epochs) == (3, RECORD.config, RECORD.seed, REPORTS)


def test_what_a_retry_found_in_a_checkpoint_was_not_lost() -> None:
    """Its epochs took 1.75 s; the run that failed took 2 s."""
    assert dataclasses.replace(RECORD, wall_seconds=1.9).lost_seconds == 2.0
    assert dataclasses.replace(RECORD, wall_seconds=0.75).lost_seconds == 1.0
    assert dataclasses.replace(RECORD, state=TrialState.RUNNING).lost_seconds == 2.0
    assert dataclasses.replace(RECORD, attempts=(), wall_seconds=0.75).lost_seconds == 0.0


def test_a_spec_of_one_input_and_one_output_has_short_names() -> None:
    single = dataclasses.replace(SPEC, inputs=(INPUT,))
    assert (single.input_shape, single.output, single.task) == ((8, 8, 1), CLASSES, Task.MULTICLASS)


def test_a_spec_of_several_says_so() -> None:
    several = dataclasses.replace(SPEC, inputs=(INPUT, INPUT), outputs=(CLASSES, AMOUNT))
    with pytest.raises(RequestError, match=r"dataset 'd' has 2 inputs: use spec.inputs"):
        _ = several.input_shape
    with pytest.raises(RequestError, match=r"dataset 'd' has 2 outputs: use spec.outputs"):
        _ = several.task


@pytest.mark.parametrize(("trials", "limit"), [(1, 10), (10, 10), (25, 25), (None, DEFAULT_TRIALS)])
def test_a_search_gives_up_after_as_many_failures_as_trials_but_not_before_ten(trials: int | None, limit: int) -> None:
    assert SearchSettings(trials=trials, seconds=None).failure_limit == limit
