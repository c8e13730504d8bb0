"""Finalists: what fits into the time is re-trained, seeds dropped before configs; the best mean wins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from digits_spec import SPEC

from automl.finalist_plan import (
    CLOSING_SECONDS,
    SEEDS,
    Slots,
    plan_finalists,
    refit_epochs,
    refit_seconds,
    weights_path,
    whole_trainings,
)
from automl.finalists import choose_winner, finalist_jobs, refit_job
from automl.objective import Objective
from automl.records import EpochReport, TrialRecord, TrialState
from automl.study_record import StudyRecord

Make = Callable[..., StudyRecord]


def _trial(number: int, value: float | None, *, epochs: int = 4, **changes: Any) -> TrialRecord:
    metrics = {} if value is None else {"val_accuracy": value, "val_loss": 1 - value}
    reports = tuple(EpochReport(epoch=one, metrics=metrics, seconds=0.5) for one in range(1, epochs + 1))
    record = TrialRecord(
        number=number,
        config={"units": number},
        seed=number,
        state=TrialState.COMPLETE,
        value=value,
        best_epoch=None if value is None else 1,
        epochs=reports,
        compile_seconds=1.0,
    )
    return replace(record, **changes)


@pytest.fixture
def study(tmp_path: Path) -> Make:
    def make(*trials: TrialRecord, **changes: Any) -> StudyRecord:
        settings = {"finalists": 3, "epochs": 10, "patience": 2, "seed": 5} | changes.pop("settings", {})
        values: dict[str, Any] = {
            "name": tmp_path.name,
            "folder": tmp_path,
            "dataset": SPEC,
            "space": "mlp",
            "space_table": (),
            "objective": Objective("val_accuracy", "max"),
            "settings": settings,
            "trials": trials,
        }
        return StudyRecord(**(values | changes))

    return make


@pytest.fixture
def four(study: Make) -> StudyRecord:
    """Four trials of three seconds each; the ranking is 2, 0, 3, 1."""
    return study(*[_trial(number, value) for number, value in enumerate((0.8, 0.5, 0.9, 0.7))])


def test_all_is_retrained_where_time_has_no_bound(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(2), seconds=math.inf)
    assert [trial.number for trial in plan.configs] == [2, 0, 3]
    assert (plan.seeds, plan.shortened) == (SEEDS, "")
    assert plan.seconds == CLOSING_SECONDS + max(9 * 3.0 / 2, 3.0 * 5)


_RUN = 3.0  # seconds of one re-training


@pytest.mark.parametrize(
    ("runs", "configs", "seeds"),
    [(9, 3, 3), (8.9, 3, 2), (6, 3, 2), (5.9, 3, 1), (3, 3, 1), (2.9, 2, 1), (2, 2, 1), (1.9, 1, 1), (1, 1, 1)],
)
def test_seeds_are_dropped_first_and_then_finalists(four: StudyRecord, runs: float, configs: int, seeds: int) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=CLOSING_SECONDS + runs * _RUN)
    assert (len(plan.configs), plan.seeds) == (configs, seeds)
    assert plan.seconds <= CLOSING_SECONDS + runs * _RUN
    assert bool(plan.shortened) == ((configs, seeds) != (3, 3))


def test_one_run_is_kept_even_where_no_time_is_left(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=0.0)
    assert ([trial.number for trial in plan.configs], plan.seeds) == ([2], 1)
    assert plan.shortened == "time allowed 1 x 1 of 3 x 3 runs"


def test_a_slow_winner_gives_way_where_it_would_be_cut_too_early(study: Make) -> None:
    """The slow one is better after its last epoch, and worse after as many seconds."""

    def rising(number: int, values: list[float], seconds: float) -> TrialRecord:
        reports = [
            EpochReport(epoch=index, metrics={"val_accuracy": value, "val_loss": 1 - value}, seconds=seconds)
            for index, value in enumerate(values, start=1)
        ]
        return replace(_trial(number, max(values)), best_epoch=len(values), epochs=tuple(reports))

    slow, fast = rising(0, [0.5, 0.6, 0.95], 50.0), rising(1, [0.5, 0.7, 0.8, 0.9], 5.0)
    record = study(slow, fast)
    seconds = CLOSING_SECONDS + 12.0
    plan = plan_finalists(record, slots=Slots(1), seconds=seconds)
    assert [trial.number for trial in plan.configs] == [1]
    assert plan.shortened == "time allowed 1 x 1 of 3 x 3 runs"
    assert [one.number for one in plan_finalists(record, slots=Slots(1), seconds=math.inf).configs] == [0, 1]


def test_what_an_earlier_session_retrained_stands(four: StudyRecord) -> None:
    """No time is left: the best config of the search was re-trained once, and is not given up for a faster one."""
    record = _with_finalists(four, {2: [0.85]})
    weights = weights_path(record.folder, 2, 0)
    weights.parent.mkdir()
    weights.touch()
    plan = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS)
    assert ([trial.number for trial in plan.configs], plan.seeds, plan.seconds) == ([2], 1, CLOSING_SECONDS)
    more = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + 2 * _RUN)
    assert ([trial.number for trial in more.configs], more.seeds) == ([2, 0, 3], 1)


def test_more_slots_make_room_for_more(four: StudyRecord) -> None:
    seconds = CLOSING_SECONDS + 3 * _RUN
    assert plan_finalists(four, slots=Slots(1), seconds=seconds).seeds == 1
    assert plan_finalists(four, slots=Slots(3), seconds=seconds).seeds == 3


def test_fewer_trials_than_finalists_are_all_retrained(study: Make) -> None:
    plan = plan_finalists(study(_trial(0, 0.5)), slots=Slots(1), seconds=math.inf)
    assert ([trial.number for trial in plan.configs], plan.seeds, plan.shortened) == ([0], 3, "")


def test_nothing_usable_gives_an_empty_plan(study: Make) -> None:
    failed = _trial(0, None, state=TrialState.FAILED)
    plan = plan_finalists(study(failed), slots=Slots(1), seconds=math.inf)
    assert (plan.configs, plan.seconds, plan.shortened) == ((), 0.0, "")
    assert finalist_jobs(plan, study(failed)) == []


def test_a_stopped_trial_is_foreseen_to_run_as_long_as_complete_ones(study: Make) -> None:
    pruned = _trial(0, 0.9, epochs=2, state=TrialState.PRUNED)
    alone = plan_finalists(study(pruned), slots=Slots(1), seconds=0.0)
    assert alone.seconds == CLOSING_SECONDS + 1.0 + 10 * 0.5  # the cap: nothing better is known
    beside = plan_finalists(study(pruned, _trial(1, 0.1, epochs=6)), slots=Slots(1), seconds=0.0)
    assert beside.seconds == CLOSING_SECONDS + 1.0 + 6 * 0.5


def test_jobs_have_fresh_seeds_and_files_of_their_own(four: StudyRecord) -> None:
    jobs = finalist_jobs(plan_finalists(four, slots=Slots(1), seconds=math.inf), four)
    assert [(repeat, job.number) for repeat, job in jobs] == [(r, n) for r in range(3) for n in (2, 0, 3)]
    assert len({job.seed for _, job in jobs} | {trial.seed for trial in four.trials}) == 9 + 4
    assert len({job.weights_path for _, job in jobs}) == 9
    assert all(job.config == {"units": job.number} for _, job in jobs)
    assert all((job.epochs, job.patience) == (10, 2) for _, job in jobs)
    assert jobs == finalist_jobs(plan_finalists(four, slots=Slots(2), seconds=math.inf), four)


def _with_finalists(record: StudyRecord, values: dict[int, list[float | None]]) -> StudyRecord:
    return replace(record, finalists=tuple(_trial(number, one) for number, each in values.items() for one in each))


def test_the_best_mean_wins_not_the_best_run(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=math.inf)
    record = _with_finalists(four, {2: [0.95, 0.5, 0.5], 0: [0.7, 0.7, 0.7], 3: [0.6, 0.6, 0.6]})
    assert choose_winner(record, plan) == 0


def test_a_minimised_objective_takes_the_lowest_mean(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=math.inf)
    record = _with_finalists(four, {2: [0.9], 0: [0.7], 3: [0.8]})
    assert choose_winner(record, plan) == 2
    assert choose_winner(replace(record, objective=Objective("val_accuracy", "min")), plan) == 0


def test_ties_go_to_the_better_search_score(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=math.inf)
    assert choose_winner(_with_finalists(four, {3: [0.7], 0: [0.7], 2: [0.7]}), plan) == 2


def test_runs_without_a_value_do_not_count(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=math.inf)
    assert choose_winner(_with_finalists(four, {2: [None, None], 0: [None, 0.4]}), plan) == 0
    assert choose_winner(_with_finalists(four, {2: [None]}), plan) is None
    assert choose_winner(four, plan) is None


def test_a_config_that_left_the_plan_does_not_win(four: StudyRecord) -> None:
    plan = plan_finalists(four, slots=Slots(1), seconds=math.inf)
    assert choose_winner(_with_finalists(four, {1: [0.99], 2: [0.5]}), plan) == 2


_GROWTH = 1 + 288 / 1149  # of the rows of an epoch, by the validation rows


def test_a_refit_takes_the_median_of_the_best_epochs_and_the_seed_of_the_best_run(four: StudyRecord) -> None:
    trained = [_trial(2, 0.9, best_epoch=epoch, seed=epoch) for epoch in (4, 1, 3)]
    assert refit_epochs(trained) == 3
    job = refit_job(four.trials[2], trained, four)
    assert (job.number, job.config, job.seed, job.epochs, job.refit_epochs) == (2, {"units": 2}, 4, 10, 3)
    assert refit_seconds(trained, four, Slots(2)) == pytest.approx(1.0 + 3 * 0.5 * _GROWTH)
    others = [job for _, job in finalist_jobs(plan_finalists(four, slots=Slots(1), seconds=math.inf), four)]
    assert job.weights_path not in {one.weights_path for one in others}
    assert job.checkpoint_folder not in {one.checkpoint_folder for one in others}


def test_a_plan_reserves_time_for_the_refit_and_drops_it_last(study: Make) -> None:
    """A refit of one best epoch takes a second and that epoch; half a second more is kept for late finalists."""
    record = study(_trial(0, 0.8), _trial(1, 0.9), settings={"refit": True})
    refit = 1.0 + 0.5 * _GROWTH + 0.5
    everything = plan_finalists(record, slots=Slots(1), seconds=math.inf)
    assert everything.refit_seconds == pytest.approx(refit)
    assert everything.seconds == pytest.approx(CLOSING_SECONDS + 6 * _RUN + refit)
    two_runs = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + 2 * _RUN + refit + 0.01)
    assert (len(two_runs.configs), two_runs.seeds, two_runs.refit_seconds) == (2, 1, pytest.approx(refit))
    alone = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + 2 * _RUN + refit - 0.01)
    assert ([trial.number for trial in alone.configs], alone.seeds) == ([1], 0)
    assert alone.seconds == pytest.approx(CLOSING_SECONDS + refit)
    too_short = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + refit - 0.01)
    assert (len(too_short.configs), too_short.seeds, too_short.refit_seconds) == (1, 1, 0.0)


def test_a_config_that_was_stopped_in_the_search_is_retrained_once_before_its_refit(study: Make) -> None:
    """Its best epoch is not known: four of ten epochs were trained."""
    record = study(_trial(0, 0.9, state=TrialState.PRUNED), settings={"refit": True, "finalists": 1})
    run, refit = 1.0 + 10 * 0.5, 1.0 + 10 * 0.5 * _GROWTH + 0.5
    plan = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + run + refit + 0.01)
    assert (plan.seeds, plan.refit_seconds) == (1, pytest.approx(refit))
    shorter = plan_finalists(record, slots=Slots(1), seconds=CLOSING_SECONDS + run + refit - 0.01)
    assert shorter.seeds > 0
    assert shorter.refit_seconds == 0.0


def test_trainings_that_were_cut_do_not_tell_the_best_epoch() -> None:
    trial, cut = _trial(0, 0.9), _trial(0, 0.8, state=TrialState.PRUNED)
    assert whole_trainings(trial, []) == [trial]
    assert whole_trainings(trial, [cut]) == [trial]
    assert whole_trainings(trial, [cut, trial, trial]) == [trial, trial]
    assert whole_trainings(cut, [cut]) == []


def test_a_refit_is_predicted_by_how_fast_the_machine_was_last(four: StudyRecord) -> None:
    slow = replace(four.trials[2], epochs=(EpochReport(epoch=1, metrics={}, seconds=2.0),))
    assert refit_seconds([four.trials[2]], four, Slots(1), measured=[slow]) == pytest.approx(1.0 + 2.0 * _GROWTH)


def test_long_trainings_that_are_fewer_than_the_slots_get_the_cores_of_all() -> None:
    assert Slots(4, shares_cores=True).seconds([100.0, 90.0]) == pytest.approx(100 / 1.5)
    assert Slots(4, shares_cores=True).seconds([50.0]) == 50.0  # a worker's start is not worth it
    assert Slots(4).seconds([100.0]) == 100.0
    assert Slots(4, shares_cores=True).seconds([100.0] * 5) == 200.0
