"""`tabular`: networks for tables of numbers, categories and text, with embeddings of the categories.

Residual networks are those of Gorishniy et al., 2021, section 3.2; `wide_deep` that of Cheng et al., 2016, section 3.
"""

from __future__ import annotations

from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    InputKind,
    Int,
    SearchSpace,
    as_floats,
    embed_categories,
    input_tensors,
    output_layers,
    side_by_side,
    text_bag,
    training_parameters,
)
from search_spaces.blocks import ACTIVATIONS, drop, hidden_layer, scaling_parameter, weight_arguments, weight_parameters


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a network over the embedded columns."""
    import keras

    inputs, tensors = input_tensors(spec)
    x = side_by_side([_embedded(x, one, config) for x, one in zip(tensors, spec.inputs, strict=True)])
    deep = _residual(x, config) if config["architecture"] == "residual" else _dense(x, config)
    if config["architecture"] == "wide_deep":  # the outputs see the plain columns beside what the network made of them
        wide = [as_floats(x, one, scaling=config["scaling"]) for x, one in zip(tensors, spec.inputs, strict=True)]
        deep = side_by_side([deep, *wide])
    return keras.Model(inputs, output_layers(deep, spec))


def _embedded(x: Any, one: Any, config: dict[str, Any]) -> Any:
    if one.kind is InputKind.CATEGORICAL:
        return embed_categories(x, one, one_hot_limit=config["one_hot_limit"], factor=config["embedding_factor"])
    if one.kind is InputKind.TEXT:
        return text_bag(x, one, units=config["text_units"])
    return as_floats(x, one, scaling=config["scaling"])


def _dense(x: Any, config: dict[str, Any]) -> Any:
    for _ in range(config["layers"]):
        x = hidden_layer(x, config["units"], config["dropout"], config)
    return x


def _residual(x: Any, config: dict[str, Any]) -> Any:
    """Return blocks that each add to x what two dense layers make of it, normalised first."""
    import keras

    x = keras.layers.Dense(config["units"], **weight_arguments(config))(x)
    for _ in range(config["layers"]):
        y = _normalised(x, config)
        y = keras.layers.Dense(2 * config["units"], activation=config["activation"], **weight_arguments(config))(y)
        y = keras.layers.Dense(config["units"], **weight_arguments(config))(drop(y, config["dropout"]))
        x = keras.layers.Add()([x, y])
    return keras.layers.Activation(config["activation"])(_normalised(x, config))


def _normalised(x: Any, config: dict[str, Any]) -> Any:
    import keras

    return (
        keras.layers.BatchNormalization()(x) if config["batch_normalization"] else keras.layers.LayerNormalization()(x)
    )


space = SearchSpace(
    "tabular",
    [
        Choice("architecture", ["mlp", "residual", "wide_deep"]),
        Int("layers", 1, 6, default=2),
        Int("units", 16, 512, log=True, default=128),
        Float("dropout", 0.0, 0.6, step=0.05, default=0.2),
        Choice("one_hot_limit", [0, 16, 64]),
        Float("embedding_factor", 0.5, 3.0, step=0.1, default=1.6),
        Choice("text_units", [16, 32, 64, 128], default=32),
        Choice("activation", ACTIVATIONS),
        Choice("batch_normalization", [False, True]),
        scaling_parameter(),
        *weight_parameters(),
        *training_parameters(batch_size=128),
    ],
    build,
)
