"""How numbers become words."""

from __future__ import annotations

import math

import pytest

from dashboards import wording


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),  # noqa: RUF001
        (math.nan, "–"),  # noqa: RUF001
        (math.inf, "–"),  # noqa: RUF001
        (0.0, "0.0000"),
        (0.97222, "0.9722"),
        (3.2e-5, "3.2e-05"),
        (-0.5, "-0.5000"),
        (53.2091, "53.209"),
        (532.091, "532.09"),
        (5_320.91, "5,320.9"),
        (1_234_567.8, "1,234,568"),
    ],
)
def test_score(value: float | None, words: str) -> None:
    assert wording.score(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.004, "+0.0040"), (-0.004, "-0.0040"), (0.00001, "0.0000"), (-0.00001, "0.0000")]
)
def test_signed_score(value: float, words: str) -> None:
    assert wording.signed_score(value, like=0.9) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),  # noqa: RUF001
        (0.0, "0.00 s"),
        (9.999, "10.00 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3_599.6, "1 h 00 min"),
        (7_500.0, "2 h 05 min"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "–"), (True, "yes"), (0.1, "0.1"), ((1, None), "1, –"), ([], "–"), ("tpe", "tpe")],  # noqa: RUF001
)
def test_plain(value: object, words: str) -> None:
    assert wording.plain(value) == words


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [(1, "trial", "1 trial"), (0, "trial", "0 trials"), (2_000, "study", "2,000 studies")],
)
def test_plural(number: int, noun: str, words: str) -> None:
    assert wording.plural(number, noun) == words
