"""What a process that died said last."""

from __future__ import annotations

_LENGTH = 200


def last_words(log: bytes) -> str:
    r"""Return the last line of what a process has printed, `none` where there is none.

    Example:
        >>> last_words(b"starting\nno such device\n\n")
        'no such device'
    """
    lines = log.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].strip()[:_LENGTH] if lines else "none"
