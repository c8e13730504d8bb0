"""What a worker says when it trains ahead of a decision is what it would have said had it waited."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automl.executors.messages import Decide, Report, Result
from automl.executors.worker import _run
from automl.objective import Objective
from automl.records import Decision, EpochReport, TrialResult, TrialState
from automl.training.job import TrialJob
from automl.training.run_trial import Trial

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE
_EPOCHS = 4
_NAN = TrialResult(state=TrialState.FAILED, reason="nan", message="loss is nan")


class ScriptedDriver:
    """The driver's end of a pipe: it answers every report, at once or only when the worker waits for it."""

    def __init__(self, decisions: dict[int, Decision], at_once: Callable[[int], bool]) -> None:
        self._decisions = decisions
        self._at_once = at_once
        self._answers: deque[Decide] = deque()
        self.received: list[object] = []

    def send(self, message: object) -> None:
        self.received.append(message)
        if isinstance(message, Report):
            epoch = message.report.epoch
            self._answers.append(Decide(epoch, self._decisions.get(epoch, CONTINUE)))

    def poll(self) -> bool:
        return bool(self._answers) and self._at_once(self._answers[0].epoch)

    def recv(self) -> Decide:
        return self._answers.popleft()

    @property
    def has_answers_left(self) -> bool:
        return bool(self._answers)


def _trial(fails_in: int | None, trained: list[int], *, epochs: int = _EPOCHS) -> Trial:
    """Train as `run_trial` does, without a model."""
    for epoch in range(1, epochs + 1):
        if epoch == fails_in:
            return _NAN
        trained.append(epoch)
        decision = yield EpochReport(epoch=epoch, metrics={"val_loss": 1 / epoch}, seconds=1.0)
        if decision is STOP:
            return TrialResult(state=TrialState.PRUNED, parameter_count=7)
        if decision is PAUSE:
            return TrialResult(state=TrialState.PAUSED, parameter_count=7)
    return TrialResult(state=TrialState.COMPLETE, reason="epochs", parameter_count=7)


def _job(weights_path: Path | None = None) -> TrialJob:
    objective = Objective("val_loss", "min")
    return TrialJob(
        number=0, config={}, seed=1, epochs=_EPOCHS, patience=0, objective=objective, weights_path=weights_path
    )


def _waited(decisions: dict[int, Decision], fails_in: int | None) -> tuple[list[int], TrialResult]:
    """What a worker that waits for each decision would say."""
    trial, reported = _trial(fails_in, []), []
    try:
        report = next(trial)
        while True:
            reported.append(report.epoch)
            report = trial.send(decisions.get(report.epoch, CONTINUE))
    except StopIteration as stop:
        return reported, stop.value


def _said(driver: ScriptedDriver) -> tuple[list[int], TrialResult]:
    *reports, last = driver.received
    assert isinstance(last, Result)
    return [message.report.epoch for message in reports if isinstance(message, Report)], last.result


_SCRIPTS = [{epoch: decision} for epoch in range(1, _EPOCHS + 1) for decision in (STOP, PAUSE)]


@pytest.mark.parametrize("decisions", [{}, *_SCRIPTS], ids=str)
@pytest.mark.parametrize("fails_in", [None, *range(1, _EPOCHS + 1)])
def test_late_decisions_change_nothing(decisions: dict[int, Decision], fails_in: int | None) -> None:
    expected = _waited(decisions, fails_in)
    for prompt in itertools.product([True, False], repeat=_EPOCHS):
        if expected[0] == [1, 2, 3, 4] and decisions.get(_EPOCHS) is PAUSE and not prompt[-1]:
            continue
        driver: Any = ScriptedDriver(decisions, lambda epoch, prompt=prompt: prompt[epoch - 1])
        _run(driver, _job(), _trial(fails_in, []))
        reported, result = _said(driver)
        assert reported == expected[0]
        assert (result.state, result.reason, result.message) == (
            expected[1].state,
            expected[1].reason,
            expected[1].message,
        )
        assert not driver.has_answers_left


def test_what_has_ended_when_it_is_told_to_pause_has_ended() -> None:
    driver: Any = ScriptedDriver({_EPOCHS: PAUSE}, lambda epoch: False)
    _run(driver, _job(), _trial(None, []))
    reported, result = _said(driver)
    assert (reported, result.state, result.reason) == ([1, 2, 3, 4], TrialState.COMPLETE, "epochs")
    assert not driver.has_answers_left


def test_a_late_decision_is_not_waited_for_but_a_second_one_is() -> None:
    trained: list[int] = []
    driver: Any = ScriptedDriver({2: STOP}, lambda epoch: False)
    _run(driver, _job(), _trial(None, trained))
    assert _said(driver)[0] == [1, 2]
    assert trained == [1, 2, 3]  # one epoch ahead, and never two


def test_a_job_that_saves_weights_trains_nothing_ahead(tmp_path: Path) -> None:
    trained: list[int] = []
    driver: Any = ScriptedDriver({2: STOP}, lambda epoch: False)
    _run(driver, _job(tmp_path / "weights.npz"), _trial(None, trained))
    assert trained == [1, 2]
    assert _said(driver)[1].state is TrialState.PRUNED


def test_an_answer_to_an_earlier_trial_is_not_taken_for_one_to_this() -> None:
    driver: Any = ScriptedDriver({1: STOP}, lambda epoch: True)
    driver._answers.append(Decide(3, CONTINUE))
    _run(driver, _job(), _trial(None, []))
    assert _said(driver)[0] == [1]
