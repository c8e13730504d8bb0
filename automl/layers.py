"""The first and the last layers of a searched model, so that a builder need not know the dataset's shapes and tasks."""

from __future__ import annotations

import re
from typing import Any

from automl.dataset_spec import DatasetSpec, OutputSpec, Task

_ACTIVATIONS = {
    Task.REGRESSION: "linear",
    Task.BINARY: "sigmoid",
    Task.MULTICLASS: "softmax",
    Task.MULTILABEL: "sigmoid",
}


def input_layers(spec: DatasetSpec) -> tuple[Any, Any]:
    """Return the model's input (a list where the dataset has several), and one float32 tensor that holds them all.

    Args:
        spec: The dataset.

    Returns:
        What `keras.Model` takes as its inputs, and the tensor: shape (batch, *input_shape) where there is one input;
        where there are several, their flattened values side by side, shape (batch, sum of sizes).

    Example:
        ```python
        inputs, x = input_layers(spec)
        x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(inputs, output_layers(x, spec))
        ```
    """
    import keras

    inputs = [keras.Input(one.shape, name=one.name) for one in spec.inputs]
    if len(inputs) == 1:
        return inputs[0], inputs[0]  # no list of one: Keras would warn wherever the model is called with an array
    return inputs, keras.layers.Concatenate()([keras.layers.Flatten()(one) for one in inputs])


def output_layers(x: Any, spec: DatasetSpec, **arguments: Any) -> Any:
    """Return the model's output (a list where the dataset has several): a dense layer that fits each task.

    Args:
        x: Features, shape (batch, features).
        spec: The dataset.
        **arguments: Further arguments of each `keras.layers.Dense`, such as `kernel_regularizer`.

    Returns:
        Probabilities of shape (batch, classes) for multiclass (softmax), (batch, 1) for binary and (batch, labels) for
        multilabel (sigmoid); scaled values of shape (batch, units) for regression (linear).

    Example:
        ```python
        return keras.Model(inputs, output_layers(x, spec))
        ```
    """
    heads = [_head(output, arguments)(x) for output in spec.outputs]
    return heads[0] if len(heads) == 1 else heads


def keras_name(name: str) -> str:
    """Return a name that Keras allows, close to the given one."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _head(output: OutputSpec, arguments: dict[str, Any]) -> Any:
    import keras

    # A column may be called "price/m2", which Keras refuses, or "dense", which is the name of another layer.
    name = keras_name(output.name) + "_output"
    return keras.layers.Dense(output.units, activation=_ACTIVATIONS[output.task], name=name, **arguments)
