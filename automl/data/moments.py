"""Mean, variance and range of values that are seen batch by batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from automl.data.raw import Array

SMALLEST_VARIANCE = 1e-14  # Keras divides by no less than its epsilon, 1e-7

Floats = tuple[float, ...]


class Moments:
    """Moments of several columns, missing values (NaN) left out.

    Batches are merged pairwise, which loses no precision as plain sums of squares would (Chan, Golub and LeVeque, 1983,
    equation 1.5).
    """

    def __init__(self, columns: int) -> None:
        """Start without any value."""
        self._count = np.zeros(columns)
        self._mean = np.zeros(columns)
        self._squares = np.zeros(columns)  # summed squared distances from the mean
        self._low = np.full(columns, np.inf)
        self._high = np.full(columns, -np.inf)

    def see(self, values: Array) -> None:
        """Take finite or missing values, (n, columns), into account, as float32: what models get."""
        values = values.astype(np.float32).astype(np.float64)
        present = ~np.isnan(values)
        count = present.sum(axis=0)
        filled = np.where(present, values, 0.0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(present, values - mean, 0.0) ** 2).sum(axis=0)
        self._merge(count, mean, squares)
        self._low = np.minimum(self._low, np.where(present, values, np.inf).min(axis=0, initial=np.inf))
        self._high = np.maximum(self._high, np.where(present, values, -np.inf).max(axis=0, initial=-np.inf))

    def see_histogram(self, counts: Array) -> None:
        """Take whole numbers from 0 of a single column into account, given how often each occurs."""
        numbers = np.arange(len(counts), dtype=np.float64)
        total = counts.sum()
        mean = (counts * numbers).sum() / max(total, 1)
        self._merge(np.array([total]), np.array([mean]), np.array([(counts * (numbers - mean) ** 2).sum()]))
        seen = np.flatnonzero(counts)
        if len(seen):
            self._low = np.minimum(self._low, seen[0])
            self._high = np.maximum(self._high, seen[-1])

    def _merge(self, count: Array, mean: Array, squares: Array) -> None:
        total = self._count + count
        share = count / np.maximum(total, 1)
        distance = mean - self._mean
        self._mean = self._mean + distance * share
        self._squares = self._squares + squares + distance**2 * self._count * share
        self._count = total

    @property
    def mean(self) -> Floats:
        """Mean of each column; 0 where nothing was seen."""
        return as_floats(self._mean)

    @property
    def variance(self) -> Floats:
        """Variance of each column; 1 where all values are equal, or there is none."""
        variance = self._squares / np.maximum(self._count, 1)
        return as_floats(np.where(self._low >= self._high, 1.0, np.maximum(variance, SMALLEST_VARIANCE)))

    @property
    def deviation(self) -> Floats:
        """Standard deviation of each column; 1 where all values are equal, or there is none."""
        return as_floats(np.sqrt(np.array(self.variance)))

    @property
    def low(self) -> Floats:
        """Smallest value of each column; 0 where there is none."""
        return as_floats(np.where(np.isfinite(self._low), self._low, 0.0))

    @property
    def high(self) -> Floats:
        """Largest value of each column; 0 where there is none."""
        return as_floats(np.where(np.isfinite(self._high), self._high, 0.0))


def as_floats(values: npt.NDArray[np.float64]) -> Floats:
    """Round to float32, so that JSON, numpy and Keras hold the very same numbers."""
    return tuple(float(value) for value in values.astype(np.float32))
