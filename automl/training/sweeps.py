"""A sweep: one pass over rows, batch after batch, in one compiled call of Keras's backend."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from automl.training.metrics import Array

Data: TypeAlias = tuple[Any, ...]
"""Inputs, targets and perhaps weights of rows, as a step takes them; an array each, or a list of several."""

Sums: TypeAlias = tuple[float, tuple[Array, ...]]
"""The sum over rows of the batch losses, as `fit` weights them, and the predictions row after row."""


class CompiledSweep(Protocol):
    """Calls a model's step for one batch of rows after the other."""

    def trace(self, data: Data, row_count: int, batch_size: int) -> None:
        """Compile for so many rows of data of these shapes and types, so that its time is not counted as training."""

    def run(self, data: Data, rows: Array, batch_size: int) -> Sums:
        """Go over the rows of these indices, in their order; the last batch is smaller where they do not divide."""

    def reads_only(self, variables: Sequence[Any]) -> bool:
        """Return True where what was traced depends on no variables but these `keras.Variable`s."""


def training_sweep(model: Any) -> CompiledSweep:
    """Return a sweep that trains a model; its own `train_step`, where it has one, shows no predictions.

    Args:
        model: A compiled `keras.Model`; its optimizer is built where it is not.
    """
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    sweep: CompiledSweep = _backend().training_sweep(model, own_step=overrides_train_step(model))
    return sweep


def evaluation_sweep(model: Any) -> CompiledSweep:
    """Return a sweep that evaluates a compiled `keras.Model`, and changes nothing in it; rows weigh alike."""
    sweep: CompiledSweep = _backend().evaluation_sweep(model)
    return sweep


def tensor(array: Array) -> Any:
    """Return an array as a tensor of the backend, on its device; on JAX's CPU it is the array's own memory."""
    return _backend().tensor(array)


def _backend() -> Any:
    """Return the module of Keras's backend; torch has none, its models are trained by `fit`."""
    import keras

    return importlib.import_module(f"automl.training.{keras.backend.backend()}_sweeps")


def overrides_train_step(model: Any) -> bool:
    """Return True for a model that trains by a step of its own."""
    import keras

    return type(model).train_step is not keras.Model.train_step


def structured(parts: Sequence[Any], inputs: int, outputs: int) -> Data:
    """Return (x, y) or (x, y, weights), each x and y a list only where there are several."""
    x, y, weights = parts[:inputs], parts[inputs : inputs + outputs], parts[inputs + outputs :]
    return (_alone(x), _alone(y), *weights)


def _alone(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else list(parts)


def as_tuple(prediction: Any) -> tuple[Any, ...]:
    """Return a model's outputs as a tuple, also where there is one."""
    return tuple(prediction) if isinstance(prediction, list | tuple) else (prediction,)
