"""`mlp`: dense layers on the inputs, whatever they are."""

from __future__ import annotations

from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    Int,
    Repeat,
    SearchSpace,
    input_layers,
    output_layers,
    training_parameters,
)
from search_spaces.blocks import ACTIVATIONS, hidden_layer, scaling_parameter, weight_parameters


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a model of dense layers, each with units and dropout of its own."""
    import keras

    inputs, x = input_layers(spec, scaling=config["scaling"])
    x = keras.layers.Flatten()(x)
    for layer in config["hidden"]:
        x = hidden_layer(x, layer["units"], layer["dropout"], config)
    return keras.Model(inputs, output_layers(x, spec))


space = SearchSpace(
    "mlp",
    [
        Repeat(
            "hidden",
            1,
            4,
            [
                Int("units", 16, 512, log=True, default=256),
                Float("dropout", 0.0, 0.6, step=0.05, default=0.2),
            ],
            default=2,
        ),
        Choice("activation", ACTIVATIONS),
        Choice("batch_normalization", [False, True]),
        scaling_parameter(),
        *weight_parameters(),
        *training_parameters(),
    ],
    build,
)
