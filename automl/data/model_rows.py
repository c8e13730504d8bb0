"""Raw rows in the form that the final model takes: one array, or a dict with one entry a column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from automl.data.raw import ARRAY_FEATURE, Array, Batch, RawDataset
from automl.dataset_spec import Column, ColumnKind, DatasetSpec, RawInput

ModelRows: TypeAlias = Array | dict[str, Array]

TEXT_KINDS = (ColumnKind.CATEGORY, ColumnKind.TEXT)
"""Kinds of columns that hold strings."""


def raw_inputs(raw: RawDataset) -> tuple[RawInput, ...]:
    """Return what the final model of a dataset takes."""
    if raw.is_array:
        return (RawInput(name=ARRAY_FEATURE, dtype="float32", shape=raw.row_shape),)
    names = _keras_names([column.name for column in raw.columns])
    return tuple(
        RawInput(name=name, dtype="string" if column.kind in TEXT_KINDS else "float32", shape=(1,))
        for name, column in zip(names, raw.columns, strict=True)
    )


def to_model_rows(batch: Batch, spec: DatasetSpec) -> ModelRows:
    """Return raw rows as the final model takes them.

    Args:
        batch: Raw rows, as `RawDataset` describes them.
        spec: The dataset.

    Returns:
        The array of shape (n, *raw shape); or by name of raw input (n, 1) float32, and (n, 1) object holding
        `str`, `""` where missing.
        Where there is a single column, its array alone.
    """
    if is_array(spec):
        return batch[ARRAY_FEATURE]
    pairs = zip(spec.columns, spec.raw_inputs, strict=True)
    cells = {one.name: _cells(batch[column.name], column) for column, one in pairs}
    return cells if len(cells) > 1 else next(iter(cells.values()))


def is_array(spec: DatasetSpec) -> bool:
    """Return True where raw rows are one array, and False where they are columns: no column has the array's name."""
    return spec.raw_inputs[0].name == ARRAY_FEATURE


def _cells(values: Array, column: Column) -> Array:
    return values.astype(object if column.kind in TEXT_KINDS else np.float32).reshape(-1, 1)


def _keras_names(names: Sequence[str]) -> list[str]:
    """Return different names that Keras allows, close to the given ones."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip("_.-") or "column"
        taken = {one.lower() for one in (*found, ARRAY_FEATURE)}
        number = 2
        unique = plain
        while unique.lower() in taken:
            unique, number = f"{plain}_{number}", number + 1
        found.append(unique)
    return found
