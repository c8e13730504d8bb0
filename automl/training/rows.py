"""The rows that a sweep goes over: all of them in tensors, or chunk by chunk from a memory mapping.

Both give a compiled sweep the very same batches, so that what a model learns does not depend on which it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import psutil

from automl.data import Split
from automl.training.metrics import Array

RESIDENT_SHARE = 0.1
"""Share of the memory that is free which the rows of one split may take as tensors; larger ones are streamed."""

_CHUNK_BYTES = 128 * 2**20

Sums = tuple[float, tuple[Array, ...]]


class Rows(Protocol):
    """Rows that a sweep goes over."""

    @property
    def count(self) -> int:
        """Number of rows."""

    @property
    def most_rows(self) -> int:
        """Rows that may be in memory at a time."""

    def trace(self, sweep: Any, batch_size: int) -> None:
        """Trace a sweep now, so that its time is not counted as training."""

    def run(self, sweep: Any, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep over the chosen rows in their order; return the summed loss and the predictions."""


def open_rows(split: Split, *, resident_bytes: float | None = None) -> Rows:
    """Return a split's rows as tensors where they fit, else streamed.

    Args:
        split: Its arrays; rows that do not belong to it are there too, since folds share their arrays.
        resident_bytes: What fits; by default `RESIDENT_SHARE` of the memory that is free.
    """
    arrays = [*split.inputs, *split.outputs, *([] if split.weights is None else [split.weights])]
    most = RESIDENT_SHARE * psutil.virtual_memory().available if resident_bytes is None else resident_bytes
    kind = ResidentRows if sum(array.nbytes for array in arrays) <= most else StreamedRows
    return kind(split.inputs, split.outputs, split.weights)


class ResidentRows:
    """Rows in tensors."""

    def __init__(self, inputs: Sequence[Array], outputs: Sequence[Array], weights: Array | None = None) -> None:
        """Copy the rows into tensors.

        Args:
            inputs: One array an input, shape (rows, *input_shape).
            outputs: One array an output, shape (rows, ...), as the loss takes them.
            weights: Weights of the rows in the loss, shape (rows,), or None.
        """
        self.count = self.most_rows = len(inputs[0])
        self._data = _structured([_tensor(one) for one in _listed(inputs, outputs, weights)], len(inputs), len(outputs))

    def trace(self, sweep: Any, batch_size: int) -> None:
        """Trace a sweep for these rows."""
        import tensorflow as tf

        sweep.get_concrete_function(self._data, tf.TensorSpec([None], "int32"), tf.constant(batch_size))

    def run(self, sweep: Any, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep in one call."""
        import tensorflow as tf

        total, predictions = sweep(self._data, tf.constant(chosen), tf.constant(batch_size))
        return float(total), tuple(one.numpy() for one in predictions)


class StreamedRows:
    """Rows in memory mappings, of which a chunk at a time is in memory, and the next one on its way."""

    def __init__(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        weights: Array | None = None,
        *,
        chunk_bytes: int = _CHUNK_BYTES,
    ) -> None:
        """Read nothing yet. Arguments as for `ResidentRows`; `chunk_bytes` bounds what is read at a time."""
        self.count = len(inputs[0])
        self._arrays = _listed(inputs, outputs, weights)
        self._sizes = len(inputs), len(outputs)
        row_bytes = sum(array.nbytes // max(1, self.count) for array in self._arrays)
        self.most_rows = max(1, chunk_bytes // max(1, row_bytes))

    def trace(self, sweep: Any, batch_size: int) -> None:
        """Trace a sweep for chunks of any length."""
        import tensorflow as tf

        data = _structured(self._specs(), *self._sizes)
        sweep.get_concrete_function(data, tf.TensorSpec([None], "int32"), tf.constant(batch_size))

    def run(self, sweep: Any, chosen: Array, batch_size: int) -> Sums:
        """Run a sweep chunk by chunk; chunks hold whole batches, so that batches are those of resident rows."""
        import tensorflow as tf

        step = max(1, self.most_rows // batch_size) * batch_size
        chunks = tf.data.Dataset.from_generator(
            lambda: self._chunks(chosen, step), output_signature=tuple(self._specs())
        ).prefetch(1)
        threads = tf.data.Options()
        threads.threading.private_threadpool_size = 1  # beside the one thread between operations that workers have
        chunks = chunks.with_options(threads)
        total, predictions = 0.0, []
        for tensors in chunks:
            rows = tf.range(tf.shape(tensors[0])[0])
            loss, parts = sweep(_structured(list(tensors), *self._sizes), rows, tf.constant(batch_size))
            total += float(loss)
            predictions.append([one.numpy() for one in parts])
        return total, tuple(np.concatenate(parts) for parts in zip(*predictions, strict=True))

    def _chunks(self, chosen: Array, step: int) -> Iterator[tuple[Array, ...]]:
        for start in range(0, len(chosen), step):
            rows = chosen[start : start + step]
            order = np.argsort(rows, kind="stable")  # read in the order in which rows lie on the disk
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            yield tuple(np.asarray(array[rows[order]])[back] for array in self._arrays)

    def _specs(self) -> list[Any]:
        import tensorflow as tf

        return [tf.TensorSpec([None, *array.shape[1:]], array.dtype.name) for array in self._arrays]


def _listed(inputs: Sequence[Array], outputs: Sequence[Array], weights: Array | None) -> list[Array]:
    return [*inputs, *outputs, *([] if weights is None else [weights])]


def _tensor(array: Array) -> Any:
    import tensorflow as tf

    return tf.constant(array)


def _structured(parts: Sequence[Any], inputs: int, outputs: int) -> tuple[Any, ...]:
    """Return (x, y) or (x, y, weights), each x and y a list only where there are several."""
    x, y, weights = parts[:inputs], parts[inputs : inputs + outputs], parts[inputs + outputs :]
    return (_alone(x), _alone(y), *weights)


def _alone(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)
