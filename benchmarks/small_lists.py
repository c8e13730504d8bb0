"""The small trials: dense networks on scikit-learn's digits, and convolutions on 5,000 images of CIFAR-10.

The lists of configs are those that the peers' script `small_trials.py` draws.
"""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from automl import Choice, DatasetSpec, Float, SearchSpace, input_layers, output_layers

Arrays = tuple[npt.NDArray[Any], ...]

_TRIALS = {"digits": 40, "conv": 8}
_PARAMETERS = {"digits": ("layers",), "conv": ("blocks", "filters")}


def configs(kind: str) -> list[dict[str, Any]]:
    """Return the configs of the trials on `digits` or `conv`, in order."""
    draw = random.Random(3)
    drawn = [
        {
            "blocks": draw.choice([1, 2, 3]),
            "filters": draw.choice([16, 32]),
            "layers": draw.choice([1, 2, 3]),
            "units": draw.choice([32, 64, 128, 256]),
            "dropout": draw.choice([0.0, 0.2, 0.4]),
            "learning_rate": 10 ** draw.uniform(-4, -2),
            "batch_size": draw.choice([32, 64, 128]),
        }
        for _ in range(_TRIALS[kind])
    ]
    active = (*_PARAMETERS[kind], "units", "dropout", "learning_rate", "batch_size")
    return [{name: config[name] for name in active} for config in drawn]


def build_dense(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return the dense network that the peers build by hand."""
    import keras

    inputs, x = input_layers(spec)
    for _ in range(config["layers"]):
        x = keras.layers.Dense(config["units"], activation="relu")(x)
        x = keras.layers.Dropout(config["dropout"])(x)
    return keras.Model(inputs, output_layers(x, spec))


def build_convolutional(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return the convolutional network that the peers build by hand."""
    import keras

    inputs, x = input_layers(spec)
    for block in range(config["blocks"]):
        x = keras.layers.Conv2D(config["filters"] * 2**block, 3, padding="same", activation="relu")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(config["units"], activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(config["dropout"])(x)
    return keras.Model(inputs, output_layers(x, spec))


_SHARED: list[Choice | Float] = [
    Choice("units", [32, 64, 128, 256]),
    Choice("dropout", [0.0, 0.2, 0.4]),
    Float("learning_rate", 1e-4, 1e-2, log=True),
    Choice("batch_size", [32, 64, 128]),
]

SPACES = {
    "digits": SearchSpace("small_dense", [Choice("layers", [1, 2, 3]), *_SHARED], build_dense),
    "conv": SearchSpace(
        "small_convolutional", [Choice("blocks", [1, 2, 3]), Choice("filters", [16, 32]), *_SHARED], build_convolutional
    ),
}


def digits_rows() -> Arrays:
    """Return (x, y, x_test, y_test): of x, shape (1797, 64), 1,437 rows train and 360 validate, as at the peers.

    The test rows are there only so that none are taken from x; the benchmark looks at none.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = (bunch.data / 16).astype("float32"), bunch.target.astype("int32")
    return x, y, x[:100], y[:100]


def image_rows(archive: Path) -> Arrays:
    """Return (x, y, x_test, y_test): of x, shape (6250, 32, 32, 3), 5,000 images train, as at the peers.

    A search validates on a fifth of what it is given. To train on as many rows as the peers, which validate on
    1,000 images, it is given all 6,000 and 250 of them mirrored, and so validates on 1,250. The test rows are there
    only so that none are taken from x; the benchmark looks at none.
    """
    from PIL import Image

    with zipfile.ZipFile(archive) as zipped:
        names = sorted(zipped.namelist())
        classes = sorted({name.split("/")[2] for name in names})
        x = np.stack([np.asarray(Image.open(io.BytesIO(zipped.read(name)))) for name in names])
    y = np.array([classes.index(name.split("/")[2]) for name in names], "int32")
    again = np.random.default_rng(0).choice(len(x), 250, replace=False)
    return np.concatenate([x, x[again, :, ::-1]]), np.concatenate([y, y[again]]), x[:100], y[:100]
