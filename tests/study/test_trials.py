"""`TrialTable`: counts that follow every change."""

from __future__ import annotations

from dataclasses import replace

from automl.records import TrialRecord, TrialState
from automl.study.trials import TrialTable

RUNNING, COMPLETE, FAILED = TrialState.RUNNING, TrialState.COMPLETE, TrialState.FAILED


def _trial(number: int, state: TrialState = RUNNING) -> TrialRecord:
    return TrialRecord(number=number, config={"units": number}, seed=number, state=state)


def test_counts_follow_every_change() -> None:
    table = TrialTable()
    for number in range(5):
        table.put(_trial(number))
    for number, state in ((0, COMPLETE), (3, FAILED), (4, COMPLETE), (0, RUNNING), (0, FAILED)):
        table.put(_trial(number, state))
    counted = {state: table.count(state) for state in TrialState}
    assert counted == {state: sum(one.state is state for one in table.records) for state in TrialState}
    assert table.count(COMPLETE, FAILED) == 3


def test_records_are_the_newest_in_the_order_of_their_coming_and_stay_the_same_objects() -> None:
    table = TrialTable()
    assert table.records == ()
    for number in (0, 2, 1):
        table.put(_trial(number))
    before = table.records
    assert table.records is before
    table.put(replace(table[2], value=0.5))
    assert [one.number for one in table.records] == [0, 2, 1]
    assert [one is known for one, known in zip(table.records, before, strict=True)] == [True, False, True]


def test_a_config_is_seen_once_a_trial_has_it() -> None:
    table = TrialTable()
    assert not table.has_seen({"units": 1})
    table.put(_trial(1))
    assert table.has_seen({"units": 1})
    assert not table.has_seen({"units": 1.0})
