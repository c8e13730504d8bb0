"""Weights of a model in a file: arrays in the order of `model.variables`, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np


def save_weights(model: Any, path: Path) -> None:
    """Write the weights as they are: at once, since the worker may be ended at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, *[np.asarray(variable) for variable in model.variables])
    os.replace(temporary, path)


def load_weights(model: Any, path: Path) -> None:
    """Give a model the weights that `save_weights` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        for variable, name in zip(model.variables, arrays.files, strict=True):
            variable.assign(arrays[name])
