"""What the ready-made spaces share: the knobs of a layer, and how they become Keras layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automl import Choice, DatasetSpec, Float, InputKind, Scaling, SpaceError, as_floats, input_tensors

ACTIVATIONS = ["relu", "elu", "gelu", "silu", "leaky_relu", "tanh", "sigmoid"]
INITIALIZERS = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "random_uniform",
    "random_normal",
]
AUGMENTATIONS = ["none", "shift", "flip_shift", "strong"]

_STEM_PIXELS = 64  # a side above which an image is halved before anything else looks at it


def weight_parameters(*, initializers: list[str] = INITIALIZERS) -> list[Choice | Float]:
    """Return the parameters of weights: initialiser, and which penalty with which strengths."""
    return [
        Choice("initializer", initializers),
        Choice("penalty", ["none", "l1", "l2", "l1_l2"]),
        Float("l1", 1e-7, 1e-2, log=True, default=1e-5, when={"penalty": ["l1", "l1_l2"]}),
        Float("l2", 1e-7, 1e-2, log=True, default=1e-5, when={"penalty": ["l2", "l1_l2"]}),
    ]


def scaling_parameter() -> Choice:
    """Return the parameter that says how numbers and pixels are scaled."""
    return Choice("scaling", [one.value for one in Scaling])


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
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.layers.Activation(config["activation"])(x)


def hidden_layer(x: Any, units: int, dropout: float, config: Mapping[str, Any]) -> Any:
    """Return dense, normalisation, activation, dropout."""
    import keras

    use_bias = not config["batch_normalization"]  # batch normalisation brings an offset of its own
    x = keras.layers.Dense(units, use_bias=use_bias, **weight_arguments(config))(x)
    return drop(activate(x, config), dropout)


def drop(x: Any, rate: float) -> Any:
    """Return dropout where there is any."""
    import keras

    return keras.layers.Dropout(rate)(x) if rate else x


def image_inputs(spec: DatasetSpec, space: str, *, scaling: str | None = None) -> tuple[Any, Any, list[Any]]:
    """Return the model's inputs, the image among them, and whatever else there is as vectors.

    Args:
        spec: The dataset.
        space: The asking space's name, for the message.
        scaling: How pixels are scaled; None leaves them as they are encoded.

    Raises:
        SpaceError: The dataset has no image, or several.
    """
    kinds = [one.kind for one in spec.inputs]
    if kinds.count(InputKind.IMAGE) != 1:
        found = ", ".join(f"{one.kind.value} of shape {one.shape}" for one in spec.inputs)
        raise SpaceError(f"space {space} needs images (height, width, channels), received {found}")
    inputs, tensors = input_tensors(spec)
    where = kinds.index(InputKind.IMAGE)
    image = as_floats(tensors[where], spec.inputs[where], scaling=scaling)
    others = [as_floats(x, one) for x, one in zip(tensors, spec.inputs, strict=True) if one.kind != InputKind.IMAGE]
    return inputs, image, others


def augment(x: Any, how: str) -> Any:
    """Return images that training sees differently every time, and prediction as they are.

    `shift`: by up to a tenth; `flip_shift`: mirrored too; `strong`: turned and zoomed too.
    """
    import keras

    if how in ("flip_shift", "strong"):
        x = keras.layers.RandomFlip("horizontal")(x)
    if how == "strong":
        x = keras.layers.RandomRotation(0.05)(x)
        x = keras.layers.RandomZoom(0.1)(x)
    return x if how == "none" else keras.layers.RandomTranslation(0.1, 0.1)(x)


def stem(x: Any, filters: int) -> Any:
    """Return large images halved by convolutions until later layers can afford them; small ones as they are."""
    import keras

    while min(x.shape[1:3]) > _STEM_PIXELS:
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.Activation("relu")(x)
    return x
