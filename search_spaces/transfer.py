"""`transfer`: a network that was trained on other images (`keras.applications`), with a new output layer.

Weights come from a local file, or (by the name `imagenet`) from the network: from Python with `transfer(weights=...)`,
on the command line with the environment variable `AUTOML_TRANSFER_WEIGHTS`. A file belongs to one base, which
`--set base=...` names. `random` starts without any training.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    InputKind,
    SearchSpace,
    SpaceError,
    output_layers,
    scale_input,
    side_by_side,
    training_parameters,
)
from search_spaces.blocks import AUGMENTATIONS, augment, drop, image_inputs

WEIGHTS_VARIABLE = "AUTOML_TRANSFER_WEIGHTS"
BASES = ["MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetV2B0", "ResNet50V2"]

_SYMMETRIC = ("MobileNetV2", "ResNet50V2")  # trained on pixels in [-1, 1]; the others' layers scale [0, 255] themselves
_PARTS_OF_BASE = {"frozen": 0.0, "last_fifth": 0.2, "last_half": 0.5, "all": 1.0}


def build(config: dict[str, Any], spec: DatasetSpec, *, weights: str | None = None) -> Any:
    """Return a base, frozen but for its last layers, averaged over the image, and a new output layer.

    Args:
        config: The config.
        spec: The dataset.
        weights: A file that `keras.Model.save_weights` wrote for the base without its top (as Keras's own downloads
            are), `"imagenet"`, or `"random"`; None asks the environment variable, then takes `imagenet`.

    Raises:
        SpaceError: The dataset's rows are no images, or there are no such weights.
    """
    import keras

    inputs, x, others = image_inputs(spec, "transfer")
    x = _as_pixels(augment(x, config["augmentation"]), spec, config)
    base = _base(config["base"], config["image_size"], weights or os.environ.get(WEIGHTS_VARIABLE) or "imagenet")
    _freeze(base, _PARTS_OF_BASE[config["trained_part"]])
    x = keras.layers.GlobalAveragePooling2D()(base(x))
    x = drop(side_by_side([x, *others]), config["dropout"])
    return keras.Model(inputs, output_layers(x, spec))


def transfer(*, weights: str | None = None, bases: list[str] | None = None) -> SearchSpace:
    """Return the space with weights of your own.

    Args:
        weights: As for `build`.
        bases: The bases to choose from; one of `BASES` where the weights are a file.
    """
    return SearchSpace(
        "transfer",
        [
            Choice("base", bases or BASES),
            Choice("trained_part", list(_PARTS_OF_BASE)),
            Choice("image_size", [96, 128, 160, 224]),
            Float("dropout", 0.0, 0.6, step=0.05, default=0.2),
            Choice("augmentation", AUGMENTATIONS, default="shift"),
            *training_parameters(),
        ],
        partial(build, weights=weights),
    )


def _as_pixels(x: Any, spec: DatasetSpec, config: dict[str, Any]) -> Any:
    """Return three channels of the size and range that the base was trained on."""
    import keras

    image = next(one for one in spec.inputs if one.kind is InputKind.IMAGE)
    x = _coloured(x if image.pixel_scale is not None else scale_input(x, image, "unit"))
    x = keras.layers.Resizing(config["image_size"], config["image_size"])(x)
    scale, offset = (2.0, -1.0) if config["base"] in _SYMMETRIC else (255.0, 0.0)
    return keras.layers.Rescaling(scale, offset)(x)


def _coloured(x: Any) -> Any:
    """Return three channels: grey three times, or colours without their transparency."""
    import keras

    return x[..., :3] if x.shape[-1] >= 3 else keras.layers.Concatenate()([x[..., :1]] * 3)


def _base(name: str, size: int, weights: str) -> Any:
    import keras

    make = getattr(keras.applications, name)
    if weights not in ("imagenet", "random"):
        return _with_weights(make(include_top=False, weights=None, input_shape=(size, size, 3)), name, Path(weights))
    try:
        return make(include_top=False, weights=None if weights == "random" else weights, input_shape=(size, size, 3))
    except Exception as error:
        raise SpaceError(
            f"cannot get the weights of {name} from the network ({type(error).__name__}): give a local file with "
            f"{WEIGHTS_VARIABLE}=FILE, or transfer(weights=FILE), or start without training by the name 'random'"
        ) from error


def _with_weights(base: Any, name: str, path: Path) -> Any:
    if not path.is_file():
        raise SpaceError(f"expected a file of weights of {name}, or 'imagenet' or 'random'; no such file: {path}")
    try:
        base.load_weights(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SpaceError(f"{path} does not hold the weights of {name} without its top: {reason}") from error
    return base


def _freeze(base: Any, trained_part: float) -> None:
    """Freeze all but the last part of a base, and then its batch normalisation, which small data would spoil."""
    import keras

    first_trained = round(len(base.layers) * (1 - trained_part))
    for index, layer in enumerate(base.layers if first_trained else []):
        layer.trainable = index >= first_trained and not isinstance(layer, keras.layers.BatchNormalization)


space = transfer()
