"""`Study`: asked, reported to, told, killed and resumed, without any training."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from asked_studies import FINITE, SPACE, epoch, run
from file_sizes import largest_file

from automl.errors import RequestError
from automl.objective import Objective
from automl.parameters import Choice, Float, Int
from automl.records import Decision, EpochReport, FinalScore, TrialRecord, TrialResult, TrialState
from automl.search_space import SearchSpace, config_key
from automl.study.storage import open_storage
from automl.study.study import Study

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP
COMPLETE = TrialResult(state=TrialState.COMPLETE, reason="epochs", parameter_count=7, compile_seconds=0.5)
PRUNED = TrialResult(state=TrialState.PRUNED, reason="scheduler")
CRASHED = TrialResult(state=TrialState.FAILED, reason="crashed", message="the worker died (SIGKILL)", is_transient=True)

Create = Callable[..., Study]


def _ask(study: Study) -> TrialRecord:
    trial = study.ask()
    assert trial is not None
    return trial


def test_a_trial_is_asked_reported_and_told(create: Create) -> None:
    study = create()
    trial = _ask(study)
    assert (trial.number, trial.state, trial.config) == (0, TrialState.RUNNING, SPACE.default_config())
    reports = [epoch(1, 0.5), epoch(2, 0.8), epoch(3, 0.7)]
    assert [study.report(0, report) for report in reports] == [CONTINUE] * 3
    told = study.tell(0, COMPLETE)
    assert told == study.record.trials[0]
    assert told.epochs == tuple(reports)
    assert (told.value, told.best_epoch, told.state, told.reason) == (0.8, 2, TrialState.COMPLETE, "epochs")
    assert (told.parameter_count, told.seconds) == (7, 3.5)
    assert (study.counted, study.failed) == (1, 0)


def test_epochs_that_come_from_other_processes_share_the_names_of_metrics(create: Create) -> None:
    study = create()
    number = _ask(study).number
    for report in (epoch(1, 0.5), epoch(2, 0.8)):
        study.report(number, pickle.loads(pickle.dumps(report)))
    first, second = (list(one.metrics) for one in study.record.trials[number].epochs)
    assert [id(name) for name in first] == [id(name) for name in second]


def test_an_epoch_that_a_full_disk_does_not_take_is_not_known(create: Create, folder: Path) -> None:
    """Else MLflow is told of an epoch that the study does not have when it goes on."""
    study = create()
    number = _ask(study).number
    study.report(number, epoch(1, 0.5))
    before = study.record.trials
    full = largest_file((folder / "journal.log").stat().st_size)
    with full, pytest.raises(OSError, match="File too large"):
        study.report(number, epoch(2, 0.8))
    assert study.record.trials == before


def test_what_optuna_is_told_agrees(create: Create, folder: Path) -> None:
    study = create()
    for result in (COMPLETE, PRUNED, CRASHED):
        number = _ask(study).number
        for report in (epoch(1, 0.5), epoch(2, 0.8), epoch(3, 0.7)):
            study.report(number, report)
        study.tell(number, result)
    known = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    states = optuna.trial.TrialState
    assert [one.state for one in known] == [states.COMPLETE, states.PRUNED, states.FAIL]
    assert [one.value for one in known[:2]] == [0.8, 0.8]  # the best epoch's, not the last one's
    assert known[0].params["hidden.1.units"] == study.record.trials[0].config["hidden"][1]["units"]


def _failed(reason: str, *, is_transient: bool = False) -> TrialResult:
    return TrialResult(state=TrialState.FAILED, reason=reason, message="no", is_transient=is_transient)


@pytest.mark.parametrize("reason", ["nan", "oom", "timeout", "crashed", "invalid_model"])
def test_a_config_that_fails_violates_a_constraint_in_optuna_and_has_failed_here(
    create: Create, folder: Path, reason: str
) -> None:
    study = create()
    number = _ask(study).number
    study.report(number, epoch(1, 0.5))
    told = study.tell(number, _failed(reason))
    run(study, _ask(study))
    (known, other) = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    assert (known.state, list(known.constraints.values())) == (optuna.trial.TrialState.PRUNED, [1.0])
    assert (other.state, other.constraints) == (optuna.trial.TrialState.COMPLETE, {})
    again = Study.open(folder, storage=None, space=SPACE)
    assert again.record.trials[0] == told
    assert (told.state, told.reason) == (TrialState.FAILED, reason)
    assert (again.counted, again.failed) == (study.counted, study.failed) == (1, 1)
    assert [one.number for one in again.record.ranked] == [1]


@pytest.mark.parametrize(
    "result",
    [_failed("data"), _failed("interrupted", is_transient=True), _failed("crashed", is_transient=True)],
    ids=lambda one: one.reason,
)
def test_what_the_surroundings_did_violates_nothing(create: Create, folder: Path, result: TrialResult) -> None:
    study = create()
    study.tell(_ask(study).number, result)
    (known,) = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    assert (known.state, known.constraints) == (optuna.trial.TrialState.FAIL, {})


def test_a_config_that_crashes_each_time_violates_a_constraint(create: Create, folder: Path) -> None:
    study = create()
    number = _ask(study).number
    study.retry(number, _failed("crashed", is_transient=True))
    study.tell(number, _failed("crashed", is_transient=True))
    (known,) = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    assert list(known.constraints.values()) == [1.0]


@pytest.mark.parametrize("lines", [1, 2])
def test_a_driver_killed_while_it_tells_of_a_failure_lost_nothing(create: Create, folder: Path, lines: int) -> None:
    study = create()
    number = _ask(study).number
    journal = folder / "journal.log"
    before = journal.read_bytes()
    study.tell(number, _failed("nan"))
    told = journal.read_bytes()[len(before) :].splitlines(keepends=True)
    assert len(told) == 3  # the result, the constraint, the state
    journal.write_bytes(before + b"".join(told[:lines]))
    again = Study.open(folder, storage=None, space=SPACE)
    assert (again.record.trials[0].reason, again.failed, again.interrupted) == ("nan", 1, ())
    (known,) = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    assert (known.state, list(known.constraints.values())) == (optuna.trial.TrialState.PRUNED, [1.0])


def test_several_trials_run_at_a_time(create: Create) -> None:
    study = create()
    trials = [_ask(study) for _ in range(4)]
    assert len({config_key(trial.config) for trial in trials}) == 4
    for trial in reversed(trials):
        study.report(trial.number, epoch(1, trial.number / 10))
    assert [trial.value for trial in study.record.trials] == [0.0, 0.1, 0.2, 0.3]
    assert len({trial.seed for trial in trials}) == 4


def test_failed_trials_are_not_counted_but_seen(create: Create) -> None:
    study = create(FINITE)
    failed = _ask(study)
    study.tell(failed.number, CRASHED)
    assert (study.counted, study.failed) == (0, 1)
    assert study.record.trials[0].message == CRASHED.message
    others = []
    while (trial := study.ask()) is not None:
        others.append(trial.config)
    assert len(others) == 5
    assert failed.config not in others


def test_complete_without_a_usable_epoch_is_failed(create: Create) -> None:
    study = create()
    number = _ask(study).number
    assert study.report(number, epoch(1, math.nan)) is CONTINUE
    told = study.tell(number, COMPLETE)
    assert (told.state, told.reason, told.value) == (TrialState.FAILED, "nan", None)


def test_nan_epochs_are_kept_and_never_count(create: Create, folder: Path) -> None:
    study = create(scheduler="asha", epochs=9)
    number = _ask(study).number
    for report in (epoch(1, math.nan), epoch(2, 0.6), epoch(3, math.inf), epoch(4, math.nan)):
        assert study.report(number, report) is CONTINUE
    told = study.tell(number, COMPLETE)
    assert (told.value, told.best_epoch, len(told.epochs)) == (0.6, 2, 4)
    again = Study.open(folder, storage=None).record.trials[0]
    assert (again.value, again.best_epoch) == (0.6, 2)
    assert [math.isnan(one.metrics["val_accuracy"]) for one in again.epochs] == [True, False, False, True]


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid", "qmc"])
def test_a_finite_space_gives_every_config_once_and_then_none(create: Create, sampler: str) -> None:
    study = create(FINITE, sampler=sampler)
    seen = []
    while (trial := study.ask()) is not None:
        seen.append(trial.config)
        study.report(trial.number, epoch(1, 0.1 * trial.config["units"]))
        study.tell(trial.number, COMPLETE)
    assert sorted(map(config_key, seen)) == sorted(map(config_key, FINITE.grid()))
    assert study.ask() is None
    assert len(study.record.trials) == 6  # repeats that the sampler proposed are not among them


def test_exhausted_stays_exhausted_after_a_resume(create: Create, folder: Path) -> None:
    study = create(FINITE)
    while (trial := study.ask()) is not None:
        study.tell(trial.number, CRASHED)
    assert Study.open(folder, storage=None, space=FINITE).ask() is None


def test_a_space_of_one_float_is_not_exhausted(create: Create) -> None:
    space = SearchSpace("float", [Choice("optimizer", ["adam"]), Float("rate", 0.0, 1.0)], print)
    study = create(space)
    assert len({_ask(study).config["rate"] for _ in range(30)}) == 30


def test_enqueued_configs_come_first_whole_and_partial_then_the_default(create: Create) -> None:
    whole = {"hidden": [{"units": 9, "dropout": 0.1}], "optimizer": "sgd", "momentum": 0.25, "learning_rate": 0.002}
    partial: dict[str, Any] = {"hidden.1.units": 33, "hidden": 2, "optimizer": "sgd"}
    study = create(enqueue=[whole, partial, {"learning_rate": 0.05}])
    first, second, third, fourth, fifth = (_ask(study).config for _ in range(5))
    assert first == whole
    assert (len(second["hidden"]), second["hidden"][1]["units"], second["optimizer"]) == (2, 33, "sgd")
    assert third["learning_rate"] == 0.05
    assert fourth == SPACE.default_config()
    assert all(SPACE.contains(config) for config in (first, second, third, fourth, fifth))
    assert config_key(fifth) not in {config_key(config) for config in (first, second, third, fourth)}


def test_what_an_enqueued_config_leaves_open_depends_on_the_seed(create: Create, tmp_path: Path) -> None:
    def second(name: str, seed: int) -> Any:
        place = tmp_path / name
        place.mkdir()
        return _ask(create(place=place, enqueue=[{"optimizer": "sgd"}], seed=seed)).config

    assert second("a", 0) == second("b", 0) != second("c", 1)


def test_enqueueing_a_config_many_times_does_not_end_the_search(create: Create) -> None:
    config = SPACE.default_config()
    study = create(enqueue=[config] * 12)
    assert _ask(study).config == config
    assert _ask(study).config != config


@pytest.mark.parametrize(
    "wrong", [{"unitz": 3}, {"optimizer": "adamw"}, {"optimizer": "adam", "momentum": 0.5}, {"hidden": 7}]
)
def test_an_enqueued_config_outside_the_space_is_refused_before_anything_is_written(
    create: Create, folder: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(RequestError):
        create(enqueue=[wrong])
    assert list(folder.iterdir()) == []


def test_every_finished_trial_and_reported_epoch_is_back(create: Create, folder: Path) -> None:
    study = create()
    run(study, _ask(study), epochs=3)
    number = _ask(study).number
    study.report(number, epoch(1, 0.3, learning_rate=0.1))
    study.tell(number, PRUNED)
    study.tell(_ask(study).number, CRASHED)
    running = [_ask(study) for _ in range(2)]
    study.report(running[0].number, epoch(1, 0.4))
    study.spend(33.0)

    again = Study.open(folder, storage=None, space=SPACE)  # the first driver was killed here

    assert again.record == study.record
    assert again.settings == study.settings
    assert again.origin["dataset"] == "digits"
    assert [trial.number for trial in again.interrupted] == [3, 4]
    asked = [_ask(again), _ask(again)]
    assert [(one.number, one.config, one.seed) for one in asked] == [(o.number, o.config, o.seed) for o in running]
    assert again.interrupted == ()
    assert _ask(again).number == 5


def test_a_driver_killed_before_its_last_word_lost_nothing(create: Create, folder: Path) -> None:
    study = create()
    number = _ask(study).number
    study.report(number, epoch(1, 0.7))
    journal = folder / "journal.log"
    before = journal.read_bytes()
    study.tell(number, COMPLETE)
    told = journal.read_bytes()[len(before) :].splitlines(keepends=True)
    journal.write_bytes(before + told[0])  # the result is written, Optuna's own state is not

    again = Study.open(folder, storage=None, space=SPACE)

    assert again.record.trials[0].state is TrialState.COMPLETE
    assert (again.counted, again.interrupted) == (1, ())
    known = optuna.load_study(study_name=folder.name, storage=open_storage(folder, None)).trials
    assert (known[0].state, known[0].value) == (optuna.trial.TrialState.COMPLETE, 0.7)


def test_a_trial_that_runs_again_replaces_its_epochs(create: Create, folder: Path) -> None:
    study = create()
    number = _ask(study).number
    for report in (epoch(1, 0.3), epoch(2, 0.9)):
        study.report(number, report)
    again = Study.open(folder, storage=None, space=SPACE)
    _ask(again)
    for report in (epoch(1, 0.3), epoch(2, 0.9), epoch(3, 0.5)):
        again.report(number, report)
    told = again.tell(number, COMPLETE)
    assert [one.epoch for one in told.epochs] == [1, 2, 3]
    assert Study.open(folder, storage=None).record.trials[0] == told


def test_attempts_are_kept_and_the_trial_stays_the_same(create: Create, folder: Path) -> None:
    study = create()
    trial = _ask(study)
    study.report(trial.number, epoch(1, 0.5))
    for seconds in range(12):
        study.retry(trial.number, replace(CRASHED, wall_seconds=float(seconds), is_transient=True))
    again = Study.open(folder, storage=None, space=SPACE)
    assert again.record == study.record
    assert [one.wall_seconds for one in again.trial(0).attempts] == list(map(float, range(12)))
    assert (again.counted, again.failed, len(again.interrupted)) == (0, 0, 1)
    told = again.tell(_ask(again).number, COMPLETE)
    assert (told.seed, told.config, told.epochs) == (trial.seed, trial.config, (epoch(1, 0.5),))
    assert Study.open(folder, storage=None).record.trials == (told,)


def test_what_went_on_after_an_epoch_goes_on_again(create: Create, folder: Path) -> None:
    """Others that have ended meanwhile would put it among the worst of its rung."""
    study = create(scheduler="asha", epochs=9)
    number = _ask(study).number
    for report in (epoch(1, 0.1), epoch(2, 0.1)):
        assert study.report(number, report) is Decision.CONTINUE
    for accuracy in (0.5, 0.6, 0.7):
        other = _ask(study).number
        study.report(other, epoch(1, accuracy))
        study.tell(other, COMPLETE)
    again = Study.open(folder, storage=None, space=SPACE)
    assert _ask(again).number == number
    assert again.report(number, epoch(1, 0.1)) is Decision.CONTINUE
    latest = again.report(_ask(again).number, epoch(1, 0.1))
    assert latest is STOP


@pytest.mark.parametrize("which", ["best", "last"])
def test_a_trial_that_runs_again_is_judged_as_it_would_have_been(create: Create, tmp_path: Path, which: Any) -> None:
    """It is worst of its rung at epoch 1, and would not be if its later epochs, known already, were looked at."""
    objective = Objective("val_accuracy", "max", which)

    def begun(name: str) -> Study:
        place = tmp_path / name
        place.mkdir()
        study = create(place=place, scheduler="asha", epochs=9, objective=objective)
        for accuracy in (0.5, 0.6, 0.7):
            number = _ask(study).number
            study.report(number, epoch(1, accuracy))
            study.report(number, epoch(2, accuracy / 2))
            study.tell(number, COMPLETE)
        return study

    whole = begun("whole")
    assert whole.report(_ask(whole).number, epoch(1, 0.1)) is STOP
    killed = begun("killed")
    trial = _ask(killed)
    killed.report(trial.number, epoch(2, 0.99))
    again = Study.open(tmp_path / "killed", storage=None, space=SPACE)
    assert _ask(again).number == trial.number
    assert again.report(trial.number, epoch(1, 0.1)) is STOP


@pytest.mark.parametrize("scheduler", ["asha", "median", "hyperband"])
def test_decisions_after_a_resume_equal_those_of_an_uninterrupted_study(
    create: Create, tmp_path: Path, scheduler: str
) -> None:
    curves = [[0.1 * (1 + (7 * trial + 3 * number) % 9) for number in range(9)] for trial in range(24)]
    curves[2][0] = math.nan

    def decisions(name: str, *, resumed: bool) -> list[tuple[int, int]]:
        place = tmp_path / name
        place.mkdir()
        study = create(place=place, scheduler=scheduler, epochs=9, sampler="random")
        stopped = []
        for curve in curves:
            study = Study.open(place, storage=None, space=SPACE) if resumed else study
            number = _ask(study).number
            result = COMPLETE
            for index, accuracy in enumerate(curve):
                if study.report(number, epoch(index + 1, accuracy)) is STOP:
                    stopped.append((number, index + 1))
                    result = PRUNED
                    break
            study.tell(number, result)
        return stopped

    whole = decisions("whole", resumed=False)
    assert whole
    assert decisions("resumed", resumed=True) == whole


def test_a_minimised_objective_is_stopped_when_it_is_large(create: Create) -> None:
    study = create(scheduler="asha", epochs=3, objective=Objective("val_loss", "min"))
    decisions = [
        study.report(_ask(study).number, EpochReport(epoch=1, metrics={"val_loss": loss}, seconds=1.0))
        for loss in (0.1, 0.2, 0.3, 0.4, 0.05)
    ]
    assert decisions == [CONTINUE, STOP, STOP, STOP, CONTINUE]


def test_another_space_is_refused_and_another_default_is_not(create: Create, folder: Path) -> None:
    space = SearchSpace("one", [Int("units", 1, 8)], print)
    create(space)
    Study.open(folder, storage=None, space=SearchSpace("one", [Int("units", 1, 8, default=2)], print))
    with pytest.raises(RequestError, match="differ from those"):
        Study.open(folder, storage=None, space=SearchSpace("one", [Int("units", 1, 9)], print))


def test_a_study_that_was_never_wholly_created_says_so(folder: Path) -> None:
    optuna.create_study(storage=open_storage(folder, None), study_name=folder.name)
    with pytest.raises(RequestError, match="automl delete"):
        Study.open(folder, storage=None)


def test_finalists_and_the_verdict_are_kept_also_when_the_budget_grows(create: Create, folder: Path) -> None:
    study = create()
    winner = run(study, _ask(study))
    finalist = replace(winner, seed=99, value=None, best_epoch=None)
    study.keep_finalist(0, 2, finalist)
    final = FinalScore(trial=0, metrics={"accuracy": 0.9}, interval=(0.8, 0.95), seed_metrics=({"accuracy": 0.9},))
    study.keep_final(final)

    again = Study.open(folder, storage=None, space=SPACE)
    assert again.record == study.record
    assert again.finalist(0, 2) == replace(finalist, value=winner.value, best_epoch=winner.best_epoch)
    assert again.finalist(0, 1) is None
    assert again.record.final == final

    again.revise(trials=80)
    resumed = Study.open(folder, storage=None, space=SPACE)
    assert (resumed.settings.trials, resumed.settings.seconds, resumed.record.final) == (80, None, final)
    assert resumed.finalist(0, 2) is not None


def test_a_budget_that_nobody_asked_for_gives_way_to_one_that_is(create: Create) -> None:
    default = create(trials=50, seconds=600.0, is_default_budget=True)
    default.revise(trials=60)
    assert (default.settings.trials, default.settings.seconds) == (60, None)
    default.revise(seconds=90.0)
    assert (default.settings.trials, default.settings.seconds) == (60, 90.0)


def test_what_bounds_a_trial_may_change_and_leaves_the_budget_alone(create: Create, folder: Path) -> None:
    create(trials=50, seconds=600.0, is_default_budget=True).revise(retries=3, trial_timeout_seconds=7.5)
    settings = Study.open(folder, storage=None, space=SPACE).settings
    assert (settings.retries, settings.trial_timeout_seconds) == (3, 7.5)
    assert (settings.trials, settings.seconds, settings.is_default_budget) == (50, 600.0, True)
