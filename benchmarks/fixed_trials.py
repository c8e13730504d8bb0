"""The fixed trials that all systems under test run, and the space of their real searches: dense networks on images."""

from __future__ import annotations

import random
from typing import Any

from automl import Choice, DatasetSpec, Float, Int, SearchSpace, input_layers, output_layers


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return the network that the peers build by hand."""
    import keras

    inputs, x = input_layers(spec)
    x = keras.layers.Flatten()(x)
    for _ in range(config["layers"]):
        x = keras.layers.Dense(config["units"], activation=config["activation"])(x)
        if config["dropout"]:
            x = keras.layers.Dropout(config["dropout"])(x)
    return keras.Model(inputs, output_layers(x, spec))


space = SearchSpace(
    "fixed",
    [
        Choice("layers", [1, 2, 3]),
        Choice("units", [32, 64, 128, 256, 512]),
        Choice("dropout", [0.0, 0.1, 0.2, 0.3, 0.5]),
        Choice("activation", ["relu", "tanh", "elu"]),
        Choice("optimizer", ["sgd", "rmsprop", "adam"]),
        Float("learning_rate", 1e-4, 10**-1.5, log=True),
        Choice("batch_size", [32, 64, 128, 256]),
    ],
    build,
)

"""Every config that `configs` can draw."""

searched_space = SearchSpace(
    "searched",
    [
        Int("layers", 1, 3),
        Int("units", 32, 512, log=True),
        Float("dropout", 0.0, 0.5),
        Choice("activation", ["relu", "tanh", "elu"]),
        Choice("optimizer", ["sgd", "rmsprop", "adam"]),
        Float("learning_rate", 1e-4, 10**-1.5, log=True),
        Choice("batch_size", [32, 64, 128, 256]),
    ],
    build,
)
"""The space that the peers search in `peers_time_to_target.py`."""


def configs(count: int, seed: int) -> list[dict[str, Any]]:
    """Return the list of configs that the peers' scripts draw from the same seed."""
    draw = random.Random(seed)
    return [
        {
            "layers": draw.choice([1, 2, 3]),
            "units": draw.choice([32, 64, 128, 256, 512]),
            "dropout": draw.choice([0.0, 0.1, 0.2, 0.3, 0.5]),
            "activation": draw.choice(["relu", "tanh", "elu"]),
            "optimizer": draw.choice(["sgd", "rmsprop", "adam"]),
            "learning_rate": 10 ** draw.uniform(-4, -1.5),
            "batch_size": draw.choice([32, 64, 128, 256]),
        }
        for _ in range(count)
    ]
