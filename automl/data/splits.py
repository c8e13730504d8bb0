"""Which rows are for training, for validation, and sealed for the test: stratified and seeded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from automl.data.targets import Target
from automl.dataset_spec import Task
from automl.errors import DataError

Rows: TypeAlias = npt.NDArray[np.intp]

HELD_FRACTION = 0.2
"""Of all rows for the test, and of the rest for validation."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitRows:
    """Indices of the source's training rows.

    Attributes:
        train: Rows that models are trained on, shuffled.
        validation: Rows that the search scores models on.
        test: Sealed rows; None where the source gives a test split of its own.
    """

    train: Rows
    validation: Rows
    test: Rows | None


def split_rows(target: Target, *, seed: int) -> SplitRows:
    """Split the rows of a target: stratified by class, or by combination of labels; at random for regression.

    Args:
        target: The target; where it has a test split, that stays the test split.
        seed: Decides the split, at least 0 and below 2**32.

    Raises:
        DataError: There are too few rows of too many classes.
    """
    every: Rows = np.arange(len(target.y_train))
    if target.y_test is not None:
        train, validation = _hold_out(every, target, seed=seed)
        return SplitRows(train=train, validation=validation, test=None)
    rest, test = _hold_out(every, target, seed=seed)
    train, validation = _hold_out(rest, target, seed=seed)
    return SplitRows(train=train, validation=validation, test=test)


def _hold_out(pool: Rows, target: Target, *, seed: int) -> tuple[Rows, Rows]:
    """Split `pool` in what is kept and what is held out."""
    from sklearn.model_selection import train_test_split

    held_rows = math.ceil(HELD_FRACTION * len(pool))
    if target.task is Task.REGRESSION:
        kept, held = train_test_split(pool, test_size=held_rows, random_state=seed)
        return kept, held
    strata, counts = _strata(target, pool)
    alone = counts[strata] == 1  # nothing to divide: kept
    classes = int((counts > 1).sum())
    if not classes:
        raise DataError(
            f"the target {target.name!r} has {len(counts)} classes in {len(target.y_train)} rows; expected "
            "three rows or more of a class, for training, validation and test: drop rare classes"
        )
    spread = pool[~alone]
    held_rows = min(max(held_rows, classes), len(spread) - classes)  # room for each class on both sides
    kept, held = train_test_split(spread, test_size=held_rows, random_state=seed, stratify=strata[~alone])
    return np.concatenate([kept, pool[alone]]), held


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
