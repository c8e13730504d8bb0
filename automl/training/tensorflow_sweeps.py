"""Sweeps by TensorFlow: a `tf.function` whose loop over the batches is part of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeAlias

from automl.training.metrics import Array
from automl.training.sweeps import Data, Sums, as_tuple

_DENSE = ("Dense", "BatchNormalization")

_Step: TypeAlias = Callable[..., tuple[Any, tuple[Any, ...]]]


def training_sweep(model: Any, *, own_step: bool) -> TensorflowSweep:
    """Return a sweep that trains a model; arguments as for `sweeps.training_sweep`."""
    if own_step:
        return TensorflowSweep(_own_step(model), 0)
    return TensorflowSweep(_train_step(model), len(model.outputs), is_dense=_is_dense(model))


def evaluation_sweep(model: Any) -> TensorflowSweep:
    """Return a sweep that evaluates a model."""
    return TensorflowSweep(_evaluation_step(model), len(model.outputs), is_dense=_is_dense(model))


def tensor(array: Array) -> Any:
    """Return an array as a tensor."""
    import tensorflow as tf

    return tf.constant(array)


class TensorflowSweep:
    """A step, called for one batch after the other in one `tf.function`."""

    def __init__(self, step: _Step, output_count: int, *, is_dense: bool = False) -> None:
        """Trace nothing yet.

        Args:
            step: Takes x, y and perhaps weights of a batch; returns its loss and predictions.
            output_count: How many predictions it returns.
            is_dense: TensorFlow's graph optimizer has nothing to offer.
        """
        self._function = _compile(step, output_count)
        self._is_dense = is_dense
        self._read: list[Any] = []

    def trace(self, data: Data, row_count: int, batch_size: int) -> None:
        """Trace the sweep; the trace suits any number of rows and any batch size."""
        import tensorflow as tf

        specs = tf.nest.map_structure(lambda one: tf.TensorSpec([None, *one.shape[1:]], one.dtype), data)
        traced = self._function.get_concrete_function(specs, tf.TensorSpec([None], "int32"), tf.constant(batch_size))
        self._read = list(traced.variables)

    def run(self, data: Data, rows: Array, batch_size: int) -> Sums:
        """Run the sweep in one call."""
        import tensorflow as tf

        tensors = tf.nest.map_structure(tf.convert_to_tensor, data)
        with _unoptimized() if self._is_dense else nullcontext():
            total, predictions = self._function(tensors, tf.constant(rows), tf.constant(batch_size))
        return float(total), tuple(one.numpy() for one in predictions)

    def reads_only(self, variables: Sequence[Any]) -> bool:
        """Return True where the graph that was traced last has no variables but these."""
        known = {id(variable.value) for variable in variables}
        return all(id(variable) in known for variable in self._read)


def _is_dense(model: Any) -> bool:
    """Return True where all layers that have weights are dense layers, or normalise what these give."""
    weighted = [layer for layer in model.layers if layer.weights]
    return all(type(layer).__name__ in _DENSE and type(layer).__module__.startswith("keras.") for layer in weighted)


@contextmanager
def _unoptimized() -> Iterator[None]:
    """Run graphs as they were traced.

    TensorFlow's graph optimizer looks at a graph for longer (some 80 ms) than the whole training of a small model may
    take. For dense layers it finds nothing that would change speed or losses; convolutions it makes a few percent
    faster.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def _train_step(model: Any) -> _Step:
    """Return the step of `keras.Model.train_step`, less its metrics."""
    import tensorflow as tf

    def step(x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        with tf.GradientTape() as tape:
            prediction = model(x, training=True)
            loss = model.compute_loss(x=x, y=y, y_pred=prediction, sample_weight=weights, training=True)
            scaled = model.optimizer.scale_loss(loss)
        variables = model.trainable_weights
        _apply_gradients(model.optimizer, tape.gradient(scaled, variables), variables)
        return loss, as_tuple(prediction)

    return step


def _apply_gradients(optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
    """Let an optimizer take its step, so that the graph can be forgotten later.

    Called where there might be several replicas, Keras's optimizer sums gradients over them; even for the one that
    there is, TensorFlow registers the gradient of that sum for as long as the process lives, and with it the graph
    that it is in, some 6 MB. Where the replicas have come together nothing is left to be summed.
    """
    import keras
    import tensorflow as tf

    def apply(_strategy: Any, gradients: Sequence[Any]) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):  # it asks for the replica
        apply(None, gradients)
    else:
        tf.distribute.get_replica_context().merge_call(apply, args=(gradients,))


def _own_step(model: Any) -> _Step:
    import tensorflow as tf

    def step(x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        results = model.train_step((x, y) if weights is None else (x, y, weights))
        return tf.cast(results.get("loss", 0.0), "float32"), ()

    return step


def _evaluation_step(model: Any) -> _Step:
    def step(x: Any, y: Any, weights: Any = None) -> tuple[Any, tuple[Any, ...]]:
        prediction = model(x, training=False)
        loss = model.compute_loss(x=x, y=y, y_pred=prediction, training=False)
        return loss, as_tuple(prediction)

    return step


def _compile(step: _Step, output_count: int) -> Any:
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
