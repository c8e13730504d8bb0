from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from automl.data import RawDataset
from automl.data.splits import SplitRows, fold_rows, split_rows
from automl.data.targets import read_targets
from automl.errors import DataError

Numbered = Callable[..., RawDataset]


def _folds(raw: RawDataset, count: int) -> tuple[SplitRows, list[tuple[np.ndarray, np.ndarray]]]:
    rows = split_rows(read_targets(raw, task=None), raw, seed=0, folds=count)
    assert rows.folds is not None
    return rows, [fold_rows(rows.folds, fold) for fold in range(count)]


def _split(raw: RawDataset, seed: int = 0) -> SplitRows:
    return split_rows(read_targets(raw, task=None), raw, seed=seed)


def _every_row_once(rows: SplitRows, count: int) -> bool:
    return sorted(np.concatenate(list(rows.by_name().values())).tolist()) == list(range(count))


TARGETS: dict[str, Any] = {
    "classes": np.arange(200) % 3,
    "imbalanced": np.repeat([0, 1], [190, 10]),
    "regression": np.linspace(0.0, 1.0, 200),
    "labels": np.column_stack([np.arange(200) % 2, np.arange(200) % 5 == 0, np.arange(200) > 160]),
}


@pytest.mark.parametrize("name", TARGETS)
def test_every_row_is_in_one_split_of_the_right_size(numbered: Numbered, name: str) -> None:
    rows = _split(numbered(TARGETS[name]))
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
    assert Counter(y[rows.test].tolist()) == {0: 140, 1: 50, 2: 10}
    assert Counter(y[rows.validation].tolist()) == {0: 112, 1: 40, 2: 8}


def test_combinations_of_labels_are_spread_evenly(numbered: Numbered) -> None:
    y = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])[np.repeat([0, 1, 2, 3], [500, 300, 100, 100])]
    rows = _split(numbered(y))
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
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (80, 20, 0)
    assert _every_row_once(rows, 100)


@pytest.mark.parametrize(("test_rows", "sizes"), [(30, (100, 0, 0)), (0, (80, 0, 20))])
def test_given_validation_takes_no_training_rows(numbered: Numbered, test_rows: int, sizes: tuple[int, ...]) -> None:
    rows = _split(numbered(np.arange(100) % 2, validation_rows=30, test_rows=test_rows))
    assert (len(rows.train), len(rows.validation), len(rows.test)) == sizes
    assert _every_row_once(rows, 100)
    if not test_rows:  # the same rows are sealed as without given validation
        assert rows.test.tolist() == _split(numbered(np.arange(100) % 2)).test.tolist()


def test_beside_given_validation_groups_and_times_decide_the_test_split(numbered: Numbered) -> None:
    raw, groups, times = numbered(np.arange(200) % 2, validation_rows=20), np.arange(200) // 10, np.arange(200.0)
    by_group = _split(replace(raw, groups=groups))
    assert not set(groups[by_group.train]) & set(groups[by_group.test])
    assert _split(replace(raw, times=times)).test.tolist() == list(range(160, 200))
    assert len(by_group.validation) == 0


def test_folds_beside_given_validation_are_refused(numbered: Numbered) -> None:
    with pytest.raises(DataError, match="--folds validates on training rows in turn, but validation rows are given"):
        _folds(numbered(np.arange(100) % 2, validation_rows=30), 4)


@pytest.mark.parametrize("name", TARGETS)
def test_every_row_of_the_pool_validates_one_fold(numbered: Numbered, name: str) -> None:
    rows, folds = _folds(numbered(TARGETS[name]), 4)
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (160, 0, 40)
    assert sorted(row for _, held in folds for row in held) == list(range(160))
    for train, held in folds:
        assert sorted([*train, *held]) == list(range(160))
        assert 38 <= len(held) <= 42


def test_folds_are_stratified(numbered: Numbered) -> None:
    y = np.repeat([0, 1], [160, 40])
    rows, folds = _folds(numbered(y), 4)
    assert [Counter(y[rows.train[held]].tolist()) for _, held in folds] == [{0: 32, 1: 8}] * 4


def test_classes_rarer_than_folds_are_split_all_the_same(numbered: Numbered) -> None:
    y = np.repeat([0, 1, 2], [90, 7, 3])
    _, folds = _folds(numbered(y), 5)
    assert sum(len(held) for _, held in folds) == 80


def test_groups_stay_together(numbered: Numbered) -> None:
    groups = np.repeat([f"patient {number}" for number in range(20)], 10)
    raw = replace(numbered(np.arange(200) % 2), groups=groups)
    rows = _split(raw)
    parts = [set(groups[part]) for part in (rows.train, rows.validation, rows.test)]
    assert all(parts)
    assert sum(map(len, parts)) == 20
    pool, folds = _folds(raw, 4)
    held = [set(groups[pool.train[rows]]) for _, rows in folds]
    assert sum(map(len, held)) == len(set(groups[pool.train]))


@pytest.mark.parametrize(("count", "says"), [(2, "rows have 2 groups"), (1, "rows have 1 groups")])
def test_too_few_groups_are_refused(numbered: Numbered, count: int, says: str) -> None:
    with pytest.raises(DataError, match=says):
        _split(replace(numbered(np.arange(100) % 2), groups=np.arange(100) % count))


def test_three_groups_are_one_for_each_split(numbered: Numbered) -> None:
    groups = np.arange(90) % 3
    rows = _split(replace(numbered(np.arange(90) // 45), groups=groups))
    parts = [set(groups[part]) for part in (rows.train, rows.validation, rows.test)]
    assert sorted(map(len, parts)) == [1, 1, 1]
    given = _split(replace(numbered(np.arange(90) // 45, test_rows=9), groups=np.arange(90) % 2))
    assert (len(given.train), len(given.validation)) == (45, 45)


def test_later_rows_are_held_out(numbered: Numbered) -> None:
    times = np.random.default_rng(0).permutation(200).astype(float)
    raw = replace(numbered(np.arange(200) % 2), times=times)
    rows = _split(raw)
    assert (len(rows.train), len(rows.validation), len(rows.test)) == (128, 32, 40)
    assert times[rows.train].max() < times[rows.validation].min()
    assert times[rows.validation].max() < times[rows.test].min()
    pool, folds = _folds(raw, 3)
    assert [len(held) for _, held in folds] == [40, 40, 40]
    for train, held in folds:
        assert len(train) >= 40
        assert times[pool.train[train]].max() < times[pool.train[held]].min()


def test_rows_of_one_moment_stay_together(numbered: Numbered) -> None:
    times = np.arange(200) // 15 * 1.0
    rows = _split(replace(numbered(np.arange(200) % 2), times=times))
    parts = [set(times[part]) for part in (rows.train, rows.validation, rows.test)]
    assert sum(map(len, parts)) == len(set(times))


@pytest.mark.parametrize(("rows_a_moment", "held"), [((100, 80, 20), (100, 80, 20)), ((20, 160, 20), (20, 160, 20))])
def test_the_border_in_time_is_the_one_nearest_to_a_fifth(
    numbered: Numbered, rows_a_moment: tuple[int, ...], held: tuple[int, ...]
) -> None:
    rows = _split(replace(numbered(np.arange(200) % 2), times=np.repeat([1.0, 2.0, 3.0], rows_a_moment)))
    assert (len(rows.train), len(rows.validation), len(rows.test)) == held


def test_times_that_cannot_be_split_are_refused(numbered: Numbered) -> None:
    with pytest.raises(DataError, match="rows have 1 different times"):
        _split(replace(numbered(np.arange(100) % 2), times=np.full(100, 3.0)))


def test_groups_and_times_together_are_refused(numbered: Numbered) -> None:
    raw = replace(numbered(np.arange(100) % 2), times=np.arange(100.0), groups=np.arange(100) % 9)
    with pytest.raises(DataError, match="by group or by time, received both"):
        _split(raw)


def test_too_many_folds_are_refused(numbered: Numbered) -> None:
    with pytest.raises(DataError, match="expected at least 20 groups for so many folds, received 5"):
        _folds(replace(numbered(np.arange(100) % 2, test_rows=9), groups=np.arange(100) % 5), 20)
    with pytest.raises(DataError, match="expected at least 20 rows for so many folds, received 12"):
        _folds(numbered(np.arange(12) % 2, test_rows=9), 20)
