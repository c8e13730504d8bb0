"""What a process that died said last, and where one was that hangs."""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

from automl.executors.sent_code import file_named

_LENGTH = 200
_LINES = 6
_TAIL_BYTES = 2**16
_FATAL = "Fatal Python error"
_CULPRIT = "Current thread"
_THREAD = re.compile(r"^(?=(?:Current thread|Thread) 0x)", re.MULTILINE)
_IDENTITY = re.compile(r" 0x\w+")
_THREADS = 3  # the one that was asked, and those next to it: where a backend or a user's `fit` calls the user's code
_WATCH = " in _end_with_driver"  # the worker's own thread
_CALL = re.compile(r'^ *File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_FOLDERS = {Path(__file__).parents[1], *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))}
_NOT_THE_USERS = ("<frozen ", *(f"{folder}/" for folder in _FOLDERS))


def last_words(log: bytes) -> str:
    r"""Return the last line of what a process has printed, `none` where there is none.

    Example:
        >>> last_words(b"starting\nno such device\n\n")
        'no such device'
    """
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:_LENGTH] if lines else "none"


def crash_words(stacks: bytes) -> list[str]:
    r"""Return what a process died of and the innermost calls of the thread that did it, as faulthandler wrote it down.

    Example:
        >>> crash_words(b"Fatal Python error: Aborted\n\nThread 0x2:\n\nCurrent thread 0x1:\n  File x, line 2 in f\n")
        ['Fatal Python error: Aborted', 'File x, line 2 in f']
        >>> crash_words(b"")
        []
    """
    lines = _lines(stacks)
    fatal = max((at for at, line in enumerate(lines) if line.startswith(_FATAL)), default=None)
    if fatal is None:
        return []
    culprit = next((at for at, line in enumerate(lines) if at > fatal and line.startswith(_CULPRIT)), fatal)
    return [lines[fatal], *lines[culprit + 1 : culprit + _LINES]]


def hang_words(stacks: bytes) -> list[str]:
    r"""Return the innermost calls of the threads of a process that hangs, as faulthandler wrote them down.

    Example:
        >>> hang_words(b"Current thread 0x1 (most recent call first):\n  File x.py, line 2 in f\n")
        ['Current thread (most recent call first):', 'File x.py, line 2 in f']
    """
    busy = [_IDENTITY.sub("", thread, count=1) for thread in _busy_threads(stacks)]
    return [line for thread in busy[-_THREADS:] for line in _lines(thread.encode())[:_LINES]]


def hang_place(stacks: bytes) -> str:
    r"""Return in which call the main thread hangs, and where the user's own code has come to it; empty where none is.

    Example:
        >>> hang_place(b'Thread 0x1:\n  File "x.py", line 2 in f\n  File "x.py", line 7 in g\n')
        'x.py, line 2, in f'
        >>> hang_place(b'Thread 0x1:\n  File "<frozen io>", line 2 in read\n  File "x.py", line 7 in g\n')
        '<frozen io>, line 2, in read, called from x.py, line 7, in g'
    """
    calls = _CALL.findall(next(reversed(_busy_threads(stacks)), ""))
    own = [call for call in calls if not call[0].startswith(_NOT_THE_USERS)]
    shown = dict.fromkeys([*calls[:1], *own[:1]])
    return ", called from ".join(f"{file_named(file)}, line {line}, in {name}" for file, line, name in shown)


def _busy_threads(stacks: bytes) -> list[str]:
    """Return what faulthandler wrote of each thread; the last is the main one, and the worker's own is left out."""
    threads = _THREAD.split(stacks.decode("utf-8", "replace"))[1:]
    return [thread for thread in threads if _WATCH not in thread]


def final_lines(log: bytes) -> list[str]:
    r"""Return the last few lines of a log.

    Example:
        >>> final_lines(b"\n".join(b"line %d" % number for number in range(9)))[0]
        'line 3'
    """
    return _lines(log)[-_LINES:]


def printed_since(path: Path, start: int) -> bytes:
    """Return what a log has got since it had so many bytes, the end of it where that is much."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, 2)
            log.seek(max(start, end - _TAIL_BYTES))
            return log.read(_TAIL_BYTES)
    except OSError:
        return b""


def _lines(text: bytes) -> list[str]:
    return [line.strip()[:_LENGTH] for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
