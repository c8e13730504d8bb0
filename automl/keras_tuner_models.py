"""Models of hypermodels for our datasets: targets of classes are indices here, often one-hot there."""

from __future__ import annotations

from typing import Any

from automl.dataset_spec import DatasetSpec, Task
from automl.errors import SpaceError

_SPARSE = {
    "categorical_crossentropy": "sparse_categorical_crossentropy",
    "CategoricalCrossentropy": "SparseCategoricalCrossentropy",
    "categorical_accuracy": "sparse_categorical_accuracy",
    "CategoricalAccuracy": "SparseCategoricalAccuracy",
    "top_k_categorical_accuracy": "sparse_top_k_categorical_accuracy",
    "TopKCategoricalAccuracy": "SparseTopKCategoricalAccuracy",
}


def with_sparse_targets(model: Any, spec: DatasetSpec) -> Any:
    """Return a model whose losses and metrics take class indices, compiled anew where they took one-hot targets.

    Raises:
        SpaceError: The loss has no counterpart of class indices, such as one with label smoothing.
    """
    if not getattr(model, "compiled", False) or all(output.task is not Task.MULTICLASS for output in spec.outputs):
        return model
    config = model.get_compile_config() or {}
    sparse = {name: _sparse(config.get(name)) for name in ("loss", "metrics", "weighted_metrics")}
    if any(sparse[name] != config.get(name) for name in sparse):
        model.compile_from_config({**config, **sparse})
    return model


def _sparse(value: Any) -> Any:
    """Return a serialized loss or metric, or a structure of them, in its sparse form."""
    if isinstance(value, str):
        return _SPARSE.get(value, value)
    if isinstance(value, list | tuple):
        return [_sparse(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") not in _SPARSE:
        return value if "class_name" in value else {name: _sparse(one) for name, one in value.items()}
    options = dict(value["config"])
    if options.pop("label_smoothing", 0.0):
        raise SpaceError(
            "the hypermodel's loss has label_smoothing, which losses of class indices have not: compile it without"
        )
    kept = {name: one for name, one in options.items() if name != "fn"}
    return {**value, "class_name": _SPARSE[value["class_name"]], "config": kept, "registered_name": None}
