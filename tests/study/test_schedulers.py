"""Schedulers: decisions on reports made by hand."""

from __future__ import annotations

import pytest

from automl.errors import UnknownNameError
from automl.records import Decision
from automl.study.schedulers import (
    SCHEDULERS,
    AshaScheduler,
    HyperbandScheduler,
    MedianScheduler,
    NoScheduler,
    Scheduler,
    check_scheduler,
    make_scheduler,
)

CONTINUE, STOP = Decision.CONTINUE, Decision.STOP


def _decisions(scheduler: Scheduler, losses: list[float], *, epoch: int) -> list[Decision]:
    return [scheduler.report(trial, epoch, loss) for trial, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("cap", "rungs"), [(27, (1, 3, 9)), (30, (1, 3, 10)), (81, (3, 9, 27)), (9, (1, 3)), (3, (1,)), (2, ()), (1, ())]
)
def test_asha_places_its_rungs_below_the_cap(cap: int, rungs: tuple[int, ...]) -> None:
    assert AshaScheduler(cap).rungs == rungs


def test_asha_keeps_the_best_third_of_a_rung() -> None:
    scheduler = AshaScheduler(27)
    first_three = _decisions(scheduler, [0.8, 0.9, 0.7], epoch=3)
    assert first_three == [CONTINUE, STOP, CONTINUE]  # too few for a third of them: the best so far goes on
    assert scheduler.report(3, 3, 0.6) is CONTINUE  # best of 4: 1 may go on
    assert scheduler.report(4, 3, 0.65) is STOP  # second of 5: 1 may go on
    assert scheduler.report(5, 3, 0.65) is CONTINUE  # second of 6: 2 may go on, and a tie goes on
    assert scheduler.report(6, 3, 0.85) is STOP
    assert scheduler.report(7, 3, 0.1) is CONTINUE


def test_asha_judges_each_rung_by_itself_and_only_there() -> None:
    scheduler = AshaScheduler(9)
    _decisions(scheduler, [0.1, 0.2, 0.3], epoch=1)
    assert scheduler.report(3, 2, 9.0) is CONTINUE
    assert scheduler.report(3, 3, 9.0) is CONTINUE  # the first at that rung
    assert scheduler.report(4, 1, 9.0) is STOP


def test_hyperband_brackets_differ_in_how_early_they_judge() -> None:
    scheduler = HyperbandScheduler(27)
    bad = {bracket: [] for bracket in range(4)}
    for epoch in (1, 3, 9):
        for round_number in range(6):
            for bracket in range(4):
                trial = 4 * round_number + bracket
                bad[bracket].append((epoch, scheduler.report(trial, epoch, float(round_number))))
    stops = {bracket: {epoch for epoch, decision in seen if decision is STOP} for bracket, seen in bad.items()}
    assert stops == {0: {1, 3, 9}, 1: {3, 9}, 2: {9}, 3: set()}


def test_median_stops_what_is_worse_than_the_median_of_the_others() -> None:
    scheduler = MedianScheduler(grace_epochs=2, min_trials=3)
    assert _decisions(scheduler, [0.1, 0.2, 0.3], epoch=2) == [CONTINUE] * 3
    assert scheduler.report(3, 2, 0.25) is STOP  # the median is 0.2
    assert scheduler.report(4, 2, 0.25) is CONTINUE  # 0.1, 0.2, 0.25, 0.3: as good as the (upper) median


def test_median_gives_grace() -> None:
    scheduler = MedianScheduler(grace_epochs=3, min_trials=2)
    assert _decisions(scheduler, [0.1, 0.1, 0.1, 9.0], epoch=2) == [CONTINUE] * 4
    assert _decisions(scheduler, [0.1, 9.0], epoch=3) == [CONTINUE] * 2
    assert scheduler.report(9, 3, 99.0) is STOP


def test_none_stops_nothing() -> None:
    assert _decisions(NoScheduler(), [0.1, 0.1, 0.1, 0.1, 1e9], epoch=1) == [CONTINUE] * 5


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_name_makes_a_scheduler_that_spares_the_first(name: str) -> None:
    for cap in (1, 2, 5, 30):
        scheduler = make_scheduler(name, max_epochs=cap)
        assert [scheduler.report(0, epoch, 1.0) for epoch in range(1, cap + 1)] == [CONTINUE] * cap


def test_a_name_nobody_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'asha'"):
        check_scheduler("ahsa")
