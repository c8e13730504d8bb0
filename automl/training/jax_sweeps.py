"""Sweeps by JAX: a `lax.scan` of the step over the whole batches, then the smaller last one, compiled as one call.

On CPUs the gradients of convolutions take 20 to 100 times as long in a loop of XLA's (jax-ml/jax#12868): steps that
have some are compiled one by one, and called from Python.

The compiled code is found again by its content in JAX's compilation cache, also by later processes (see
`executors/backends.py`). What it changes lies in the model's variables between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from automl.training.metrics import Array
from automl.training.sweeps import Data, Sums, as_tuple

_State: TypeAlias = Sequence[Sequence[Any]]  # the values of some groups of variables
_Step: TypeAlias = Callable[..., tuple[_State, Any, tuple[Any, ...]]]
_Visit: TypeAlias = Callable[[_State, Data, Any], tuple[_State, Any]]  # a step on the rows of these indices


def training_sweep(model: Any, *, own_step: bool) -> JaxSweep:
    """Return a sweep that trains a model; arguments as for `sweeps.training_sweep`."""
    return JaxSweep(model, _own_step(model) if own_step else _train_step(model), trains=True, own_step=own_step)


def evaluation_sweep(model: Any) -> JaxSweep:
    """Return a sweep that evaluates a model."""
    return JaxSweep(model, _evaluation_step(model), trains=False)


def tensor(array: Array) -> Any:
    """Return an array on JAX's device; on the CPU it is the memory mapping itself, which workers share."""
    import jax

    return jax.device_put(np.asarray(array), may_alias=True)


class JaxSweep:
    """A step, called for one batch after the other in one compiled call."""

    def __init__(self, model: Any, step: _Step, *, trains: bool, own_step: bool = False) -> None:
        """Compile nothing yet.

        Args:
            model: Its variables are the state.
            step: Takes the state, and x, y and perhaps weights of a batch; returns state, loss and predictions.
            trains: What the step makes of the state is kept.
            own_step: The step updates the metrics that the model was compiled with.
        """
        import jax

        self._model = model
        self._trains = trains
        self._has_metrics = own_step or len(model.outputs) > 1
        self._visit = jax.jit(_visit(step), donate_argnums=0 if trains else ())
        self._compiled: dict[tuple[int, int, int], Any] = {}

    def trace(self, data: Data, row_count: int, batch_size: int) -> None:
        """Compile the sweep for these shapes, or find its code in the compilation cache."""
        import jax

        if self._has_metrics and not self._compiled:
            _build_metrics(self._model, data)
        shapes = jax.tree.map(_shape, (self._state(), data, *_batches(np.empty(row_count, "int32"), batch_size)))
        compile_sweep = _compile_steps if self._trains and _is_slow_in_loops(self._visit, *shapes) else _compile_scan
        self._compiled[_key(data, row_count, batch_size)] = compile_sweep(self._visit, *shapes, trains=self._trains)

    def run(self, data: Data, rows: Array, batch_size: int) -> Sums:
        """Run the sweep in one call."""
        key = _key(data, len(rows), batch_size)
        if key not in self._compiled:
            self.trace(data, len(rows), batch_size)
        batches, rest = _batches(rows, batch_size)
        state, losses, predictions = self._compiled[key](self._state(), data, batches, rest)
        if self._trains:
            self._keep(state)
        sizes = [batch_size] * len(batches) + [len(rest)] * (len(rest) > 0)
        return float(np.dot(np.asarray(losses, "float64"), sizes)), tuple(np.asarray(one) for one in predictions)

    def reads_only(self, variables: Sequence[Any]) -> bool:
        """Return True: what a compiled step reads beside the model's variables is a constant in it.

        What it would write beside them is lost at the step's end, because all that `run` keeps is the state that the
        step returns (and Keras refuses its global seed while JAX traces). So nothing hidden goes from epoch to epoch,
        and a checkpoint of the variables is whole.
        """
        return True

    def _variables(self) -> list[list[Any]]:
        model = self._model
        return [
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        ]

    def _state(self) -> _State:
        return [[variable.value for variable in group] for group in self._variables()]

    def _keep(self, state: _State) -> None:
        for group, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)


def _train_step(model: Any) -> _Step:
    """Return the step of `keras.Model.train_step`, less its metrics."""
    import jax

    gradient = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)

    def step(state: _State, x: Any, y: Any, weights: Any = None) -> tuple[_State, Any, tuple[Any, ...]]:
        trained, other, slots, metrics = state
        (_, (loss, prediction, other, metrics)), gradients = gradient(
            trained, other, metrics, x, y, weights, training=True, optimizer_variables=slots
        )
        trained, slots = model.optimizer.stateless_apply(slots, gradients, trained)
        return [trained, other, slots, metrics], loss, as_tuple(prediction)

    return step


def _own_step(model: Any) -> _Step:
    def step(state: _State, x: Any, y: Any, weights: Any = None) -> tuple[_State, Any, tuple[Any, ...]]:
        results, state = model.train_step(tuple(state), (x, y) if weights is None else (x, y, weights))
        return state, results.get("loss", 0.0), ()

    return step


def _evaluation_step(model: Any) -> _Step:
    def step(state: _State, x: Any, y: Any, weights: Any = None) -> tuple[_State, Any, tuple[Any, ...]]:
        trained, other, _, metrics = state
        loss, (_, prediction, *_) = model.compute_loss_and_updates(trained, other, metrics, x, y, None, training=False)
        return state, loss, as_tuple(prediction)

    return step


def _visit(step: _Step) -> _Visit:
    """Return a function of (state, data, indices of rows) that takes the step on those rows."""
    import jax
    import jax.numpy as jnp

    def visit(state: _State, data: Data, rows: Any) -> tuple[_State, Any]:
        batch = jax.tree.map(lambda whole: whole.at[rows].get(mode="promise_in_bounds"), data)
        after, loss, predictions = step(state, *batch)
        kept = jnp.asarray(loss, "float32").reshape(1), [jnp.asarray(one, "float32") for one in predictions]
        return [list(group) for group in after], kept  # a model's own step may give tuples, a scan takes none

    return visit


def _is_slow_in_loops(visit: Any, state: _State, data: Data, batches: Any, rest: Any) -> bool:
    import jax

    rows = jax.ShapeDtypeStruct(batches.shape[1:], batches.dtype) if batches.shape[0] else rest
    return jax.default_backend() == "cpu" and "conv_general_dilated" in str(visit.trace(state, data, rows).jaxpr)


def _compile_scan(visit: _Visit, *shapes: Any, trains: bool) -> Any:
    """Compile one function of (state, data, batches of rows, rest of the rows) that visits them all.

    It gives the state at the end, the loss of each batch, and the predictions row after row.
    """
    import jax
    import jax.numpy as jnp

    def sweep(state: _State, data: Data, batches: Any, rest: Any) -> Any:
        parts = []
        if len(batches):
            state, scanned = jax.lax.scan(lambda state, rows: visit(state, data, rows), state, batches)
            parts.append(jax.tree.map(lambda one: one.reshape(-1, *one.shape[2:]), scanned))
        if len(rest):
            state, last = visit(state, data, rest)
            parts.append(last)
        return state, *jax.tree.map(lambda *ones: jnp.concatenate(ones), *parts)

    return jax.jit(sweep, donate_argnums=0 if trains else ()).lower(*shapes).compile()


def _compile_steps(visit: Any, state: _State, data: Data, batches: Any, rest: Any, *, trains: bool) -> Any:
    """Compile each visit by itself; otherwise the same."""
    import jax

    sizes = [*(batches.shape[1:] if batches.shape[0] else ()), *(rest.shape if rest.shape[0] else ())]
    rows = {size: jax.ShapeDtypeStruct((size,), rest.dtype) for size in sizes}
    compiled = {size: visit.lower(state, data, one).compile() for size, one in rows.items()}

    def sweep(state: _State, data: Data, batches: Array, rest: Array) -> Any:
        parts = []
        for rows in [*batches, *([rest] if len(rest) else [])]:
            state, part = compiled[len(rows)](state, data, rows)
            parts.append(part)
        return state, *jax.tree.map(lambda *ones: np.concatenate(ones), *parts)

    return sweep


def _batches(rows: Array, batch_size: int) -> tuple[Array, Array]:
    """Return the whole batches of indices, shape (batches, batch size), and the smaller last one, shape (rest,)."""
    whole = len(rows) // batch_size * batch_size
    return rows[:whole].reshape(-1, batch_size), rows[whole:]


def _key(data: Data, row_count: int, batch_size: int) -> tuple[int, int, int]:
    import jax

    return len(jax.tree.leaves(data)[0]), row_count, batch_size


def _shape(array: Any) -> Any:
    import jax

    return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _build_metrics(model: Any, data: Data) -> None:
    """Make the variables of a model's metrics, on a row of zeros: none may be made while a step is traced."""
    import jax

    x, y, *_ = jax.tree.map(lambda array: np.zeros((1, *array.shape[1:]), array.dtype), data)
    predictions = [np.zeros((1, *output.shape[1:]), "float32") for output in model.outputs]
    prediction = predictions[0] if len(predictions) == 1 else predictions
    model.compute_loss(x=x, y=y, y_pred=prediction, training=False)
    model.compute_metrics(x, y, prediction)
    model.reset_metrics()
