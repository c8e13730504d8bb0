"""`JoinedArray`: the rows of two memory mappings that are read as one, without a copy on the disk."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from automl.data.raw import Array

MappedArray: TypeAlias = np.memmap[Any, np.dtype[Any]]


class JoinedArray:
    """The rows of one array, then those of another of the same type and shape of a row.

    Example:
        ```python
        joined = JoinedArray(train, validation)
        joined[np.array([0, len(train)])]  # the first row of each
        np.asarray(joined)  # all of them, in memory
        ```
    """

    def __init__(self, first: MappedArray, second: MappedArray) -> None:
        """Read nothing yet."""
        self._first = first
        self._second = second
        self.dtype = first.dtype
        self.shape = (len(first) + len(second), *first.shape[1:])
        self.nbytes = first.nbytes + second.nbytes
        self.filename = f"{first.filename}+{second.filename}"

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, rows: Array) -> Array:
        rows = np.asarray(rows)
        taken: Array = np.empty((len(rows), *self.shape[1:]), self.dtype)
        is_first = rows < len(self._first)
        taken[is_first] = self._first[rows[is_first]]
        taken[~is_first] = self._second[rows[~is_first] - len(self._first)]
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        joined = np.concatenate([self._first, self._second])
        return joined if dtype is None else joined.astype(dtype, copy=False)
