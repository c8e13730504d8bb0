"""The check before a search, over an executor that runs nothing: how long it waits, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from automl.errors import CallTimeoutError, SpaceError
from automl.executors.base import Waiting
from automl.parameters import Choice
from automl.run_study import CHECK_SECONDS, check_everywhere
from automl.search_space import SearchSpace
from automl.settings import SearchSettings

_SPACE = SearchSpace("one", [Choice("kind", ["good"])], print)


class Asked:
    """Remembers its calls; each has taken so many seconds, and hangs then where it is told to."""

    def __init__(self, *seconds: float, hangs: bool = False) -> None:
        self.calls: list[tuple[str, float]] = []
        self._seconds = seconds
        self._hangs = hangs

    def call(
        self, function: object, *, backend: str, timeout_seconds: float, waiting: Waiting, config: dict[str, Any]
    ) -> None:
        assert config == {"kind": "good"}
        self.calls.append((backend, timeout_seconds))
        for one in self._seconds:
            waiting(one)
        if self._hangs:
            raise CallTimeoutError(timeout_seconds, "")


def _check(executor: Any, **changes: Any) -> None:
    check_everywhere(executor, _SPACE, SearchSettings(trials=1, seconds=None, **changes))


def test_it_waits_as_long_as_a_trial_may_take(caplog: pytest.LogCaptureFixture) -> None:
    executor = Asked(0.2, 1.9)
    _check(executor)
    _check(executor, trial_timeout_seconds=7.5, backend="jax")
    assert executor.calls == [("tensorflow", CHECK_SECONDS), ("jax", 7.5), ("tensorflow", 7.5)]
    assert not caplog.messages


def test_what_takes_a_while_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _check(Asked(1.9, 2.1, 2.3), backend="jax")
    assert caplog.messages == ["building the model of the space's default config, which may take 300 s"]


def test_a_worker_that_does_not_say_where_it_hangs() -> None:
    with pytest.raises(SpaceError, match=r"took longer than 9 s; it stood in an unknown place \(its process did not"):
        _check(Asked(hangs=True), trial_timeout_seconds=9.0)
