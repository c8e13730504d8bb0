"""The rows that a sweep goes over: all of them in tensors, or chunk by chunk from a memory mapping.

Both give a compiled sweep the very same batches, so that what a model learns does not depend on which it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

import numpy as np

from automl.data import Split, StoredArray
from automl.memory import read_memory
from automl.training.metrics import Array
from automl.training.sweeps import CompiledSweep, Sums, structured, tensor

Stored: TypeAlias = Array | StoredArray

RESIDENT_SHARE = 0.1
"""Share of the memory that is free which the rows of one split may take as tensors; larger ones are streamed."""

_CHUNK_BYTES = 128 * 2**20


class Rows(Protocol):
    """Rows that a sweep goes over."""

    @property
    def count(self) -> int:
        """Number of rows."""

    @property
    def most_rows(self) -> int:
        """Rows that may be in memory at a time."""

    def trace(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> None:
        """Trace a sweep over the chosen rows now, so that its time is not counted as training."""

    def run(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep over the chosen rows in their order; return the summed loss and the predictions."""


def open_rows(split: Split, *, resident_bytes: float | None = None) -> Rows:
    """Return a split's rows as tensors where they fit, else streamed.

    Args:
        split: Its arrays; rows that do not belong to it are there too, since folds share their arrays.
        resident_bytes: What fits; by default `RESIDENT_SHARE` of the memory that is free.
    """
    arrays = [*split.inputs, *split.outputs, *([] if split.weights is None else [split.weights])]
    most = RESIDENT_SHARE * read_memory().available_bytes if resident_bytes is None else resident_bytes
    kind = ResidentRows if sum(array.nbytes for array in arrays) <= most else StreamedRows
    return kind(split.inputs, split.outputs, split.weights)


class ResidentRows:
    """Rows in tensors."""

    def __init__(self, inputs: Sequence[Stored], outputs: Sequence[Stored], weights: Stored | None = None) -> None:
        """Copy the rows into tensors.

        Args:
            inputs: One array an input, shape (rows, *input_shape).
            outputs: One array an output, shape (rows, ...), as the loss takes them.
            weights: Weights of the rows in the loss, shape (rows,), or None.
        """
        self.count = self.most_rows = len(inputs[0])
        arrays = [np.asarray(one) for one in _listed(inputs, outputs, weights)]
        self._data = structured([tensor(one) for one in arrays], len(inputs), len(outputs))

    def trace(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> None:
        """Trace a sweep for these rows."""
        sweep.trace(self._data, len(chosen), batch_size)

    def run(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep in one call."""
        return sweep.run(self._data, chosen, batch_size)


class StreamedRows:
    """Rows in memory mappings, of which a chunk at a time is in memory, and the next one on its way."""

    def __init__(
        self,
        inputs: Sequence[Stored],
        outputs: Sequence[Stored],
        weights: Stored | None = None,
        *,
        chunk_bytes: int = _CHUNK_BYTES,
    ) -> None:
        """Read nothing yet. Arguments as for `ResidentRows`; `chunk_bytes` bounds what is read at a time."""
        self.count = len(inputs[0])
        self._arrays = _listed(inputs, outputs, weights)
        self._sizes = len(inputs), len(outputs)
        row_bytes = sum(array.nbytes // max(1, self.count) for array in self._arrays)
        self.most_rows = max(1, chunk_bytes // max(1, row_bytes))

    def trace(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> None:
        """Trace a sweep for whole chunks, and for the last one, which is smaller."""
        step = self._chunk_rows(batch_size)
        for rows in {min(step, len(chosen)), len(chosen) % step} - {0}:
            # Shapes and types of a chunk without its memory.
            parts = [np.broadcast_to(np.zeros((), array.dtype), (rows, *array.shape[1:])) for array in self._arrays]
            sweep.trace(structured(parts, *self._sizes), rows, batch_size)

    def run(self, sweep: CompiledSweep, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep chunk by chunk; chunks hold whole batches, so that batches are those of resident rows."""
        total, predictions = 0.0, []
        for chunk in _prefetched(self._chunks(chosen, self._chunk_rows(batch_size))):
            rows = np.arange(len(chunk[0]), dtype="int32")
            loss, parts = sweep.run(structured(chunk, *self._sizes), rows, batch_size)
            total += loss
            predictions.append(parts)
        return total, tuple(np.concatenate(parts) for parts in zip(*predictions, strict=True))

    def _chunk_rows(self, batch_size: int) -> int:
        return max(1, self.most_rows // batch_size) * batch_size

    def _chunks(self, chosen: Array, step: int) -> Iterator[tuple[Array, ...]]:
        for start in range(0, len(chosen), step):
            rows = chosen[start : start + step]
            order = np.argsort(rows, kind="stable")  # read in the order in which rows lie on the disk
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            yield tuple(np.asarray(array[rows[order]])[back] for array in self._arrays)


def _prefetched(chunks: Iterator[tuple[Array, ...]]) -> Iterator[tuple[Array, ...]]:
    """Yield chunks, the next of which a thread reads meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = reader.submit(next, chunks, None)
            yield chunk


def _listed(inputs: Sequence[Stored], outputs: Sequence[Stored], weights: Stored | None) -> list[Stored]:
    return [*inputs, *outputs, *([] if weights is None else [weights])]
