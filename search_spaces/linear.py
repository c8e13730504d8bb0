"""`linear`: softmax, logistic or linear regression on the inputs; of text, on its TF-IDF vector."""

from __future__ import annotations

from typing import Any

from automl import Choice, DatasetSpec, SearchSpace, input_layers, output_layers, training_parameters
from search_spaces.blocks import INITIALIZERS, scaling_parameter, weight_arguments, weight_parameters


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a model of one dense layer, its inputs normalised where wanted."""
    import keras

    units = sum(one.units for one in spec.outputs)  # of a text's bag: with as many, no linear model is left out
    inputs, x = input_layers(spec, scaling=config["scaling"], text_units=units)
    x = keras.layers.Flatten()(x)
    if config["batch_normalization"]:
        x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, output_layers(x, spec, **weight_arguments(config)))


space = SearchSpace(
    "linear",
    [
        scaling_parameter(),
        Choice("batch_normalization", [False, True]),
        *weight_parameters(initializers=[*INITIALIZERS, "zeros"]),
        *training_parameters(),
    ],
    build,
)
