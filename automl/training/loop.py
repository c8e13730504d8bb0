"""Compiled epochs: a whole pass over resident tensors is one compiled call (over streamed ones, one a chunk).

The step is the one that `keras.Model.train_step` takes: forward pass, `compute_loss` (regularisation included),
gradients, optimizer; how a pass is compiled is the affair of Keras's backend (`sweeps.py`). Given the same seed and
batch order it gives the losses of `model.fit`, without its per-batch Python, callbacks and input pipeline. Metrics are
not accumulated batch by batch: the predictions of the epoch are kept and scored once (`metrics.py`). A model that
overrides `train_step` has its own step called instead.

Shuffling depends on (seed, epoch) only, so that a resumed trial sees the batches it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from automl.training.metrics import Array
from automl.training.rows import Rows
from automl.training.sweeps import CompiledSweep, evaluation_sweep, overrides_train_step, training_sweep

_EVALUATION_ROWS = 2048  # a batch of evaluation; large, but small enough for convolutions on images


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What one pass over a split gave.

    Attributes:
        loss: Mean loss over rows, regularisation included.
        predictions: The model's outputs, one array an output, in the order of `rows`; empty where the model's own
            `train_step` was called, which does not show them.
        rows: Indices of the rows in the order in which they were visited.
        metrics: Metrics that a model's own `train_step` returned.
    """

    loss: float
    predictions: tuple[Array, ...]
    rows: Array
    metrics: dict[str, float]


class TrainingLoop:
    """Trains one compiled model."""

    def __init__(
        self,
        model: Any,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        chosen: Array | None = None,
        sweep: CompiledSweep | None = None,
    ) -> None:
        """Prepare the sweep; nothing is traced before the first epoch.

        Args:
            model: A compiled `keras.Model`.
            rows: Inputs, targets and perhaps weights.
            batch_size: Rows a step; the last batch of an epoch is smaller where the rows do not divide.
            seed: Seed of the order of the rows.
            chosen: Indices of the rows to train on; None for all.
            sweep: The model's training sweep, where there is one already.
        """
        self._model = model
        self._rows = rows
        self._chosen = _indices(rows, chosen)
        self._batch_size = batch_size
        self._seed = seed
        self._own_step = overrides_train_step(model)
        self._sweep = sweep or training_sweep(model)

    def trace(self) -> None:
        """Trace the epoch now, so that its time is not counted as training."""
        self._rows.trace(self._sweep, self._chosen, self._batch_size)

    def train_epoch(self, epoch: int) -> Sweep:
        """Train on every row once, in the order of (seed, epoch).

        Args:
            epoch: Number of the epoch, from 1.
        """
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._chosen))
        visited = self._chosen[order]
        if self._own_step:
            self._model.reset_metrics()
        total, predictions = self._rows.run(self._sweep, visited, self._batch_size)
        loss = total / len(visited)
        if not self._own_step:
            return Sweep(loss=loss, predictions=predictions, rows=visited, metrics={})
        results = {name: float(value) for name, value in self._model.get_metrics_result().items()}
        return Sweep(loss=results.get("loss", loss), predictions=(), rows=visited, metrics=results)


class Evaluator:
    """Evaluates one compiled model in large batches, all rows alike."""

    def __init__(
        self, model: Any, rows: Rows, *, chosen: Array | None = None, sweep: CompiledSweep | None = None
    ) -> None:
        """Prepare the sweep; arguments as for `TrainingLoop`."""
        self._rows = rows
        self._chosen = _indices(rows, chosen)
        self._batch_size = min(_EVALUATION_ROWS, rows.most_rows)
        self._sweep = sweep or evaluation_sweep(model)

    def trace(self) -> None:
        """Trace the evaluation now, so that its time is not counted as training."""
        self._rows.trace(self._sweep, self._chosen, self._batch_size)

    def evaluate(self) -> Sweep:
        """Return loss and predictions for every row, in order."""
        total, predictions = self._rows.run(self._sweep, self._chosen, self._batch_size)
        return Sweep(loss=total / len(self._chosen), predictions=predictions, rows=self._chosen, metrics={})


def _indices(rows: Rows, chosen: Array | None) -> Array:
    return (np.arange(rows.count) if chosen is None else np.asarray(chosen)).astype("int32")
