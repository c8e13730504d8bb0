"""`resnet`: small residual networks for images (He et al., 2016, section 4.2), or their pre-activation variant."""

from __future__ import annotations

from typing import Any

from automl import Choice, DatasetSpec, Float, Int, SearchSpace, output_layers, side_by_side, training_parameters
from search_spaces.blocks import (
    AUGMENTATIONS,
    augment,
    drop,
    image_inputs,
    scaling_parameter,
    stem,
)


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return stages of residual blocks; each stage but the first halves the image and doubles the filters.

    Raises:
        SpaceError: The dataset's rows are no images.
    """
    import keras

    inputs, x, others = image_inputs(spec, "resnet", scaling=config["scaling"])
    filters = config["filters"]
    x = stem(augment(x, config["augmentation"]), filters)
    x = _activate(_convolution(x, filters, 1), config)
    for stage in range(config["stages"]):
        for index in range(config["blocks_per_stage"]):
            halve = stage > 0 and index == 0 and min(x.shape[1:3]) >= 2
            x = _residual_block(x, filters * 2**stage, 2 if halve else 1, config)
    x = _activate(x, config) if config["variant"] == "pre_activation" else x
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = drop(side_by_side([x, *others]), config["dropout"])
    return keras.Model(inputs, output_layers(x, spec))


def _residual_block(x: Any, filters: int, stride: int, config: dict[str, Any]) -> Any:
    """Return x plus what two convolutions make of it."""
    import keras

    if config["variant"] == "pre_activation":  # He et al., Identity Mappings, 2016, section 4.1
        y = _convolution(_activate(x, config), filters, stride)
        y = _convolution(_activate(y, config), filters, 1)
        return keras.layers.Add()([_shortcut(x, filters, stride), y])
    y = _activate(_convolution(x, filters, stride), config)
    y = keras.layers.BatchNormalization(momentum=0.9)(_convolution(y, filters, 1))
    return keras.layers.Activation(config["activation"])(keras.layers.Add()([_shortcut(x, filters, stride), y]))


def _shortcut(x: Any, filters: int, stride: int) -> Any:
    """Return x itself where it fits, otherwise a projection of it."""
    return x if stride == 1 and x.shape[-1] == filters else _convolution(x, filters, stride, size=1)


def _convolution(x: Any, filters: int, stride: int, *, size: int = 3) -> Any:
    import keras

    return keras.layers.Conv2D(
        filters, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)


def _activate(x: Any, config: dict[str, Any]) -> Any:
    import keras

    return keras.layers.Activation(config["activation"])(keras.layers.BatchNormalization(momentum=0.9)(x))


space = SearchSpace(
    "resnet",
    [
        Choice("variant", ["post_activation", "pre_activation"]),
        Int("filters", 8, 64, log=True, default=16),
        Int("stages", 2, 4, default=3),
        Int("blocks_per_stage", 1, 3, default=1),
        Choice("activation", ["relu", "elu", "gelu", "silu"]),
        Float("dropout", 0.0, 0.6, step=0.05, default=0.1),
        Choice("augmentation", AUGMENTATIONS, default="shift"),
        scaling_parameter(),
        *training_parameters(learning_rate=3e-3, batch_size=32),
    ],
    build,
)
