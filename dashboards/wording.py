"""How numbers become words in a report: scores, counts and durations. No HTML here."""

from __future__ import annotations

import math

NOTHING = "–"  # noqa: RUF001  (an en dash is what stands in an empty cell)


def score(value: float | None, like: float | None = None) -> str:
    """Return a score with as many decimals as its size deserves.

    Args:
        value: The score, or None where there is none.
        like: A score whose decimals are used instead, so that `53.21 ± 0.83` lines up.

    Example:
        >>> score(0.97222), score(53.2091), score(0.8312, like=53.2091)
        ('0.9722', '53.209', '0.831')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    magnitude = abs(value if like is None else like)
    if like is None and 0 < magnitude < 0.001:
        return f"{value:.3g}"
    # Never a minus sign before a difference that is shown as zero.
    return f"{round(value, _decimals(magnitude)) + 0.0:,.{_decimals(magnitude)}f}"


def signed_score(value: float | None, like: float | None = None) -> str:
    """Return a difference of scores with its sign, except where it is shown as zero."""
    text = score(value, like)
    shows_zero = not text.strip("0.,")
    return text if value is None or value <= 0 or shows_zero or text == NOTHING else f"+{text}"


def count(value: int | None) -> str:
    """Return a whole number with thousands separated; nothing for None.

    Example:
        >>> count(1203456)
        '1,203,456'
    """
    return NOTHING if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """Return seconds as a person would say them.

    Example:
        >>> duration(0.42), duration(200.0), duration(7500.0)
        ('0.42 s', '3 min 20 s', '2 h 05 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 3600:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def plain(value: object) -> str:
    """Return a setting as a person would write it."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(one) for one in value) or NOTHING
    return str(value)


def plural(number: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`, `3 studies`."""
    if number == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {many}"


def _decimals(magnitude: float) -> int:
    return sum(magnitude < limit for limit in (10, 100, 1_000, 10_000))
