"""`cnn`: blocks of convolutions and pooling, then a dense layer. For images."""

from __future__ import annotations

from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    Int,
    Repeat,
    SearchSpace,
    SpaceError,
    input_layers,
    output_layers,
    training_parameters,
)
from search_spaces.blocks import ACTIVATIONS, activate, hidden_layer, weight_arguments, weight_parameters


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a model of convolution blocks; blocks stop pooling when the image has become too small to halve.

    Raises:
        SpaceError: The dataset's rows are no images.
    """
    import keras

    if len(spec.input_shape) != 3:
        raise SpaceError(f"space cnn needs images (height, width, channels), not rows of shape {spec.input_shape}")
    inputs, x = input_layers(spec)
    for block in config["blocks"]:
        x = _block(x, block, config)
    x = keras.layers.Flatten()(x) if config["pooling"] == "flatten" else keras.layers.GlobalAveragePooling2D()(x)
    x = hidden_layer(x, config["dense_units"], config["dense_dropout"], config)
    return keras.Model(inputs, output_layers(x, spec))


def _block(x: Any, block: dict[str, Any], config: dict[str, Any]) -> Any:
    import keras

    for _ in range(block["convolutions"]):
        x = keras.layers.Conv2D(
            block["filters"],
            config["kernel_size"],
            padding="same",
            use_bias=not config["batch_normalization"],
            **weight_arguments(config),
        )(x)
        x = activate(x, config)
    if min(x.shape[1:3]) >= 2:
        x = keras.layers.MaxPooling2D()(x)
    return keras.layers.Dropout(block["dropout"])(x) if block["dropout"] else x


space = SearchSpace(
    "cnn",
    [
        Repeat(
            "blocks",
            1,
            4,
            [
                Int("filters", 8, 128, log=True, default=32),
                Int("convolutions", 1, 2),
                Float("dropout", 0.0, 0.5, step=0.05, default=0.1),
            ],
            default=2,
        ),
        Choice("kernel_size", [3, 5]),
        Choice("pooling", ["flatten", "average"]),
        Int("dense_units", 16, 512, log=True, default=128),
        Float("dense_dropout", 0.0, 0.6, step=0.05, default=0.3),
        Choice("activation", ACTIVATIONS),
        Choice("batch_normalization", [True, False]),
        *weight_parameters(),
        *training_parameters(),
    ],
    build,
)
