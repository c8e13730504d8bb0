"""One call in a process of its own: what comes back, and how it fails."""

from __future__ import annotations

import pytest

from automl.errors import DataError, SurroundingsError
from automl.executors.child import call_in_child


def test_reports_and_result_come_back_and_output_is_the_drivers(capfd: pytest.CaptureFixture[str]) -> None:
    said: list[tuple[int, int]] = []
    assert call_in_child("called_in_child:double", say=lambda *counts: said.append(counts), number=21) == 42
    assert said == [(1, 2), (2, 2)]
    assert capfd.readouterr().out == "said on standard output\n"


def test_our_errors_come_back_as_they_are() -> None:
    with pytest.raises(DataError, match="no such column"):
        call_in_child("called_in_child:refuse")
    with pytest.raises(BrokenPipeError):
        call_in_child("called_in_child:nobody_reads")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("break_down", "break_down failed: ZeroDivisionError: by zero of course"),
        ("die", r"died \(exit code 7\); its last words: the last words"),
    ],
)
def test_other_failures_are_one_clear_line(function: str, message: str) -> None:
    with pytest.raises(SurroundingsError, match=message) as caught:
        call_in_child(f"called_in_child:{function}")
    assert "\n" not in str(caught.value)
