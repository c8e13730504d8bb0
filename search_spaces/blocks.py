"""What the ready-made spaces share: the knobs of a layer, and how they become Keras layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl import Choice, Float

ACTIVATIONS = ["relu", "elu", "gelu", "silu", "leaky_relu", "tanh", "sigmoid"]
INITIALIZERS = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "random_uniform",
    "random_normal",
]


def weight_parameters() -> list[Choice | Float]:
    """Return the parameters of weights: initialiser, and which penalty with which strengths."""
    return [
        Choice("initializer", INITIALIZERS),
        Choice("penalty", ["none", "l1", "l2", "l1_l2"]),
        Float("l1", 1e-7, 1e-2, log=True, default=1e-5, when={"penalty": ["l1", "l1_l2"]}),
        Float("l2", 1e-7, 1e-2, log=True, default=1e-5, when={"penalty": ["l2", "l1_l2"]}),
    ]


def weight_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fresh initialiser and penalty, as arguments of one Keras layer."""
    import keras

    penalty = keras.regularizers.L1L2(l1=config.get("l1", 0.0), l2=config.get("l2", 0.0))
    return {
        "kernel_initializer": config["initializer"],
        "kernel_regularizer": penalty if config["penalty"] != "none" else None,
    }


def activate(x: Any, config: Mapping[str, Any]) -> Any:
    """Normalise (where wanted), then activate: the order of Ioffe and Szegedy, 2015, section 3.2."""
    import keras

    if config["batch_normalization"]:
        x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation(config["activation"])(x)


def hidden_layer(x: Any, units: int, dropout: float, config: Mapping[str, Any]) -> Any:
    """Return dense, normalisation, activation, dropout."""
    import keras

    use_bias = not config["batch_normalization"]  # batch normalisation brings an offset of its own
    x = keras.layers.Dense(units, use_bias=use_bias, **weight_arguments(config))(x)
    x = activate(x, config)
    return keras.layers.Dropout(dropout)(x) if dropout else x
