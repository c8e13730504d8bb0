"""Whether features can be learned from at all: no infinite or far too large values, and none missing in arrays."""

from __future__ import annotations

import numpy as np

from automl.data.encoding import LARGEST_VALUE
from automl.data.files import listing
from automl.data.raw import ARRAY_FEATURE, Array, Batch, RawDataset
from automl.errors import DataError


class FeatureChecker:
    """Sees the raw rows batch by batch, and refuses unusable values at the end, when it can say how many there are."""

    def __init__(self, raw: RawDataset, part: str) -> None:
        """Check rows of a dataset; `part` is put behind "the features" in messages."""
        self._name = raw.name
        self._part = part
        self._is_array = raw.is_array
        self._columns = [column.name for column in raw.columns]
        self._bad_columns: set[str] = set()
        self._bad_rows = 0
        self._rows = 0

    def see(self, batch: Batch) -> None:
        """Look at a batch."""
        self._rows += len(next(iter(batch.values())))
        if self._is_array:
            self._see_array(batch[ARRAY_FEATURE])
        else:
            self._see_columns(batch)

    @property
    def is_fine(self) -> bool:
        """False once there was an unusable value."""
        return not self._bad_rows

    def finish(self) -> None:
        """Refuse what was seen.

        Raises:
            DataError: There were unusable values.
        """
        if self.is_fine:
            return
        bad = [name for name in self._columns if name in self._bad_columns]
        columns = f", columns {listing(bad, most=3)}" if bad else ""
        missing = "missing values, NaN, " if self._is_array else ""
        raise DataError(
            f"{self._name}: the features{self._part} hold {missing}infinity or numbers above {LARGEST_VALUE:g} in "
            f"{self._bad_rows} of {self._rows} rows{columns}; expected finite numbers: fill or drop them first"
        )

    def _see_array(self, x: Array) -> None:
        if x.dtype.kind not in "fiu" or (x.dtype.kind != "f" and x.dtype.itemsize < 8):
            return
        bad = ~(np.abs(x.reshape(len(x), -1).astype(np.float64)) <= LARGEST_VALUE)  # not (>): NaN is bad too
        self._bad_rows += int(bad.any(axis=1).sum())
        if self._columns:
            self._bad_columns |= {self._columns[index] for index in np.flatnonzero(bad.any(axis=0))}

    def _see_columns(self, batch: Batch) -> None:
        bad_rows = np.zeros(len(next(iter(batch.values()))), dtype=bool)
        for name, values in batch.items():
            if values.dtype.kind == "f":
                bad = np.abs(values) > LARGEST_VALUE  # NaN is a missing value
                bad_rows |= bad
                if bad.any():
                    self._bad_columns.add(name)
        self._bad_rows += int(bad_rows.sum())
