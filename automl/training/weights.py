"""Weights of a model in a file: arrays in the order of `model.variables`, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from automl.training.metrics import Array


def save_weights(model: Any, path: Path) -> None:
    """Write the weights as they are: at once, since the worker may be ended at any moment."""
    save_arrays(arrays_of(model.variables), path)


def arrays_of(variables: Sequence[Any]) -> list[Array]:
    """Return copies of the values of `keras.Variable`s, on any backend; JAX gives theirs away to the next step."""
    return [np.array(np.asarray(variable)) for variable in variables]  # a copy at once is what variables do not know


def save_arrays(arrays: Sequence[Array], path: Path) -> None:
    """Write arrays in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    try:
        np.savez(temporary, *arrays)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # half a file would take the room that the study needs


def load_arrays(path: Path) -> list[Array]:
    """Return the arrays that `save_arrays` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in arrays.files]


def load_weights(model: Any, path: Path) -> None:
    """Give a model the weights that `save_weights` wrote."""
    for variable, array in zip(model.variables, load_arrays(path), strict=True):
        # What is no type of numpy's own (bfloat16) is read as mere bytes.
        is_bytes = array.dtype.kind == "V"
        variable.assign(array.view(np.asarray(variable).dtype) if is_bytes else array)
