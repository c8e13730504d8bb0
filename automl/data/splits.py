"""Which rows are for training, for validation, and sealed for the test: seeded, and stratified, by group or by time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from automl.data.raw import Array, RawDataset
from automl.data.targets import Target
from automl.dataset_spec import Task
from automl.errors import DataError

Rows: TypeAlias = npt.NDArray[np.intp]

HELD_FRACTION = 0.2
"""Of all rows for the test, and of the rest for validation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitRows:
    """Indices of the source's training rows, ascending.

    Attributes:
        train: Rows that models are trained on; with folds every row that is not sealed.
        validation: Rows that the search scores models on; none with folds, or where they are given.
        test: Sealed rows; none where a test split is given.
        folds: The fold that each of the `train` rows validates, from 0; None without folds. In an order of time, the
            rows before the first fold validate none: -1.
    """

    train: Rows
    validation: Rows
    test: Rows
    folds: Rows | None = None

    def by_name(self) -> dict[str, Rows]:
        """Return the rows of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


def split_rows(targets: Sequence[Target], raw: RawDataset, *, seed: int, folds: int = 0) -> SplitRows:
    """Split rows: by group or by time where the dataset has them, stratified by the first classes, else at random.

    A split that is given takes none of them.

    Args:
        targets: The targets.
        raw: The dataset, for its groups and times, and for which splits it gives.
        seed: Decides the split, at least 0 and below 2**32.
        folds: Number of folds of a cross-validation; 0 for one split.

    Raises:
        DataError: There are too few rows of too many classes, too few groups, both groups and times, or folds beside
            validation rows.
    """
    if folds and "validation" in raw.given:
        raise DataError(
            f"{raw.name}: --folds validates on training rows in turn, but validation rows are given; leave out one of "
            "them"
        )
    splitter = _splitter(targets, raw, seed)
    pool: Rows = np.arange(raw.train.count)
    none = pool[:0]
    pool, test = (pool, none) if "test" in raw.given else splitter.hold_out(pool)
    if folds:
        pool = np.sort(pool)
        return SplitRows(train=pool, validation=none, test=np.sort(test), folds=splitter.folds(pool, folds))
    train, validation = (pool, none) if "validation" in raw.given else splitter.hold_out(pool)
    return SplitRows(train=np.sort(train), validation=np.sort(validation), test=np.sort(test))


def fold_rows(folds: Rows, fold: int) -> tuple[Rows, Rows]:
    """Return the rows of the pool that one fold's model trains on, and those that validate it.

    Args:
        folds: As in `SplitRows`; in an order of time a model trains on earlier rows only.
        fold: Number of the fold, from 0.
    """
    in_time = (folds < 0).any()
    train = folds < fold if in_time else folds != fold
    return np.flatnonzero(train), np.flatnonzero(folds == fold)


def _splitter(targets: Sequence[Target], raw: RawDataset, seed: int) -> _Stratified | _ByGroup | _ByTime:
    if raw.groups is not None and raw.times is not None:
        raise DataError(f"{raw.name}: rows are split by group or by time, received both; leave out one of them")
    if raw.times is not None:
        return _ByTime(raw.times)
    if raw.groups is not None:
        return _ByGroup(raw.name, raw.groups, seed)
    classes = next((target for target in targets if target.task is not Task.REGRESSION), None)
    return _Stratified(classes, seed)


class _Stratified:
    """Rows at random, every class in every split as far as it goes."""

    def __init__(self, target: Target | None, seed: int) -> None:
        self._target = target
        self._seed = seed

    def hold_out(self, pool: Rows) -> tuple[Rows, Rows]:
        """Split `pool` in what is kept and what is held out."""
        from sklearn.model_selection import train_test_split

        held_rows = math.ceil(HELD_FRACTION * len(pool))
        if self._target is None:
            kept, held = train_test_split(pool, test_size=held_rows, random_state=self._seed)
            return kept, held
        strata, counts = _strata(self._target, pool)
        alone = counts[strata] == 1  # nothing to divide: kept
        classes = int((counts > 1).sum())
        if not classes:
            raise DataError(
                f"the target {self._target.name!r} has {len(counts)} classes in {len(self._target.y_train)} rows; "
                "expected three rows or more of a class, for training, validation and test: drop rare classes"
            )
        spread = pool[~alone]
        held_rows = min(max(held_rows, classes), len(spread) - classes)  # room for each class on both sides
        kept, held = train_test_split(spread, test_size=held_rows, random_state=self._seed, stratify=strata[~alone])
        return np.concatenate([kept, pool[alone]]), held

    def folds(self, pool: Rows, count: int) -> Rows:
        """Return the fold of each row of `pool`."""
        from sklearn.model_selection import KFold, StratifiedKFold

        _check_enough("rows", len(pool), count)
        if self._target is None:
            return _numbered(KFold(count, shuffle=True, random_state=self._seed).split(pool), len(pool))
        strata, counts = _strata(self._target, pool)
        # Rare classes together are one stratum: scikit-learn warns of a class that not every fold can have.
        strata = np.where(counts[strata] < count, -1, strata)
        if 0 < (strata == -1).sum() < count:
            strata[strata == -1] = np.bincount(strata[strata >= 0]).argmax()
        return _numbered(StratifiedKFold(count, shuffle=True, random_state=self._seed).split(pool, strata), len(pool))


class _ByGroup:
    """Rows of one group stay together."""

    def __init__(self, name: str, groups: Array, seed: int) -> None:
        self._name = name
        self._groups = np.unique(groups, return_inverse=True)[1]
        self._seed = seed

    def hold_out(self, pool: Rows) -> tuple[Rows, Rows]:
        """Split `pool` in what is kept and what is held out."""
        from sklearn.model_selection import GroupShuffleSplit

        groups = self._groups[pool]
        if len(np.unique(groups)) < 2:
            raise DataError(
                f"{self._name}: rows have {self._groups.max() + 1} groups; expected one or more each for training, "
                "validation and test: choose another --group"
            )
        splitter = GroupShuffleSplit(1, test_size=HELD_FRACTION, random_state=self._seed)
        kept, held = next(splitter.split(pool, groups=groups))
        return pool[kept], pool[held]

    def folds(self, pool: Rows, count: int) -> Rows:
        """Return the fold of each row of `pool`."""
        from sklearn.model_selection import GroupKFold

        groups = self._groups[pool]
        _check_enough("groups", len(np.unique(groups)), count)
        return _numbered(GroupKFold(count).split(pool, groups=groups), len(pool))


class _ByTime:
    """Later rows are held out; rows of one moment stay together."""

    def __init__(self, times: Array) -> None:
        self._times = times

    def hold_out(self, pool: Rows) -> tuple[Rows, Rows]:
        """Split `pool` in what is kept and what is held out."""
        times = self._times[pool]
        moments, counts = np.unique(times, return_counts=True)
        if len(moments) < 2:
            different = len(np.unique(self._times))
            raise DataError(
                f"rows have {different} different times; expected one or more each for training, validation and test: "
                "choose another --time-column"
            )
        held_from = counts[::-1].cumsum()[::-1][1:]  # rows from each moment on, but for the first
        border = moments[1:][np.abs(held_from - math.ceil(HELD_FRACTION * len(times))).argmin()]
        return pool[times < border], pool[times >= border]

    def folds(self, pool: Rows, count: int) -> Rows:
        """Return the fold of each row of `pool`: count + 1 blocks in time, of which the first validates none."""
        times = self._times[pool]
        _check_enough("moments", len(np.unique(times)), count + 1)
        borders = np.quantile(np.unique(times), np.arange(1, count + 1) / (count + 1))
        return np.asarray(np.searchsorted(borders, times, side="right") - 1)


def _check_enough(what: str, found: int, folds: int) -> None:
    if found < folds:
        raise DataError(f"expected at least {folds} {what} for so many folds, received {found}; use fewer --folds")


def _numbered(splits: Any, rows: int) -> Rows:
    folds = np.empty(rows, dtype=np.intp)
    for number, (_, held) in enumerate(splits):
        folds[held] = number
    return folds


def _strata(target: Target, pool: Rows) -> tuple[Rows, Rows]:
    """Return the stratum of each row of `pool`, and the rows in each stratum."""
    y = target.y_train[pool]
    if target.task is not Task.MULTILABEL:
        _, strata, counts = np.unique(y, return_inverse=True, return_counts=True)
        return strata, counts
    _, strata, counts = np.unique(y, axis=0, return_inverse=True, return_counts=True)
    rare = counts[strata] < 1 / HELD_FRACTION  # too few to divide: all rare combinations together are one stratum
    _, strata, counts = np.unique(np.where(rare, -1, strata), return_inverse=True, return_counts=True)
    return strata, counts
