"""What a process that died said last."""

from __future__ import annotations

from pathlib import Path

_LENGTH = 200
_LINES = 6
_TAIL_BYTES = 2**16
_FATAL = "Fatal Python error"
_CULPRIT = "Current thread"


def last_words(log: bytes) -> str:
    r"""Return the last line of what a process has printed, `none` where there is none.

    Example:
        >>> last_words(b"starting\nno such device\n\n")
        'no such device'
    """
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:_LENGTH] if lines else "none"


def dying_words(log: bytes) -> list[str]:
    r"""Return the few lines of what a process has printed that say best why it died; none where it printed nothing.

    They are the last ones, or the innermost calls where faulthandler wrote down where the process was.

    Example:
        >>> dying_words(b"\n".join(b"line %d" % number for number in range(9)))[0]
        'line 3'
        >>> dying_words(b"hello\nFatal Python error: Aborted\n\nCurrent thread 0x1:\n  File x.py, line 2 in f\n")
        ['Fatal Python error: Aborted', 'File x.py, line 2 in f']
    """
    lines = [line.strip()[:_LENGTH] for line in log.decode("utf-8", "replace").splitlines() if line.strip()]
    fatal = max((at for at, line in enumerate(lines) if line.startswith(_FATAL)), default=None)
    if fatal is None:
        return lines[-_LINES:]
    culprit = next((at for at, line in enumerate(lines) if at > fatal and line.startswith(_CULPRIT)), fatal)
    return [lines[fatal], *lines[culprit + 1 : culprit + _LINES]]


def printed_since(path: Path, start: int) -> bytes:
    """Return what a log has got since it had so many bytes, the end of it where that is much."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, 2)
            log.seek(max(start, end - _TAIL_BYTES))
            return log.read(_TAIL_BYTES)
    except OSError:
        return b""
