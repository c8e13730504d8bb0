"""Compiled epochs: a whole pass over resident tensors is one call into TensorFlow (over streamed ones, one a chunk).

The step is the one that `keras.Model.train_step` takes: forward pass, `compute_loss` (regularisation included),
gradients, `optimizer.apply_gradients`. Given the same seed and batch order it gives the losses of `model.fit`,
without its per-batch Python, callbacks and input pipeline. Metrics are not accumulated batch by batch: the
predictions of the epoch are kept and scored once (`metrics.py`). A model that overrides `train_step` has its own step
called instead.

Shuffling depends on (seed, epoch) only, so that a resumed trial sees the batches it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from automl.training.metrics import Array
from automl.training.rows import Rows

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

    def __init__(self, model: Any, rows: Rows, *, batch_size: int, seed: int, chosen: Array | None = None) -> None:
        """Prepare the sweep; nothing is traced before the first epoch.

        Args:
            model: A compiled `keras.Model`.
            rows: Inputs, targets and perhaps weights.
            batch_size: Rows a step; the last batch of an epoch is smaller where the rows do not divide.
            seed: Seed of the order of the rows.
            chosen: Indices of the rows to train on; None for all.
        """
        self._model = model
        self._rows = rows
        self._chosen = _indices(rows, chosen)
        self._batch_size = batch_size
        self._seed = seed
        model.optimizer.build(model.trainable_variables)
        self._own_step = _overrides_train_step(model)
        step = self._model_train_step if self._own_step else self._train_step
        self._sweep = _compile_sweep(step, 0 if self._own_step else len(model.outputs))

    def trace(self) -> None:
        """Trace the epoch now, so that its time is not counted as training."""
        self._rows.trace(self._sweep, self._batch_size)

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

    def _train_step(self, x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        import tensorflow as tf

        model = self._model
        with tf.GradientTape() as tape:
            prediction = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=prediction, sample_weight=weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        variables = model.trainable_weights
        model.optimizer.apply_gradients(zip(tape.gradient(scaled, variables), variables, strict=True))
        return loss, _as_tuple(prediction)

    def _model_train_step(self, x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        import tensorflow as tf

        results = self._model.train_step((x, y) if weights is None else (x, y, weights))
        return tf.cast(results.get("loss", 0.0), "float32"), ()


class Evaluator:
    """Evaluates one compiled model in large batches, all rows alike."""

    def __init__(self, model: Any, rows: Rows, *, chosen: Array | None = None) -> None:
        """Prepare the sweep; arguments as for `TrainingLoop`."""
        self._model = model
        self._rows = rows
        self._chosen = _indices(rows, chosen)
        self._batch_size = min(_EVALUATION_ROWS, rows.most_rows)
        self._sweep = _compile_sweep(self._step, len(model.outputs))

    def trace(self) -> None:
        """Trace the evaluation now, so that its time is not counted as training."""
        self._rows.trace(self._sweep, self._batch_size)

    def evaluate(self) -> Sweep:
        """Return loss and predictions for every row, in order."""
        total, predictions = self._rows.run(self._sweep, self._chosen, self._batch_size)
        return Sweep(loss=total / len(self._chosen), predictions=predictions, rows=self._chosen, metrics={})

    def _step(self, x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        prediction = self._model(x, training=False)
        loss = self._model.compute_loss(x=x, y=y, y_pred=prediction, training=False)
        return loss, _as_tuple(prediction)


def _indices(rows: Rows, chosen: Array | None) -> Array:
    return (np.arange(rows.count) if chosen is None else np.asarray(chosen)).astype("int32")


def _overrides_train_step(model: Any) -> bool:
    import keras

    return type(model).train_step is not keras.Model.train_step


def _as_tuple(prediction: Any) -> tuple[Any, ...]:
    return tuple(prediction) if isinstance(prediction, list | tuple) else (prediction,)


def _compile_sweep(step: Callable[..., tuple[Any, tuple[Any, ...]]], output_count: int) -> Any:
    """Return a compiled function of (data, rows, batch size) that calls `step` for one batch of rows after the other.

    It gives the sum over rows of the batch losses, as `fit` weights them, and the predictions row after row. The
    batch size is no part of its signature: the smaller last batch, and any other batch size, run in the same trace.
    """
    import tensorflow as tf

    def sweep(data: Any, rows: Any, batch_size: Any) -> Any:
        row_count = tf.shape(rows)[0]
        batches = (row_count + batch_size - 1) // batch_size
        collected = tuple(tf.TensorArray("float32", size=batches, infer_shape=False) for _ in range(output_count))
        total = tf.constant(0.0)
        for batch in tf.range(batches):
            chosen = rows[batch * batch_size : (batch + 1) * batch_size]
            loss, predictions = step(*tf.nest.map_structure(lambda whole: tf.gather(whole, chosen), data))  # noqa: B023
            total += tf.cast(loss, "float32") * tf.cast(tf.shape(chosen)[0], "float32")
            collected = tuple(
                array.write(batch, tf.cast(one, "float32")) for array, one in zip(collected, predictions, strict=True)
            )
        return total, tuple(array.concat() for array in collected)

    # No XLA: on CPUs it is slower here and draws other random numbers than `fit` does.
    return tf.function(sweep, jit_compile=False)
