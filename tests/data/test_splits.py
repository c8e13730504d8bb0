from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from automl.data import RawDataset
from automl.data.splits import SplitRows, split_rows
from automl.data.targets import read_target
from automl.errors import DataError

Numbered = Callable[..., RawDataset]


def _split(raw: RawDataset, seed: int = 0) -> SplitRows:
    return split_rows(read_target(raw, task=None), seed=seed)


def _every_row_once(rows: SplitRows, count: int) -> bool:
    test = [] if rows.test is None else rows.test.tolist()
    return sorted([*rows.train.tolist(), *rows.validation.tolist(), *test]) == list(range(count))


TARGETS: dict[str, Any] = {
    "classes": np.arange(200) % 3,
    "imbalanced": np.repeat([0, 1], [190, 10]),
    "regression": np.linspace(0.0, 1.0, 200),
    "labels": np.column_stack([np.arange(200) % 2, np.arange(200) % 5 == 0, np.arange(200) > 160]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_row_is_in_one_split_of_the_right_size(numbered: Numbered, name: str) -> None:
    rows = _split(numbered(TARGETS[name]))
    assert rows.test is not None
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (128, 32, 40)
    assert _every_row_once(rows, 200)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seed_alone_decides(numbered: Numbered, name: str) -> None:
    raw = numbered(TARGETS[name])
    one, same, other = _split(raw, 5), _split(raw, 5), _split(raw, 6)
    assert one.train.tolist() == same.train.tolist()
    assert set(one.train) != set(other.train)


def test_classes_are_spread_evenly(numbered: Numbered) -> None:
    y = np.repeat([0, 1, 2], [700, 250, 50])
    rows = _split(numbered(y))
    assert rows.test is not None
    assert Counter(y[rows.test].tolist()) == {0: 140, 1: 50, 2: 10}
    assert Counter(y[rows.validation].tolist()) == {0: 112, 1: 40, 2: 8}


def test_combinations_of_labels_are_spread_evenly(numbered: Numbered) -> None:
    y = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])[np.repeat([0, 1, 2, 3], [500, 300, 100, 100])]
    rows = _split(numbered(y))
    assert rows.test is not None
    assert Counter(map(tuple, y[rows.test].tolist())) == {(0, 0): 100, (0, 1): 60, (1, 0): 20, (1, 1): 20}


def test_many_rare_combinations_of_labels_can_be_split(numbered: Numbered) -> None:
    y = (np.random.default_rng(0).random((60, 8)) < 0.5).astype(int)
    assert _every_row_once(_split(numbered(y)), 60)


@pytest.mark.parametrize("rows_of_class", [[8, 2], [6, 2, 2], [5, 3, 2], [4, 4, 4]])
def test_few_rows_of_a_class_are_always_trained_on(numbered: Numbered, rows_of_class: list[int]) -> None:
    y = np.array(list("abc"))[np.repeat(range(len(rows_of_class)), rows_of_class)]
    for seed in range(20):
        rows = _split(numbered(y), seed)
        assert _every_row_once(rows, len(y))
        assert set(y[rows.train]) == set(y)
        assert len(rows.validation)


def test_too_many_classes_for_the_rows_are_refused(numbered: Numbered) -> None:
    with pytest.raises(DataError, match="has 5 classes in 10 rows; expected three rows or more"):
        _split(numbered(np.array(list("abcdeabcde"))))


def test_a_given_test_split_takes_no_training_rows(numbered: Numbered) -> None:
    rows = _split(numbered(np.arange(100) % 2, test_rows=30))
    assert rows.test is None
    assert (len(rows.train), len(rows.validation)) == (80, 20)
    assert _every_row_once(rows, 100)
