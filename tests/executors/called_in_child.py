"""Functions that tests run in a process of their own."""

from __future__ import annotations

import os
from collections.abc import Callable

from automl.errors import DataError

Say = Callable[[int, int], None]


def double(*, say: Say, number: int) -> int:
    say(1, 2)
    say(2, 2)
    os.write(1, b"said on standard output\n")
    return 2 * number


def refuse(*, say: Say) -> None:
    raise DataError("no such column")


def break_down(*, say: Say) -> None:
    raise ZeroDivisionError("by zero\nof course")


def die(*, say: Say) -> None:
    os.write(2, b"the last words\n")
    os._exit(7)


def nobody_reads(*, say: Say) -> None:
    raise BrokenPipeError(32, "Broken pipe")
