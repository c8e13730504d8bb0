"""Durations as people write them."""

from __future__ import annotations

import warnings

import pandas as pd

from automl.errors import RequestError


def parse_seconds(text: str | float, option: str = "time") -> float:
    """Return a duration in seconds: a number of seconds, or a text such as `"90s"`, `"10m"`, `"1h30m"`.

    Args:
        text: The duration.
        option: What an error calls it.

    Raises:
        RequestError: It is no positive duration.

    Example:
        >>> parse_seconds("1h30m")
        5400.0
    """
    try:
        seconds = float(text) if isinstance(text, int | float) else _from_text(text)
    except (ValueError, TypeError, OverflowError):
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise RequestError(f"--{option} takes a duration such as 90s, 10m or 1h30m, received {text!r}")
    return seconds


def _from_text(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, which would rather read days as D
            return float(pd.Timedelta(text).total_seconds())
