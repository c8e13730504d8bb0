"""Every error that automl raises on purpose.

The tree, with the exit code that the command line gives each::

    AutomlError
    ├── RequestError          2   the request was wrong; nothing was started
    │   ├── UnknownNameError  2   a name that is not known, with the nearest one
    │   ├── DataError         2   a dataset that cannot be used as it is
    │   └── SpaceError        2   a search space, setting or config that is not valid
    ├── NoUsableModelError    1   the search ran, but no trial gave a usable model
    └── SurroundingsError     3   disk, store or worker start-up failed; resumable
        └── CallTimeoutError  3   a worker was at a call for longer than it was given

Foreign errors are mapped to these at the border where they appear, once. A message says what was expected, what
was received and what to do, in one line.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from functools import partial
from typing import Any

DISK_FAILS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Error numbers of a disk that cannot take or give what it should: full, a quota's end, broken."""


def disk_error(error: BaseException | None) -> OSError | None:
    """Return what a disk complained of, which libraries may have wrapped; None where something else went wrong."""
    if error is None or (isinstance(error, OSError) and error.errno in DISK_FAILS):
        return error
    return disk_error(error.__cause__ or error.__context__)


class AutomlError(Exception):
    """Base of every error that automl raises on purpose; `exit_code` is the command line's."""

    exit_code = 2


class RequestError(AutomlError):
    """The request was wrong: an option, a name, a file or a value. Nothing was started."""


class UnknownNameError(RequestError):
    """A name that is not known; the message names the nearest one and lists what is known."""

    def __init__(self, kind: str, received: str, known: Iterable[str], *, also: str = "") -> None:
        """Describe the unknown name.

        Args:
            kind: What was looked for, such as `"dataset"`.
            received: The name that was given.
            known: Every name that would have been accepted.
            also: What else would have been accepted, such as `"or a path to a .csv file"`.
        """
        names = sorted(known)
        self._arguments = (kind, received, names, also)
        nearest = difflib.get_close_matches(received, names, n=1)
        guess = f"; did you mean {nearest[0]!r}?" if nearest else ";"
        listed = ", ".join(names) if names else "none"
        super().__init__(f"unknown {kind} {received!r}{guess} known: {listed}{' ' + also if also else ''}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let workers send it: by default an exception is made again of its message alone."""
        kind, received, names, also = self._arguments
        return partial(UnknownNameError, also=also), (kind, received, names)


class DataError(RequestError):
    """A dataset that is missing, malformed or cannot be learned from as it is."""


class SpaceError(RequestError):
    """A search space, a `--set`, an enqueued config or a built model that is not valid."""


class NoUsableModelError(AutomlError):
    """The search ran, and no trial gave a usable model."""

    exit_code = 1


class SurroundingsError(AutomlError):
    """The surroundings failed (disk, store, a worker that cannot start). The study can be resumed."""

    exit_code = 3


class CallTimeoutError(SurroundingsError):
    """A worker was at a call for longer than it was given, and has been ended.

    Attributes:
        place: Where in Python it stood, or that it did not answer.
    """

    def __init__(self, timeout_seconds: float, place: str) -> None:
        """Describe the call that did not end."""
        self._arguments = (timeout_seconds, place)
        self.place = place or "an unknown place (its process did not answer)"
        super().__init__(f"a call in a worker took longer than {timeout_seconds:g} s; it stood in {self.place}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let Ray send it: by default an exception is made again of its message alone."""
        return type(self), self._arguments


class SearchInterrupted(KeyboardInterrupt):
    """A search was told to stop by SIGINT or SIGTERM; what was found so far is kept, and it can be resumed."""

    def __init__(self, study: str, command: str) -> None:
        """Remember the study's name, and the command that goes on with it."""
        super().__init__(f"everything is kept; go on with: {command}")
        self.study = study
