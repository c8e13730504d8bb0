"""`cnn`: blocks of convolutions and pooling, then a dense layer. For images, with or without other inputs beside."""

from __future__ import annotations

from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    Int,
    Repeat,
    SearchSpace,
    output_layers,
    side_by_side,
    training_parameters,
)
from search_spaces.blocks import (
    ACTIVATIONS,
    AUGMENTATIONS,
    activate,
    augment,
    drop,
    hidden_layer,
    image_inputs,
    scaling_parameter,
    stem,
    weight_arguments,
    weight_parameters,
)


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a model of convolution blocks; blocks stop pooling when the image has become too small to halve.

    From block to block, filters are multiplied by `filter_growth`: maps shrink to a quarter, so wide ones cost little.

    Raises:
        SpaceError: The dataset's rows are no images.
    """
    import keras

    inputs, x, others = image_inputs(spec, "cnn", scaling=config["scaling"])
    x = stem(augment(x, config["augmentation"]), config["blocks"][0]["filters"])
    for index, block in enumerate(config["blocks"]):
        filters = round(block["filters"] * config["filter_growth"] ** index)
        x = _block(x, block, filters, config)
    x = keras.layers.Flatten()(x) if config["pooling"] == "flatten" else keras.layers.GlobalAveragePooling2D()(x)
    x = hidden_layer(side_by_side([x, *others]), config["dense_units"], config["dense_dropout"], config)
    return keras.Model(inputs, output_layers(x, spec))


def _block(x: Any, block: dict[str, Any], filters: int, config: dict[str, Any]) -> Any:
    import keras

    for _ in range(block["convolutions"]):
        x = activate(_convolution(x, filters, config), config)
    if min(x.shape[1:3]) >= 2:
        x = keras.layers.MaxPooling2D()(x)
    return drop(x, block["dropout"])


def _convolution(x: Any, filters: int, config: dict[str, Any]) -> Any:
    import keras

    arguments = {"padding": "same", "use_bias": not config["batch_normalization"]}
    weights = weight_arguments(config)
    if config["convolution"] == "full":
        return keras.layers.Conv2D(filters, config["kernel_size"], **arguments, **weights)(x)
    parts = {
        "depthwise_initializer": weights["kernel_initializer"],
        "pointwise_initializer": weights["kernel_initializer"],
        "pointwise_regularizer": weights["kernel_regularizer"],  # the depthwise part has hardly any weights
    }
    return keras.layers.SeparableConv2D(filters, config["kernel_size"], **arguments, **parts)(x)


space = SearchSpace(
    "cnn",
    [
        Repeat(
            "blocks",
            1,
            4,
            [
                Int("filters", 8, 96, log=True, default=32),
                Int("convolutions", 1, 2, default=1),
                Float("dropout", 0.0, 0.5, step=0.05, default=0.1),
            ],
            default=3,
        ),
        Choice("filter_growth", [1.0, 1.5, 2.0], default=2.0),
        Choice("kernel_size", [3, 5]),
        Choice("convolution", ["full", "separable"]),
        Choice("pooling", ["flatten", "average"]),
        Int("dense_units", 16, 512, log=True, default=128),
        Float("dense_dropout", 0.0, 0.6, step=0.05, default=0.3),
        Choice("activation", ACTIVATIONS),
        Choice("batch_normalization", [True, False]),
        Choice("augmentation", AUGMENTATIONS),  # it pays late: after many epochs, or on few images
        scaling_parameter(),
        *weight_parameters(),
        *training_parameters(learning_rate=2e-3),
    ],
    build,
)
