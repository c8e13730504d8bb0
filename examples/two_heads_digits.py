"""One model, two outputs of different kinds: which digit it is, and how much ink was used.

python examples/two_heads_digits.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import automl
from automl import Choice, DatasetSpec, Float, Int, Repeat, SearchSpace, Task

HEADS = ("digit", "ink")


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return a model in which every output has hidden layers of its own.

    Ink is a sum of pixels and the digit is a shape: layers that both share would serve neither.
    """
    import keras

    inputs, x = automl.input_layers(spec)
    towers = []
    for output in spec.outputs:
        tower = keras.layers.Flatten()(x)
        for layer in config["hidden"]:
            tower = keras.layers.Dense(layer["units"], activation=config["activation"])(tower)
            if output.task is not Task.REGRESSION:  # the noise of dropout would be added to the value
                tower = keras.layers.Dropout(layer["dropout"])(tower)
        towers.append(tower)
    return keras.Model(inputs, automl.output_layers(towers, spec))


space = SearchSpace(
    "two-heads",
    [
        Repeat(
            "hidden",
            1,
            3,
            [Int("units", 32, 256, log=True, default=128), Float("dropout", 0.0, 0.5, step=0.05, default=0.2)],
            default=2,
        ),
        Choice("activation", ["relu", "elu", "silu"]),
        *automl.training_parameters(),
    ],
    build,
)


def search(heads: tuple[str, ...] = HEADS, **options: Any) -> automl.Result:
    """Search for one model of the given heads; options as for `automl.search`.

    An epoch of 1,149 images is 18 steps of 64: the default of 30 epochs would end before both heads have learned. Ink
    is the one of the two that a search improves most, so that it chooses.
    """
    images, digit = load_digits(return_X_y=True)
    targets: dict[str, np.ndarray] = {"digit": digit, "ink": images.mean(axis=1)}
    defaults: dict[str, Any] = {"epochs": 120, "patience": 20}
    if len(heads) > 1:
        defaults["objective"] = "val_ink_rmse"
    return automl.search((images, {head: targets[head] for head in heads}), space, **(defaults | options))


if __name__ == "__main__":
    result = search(trials=25, time="3m")
    final = result.record.final
    if final is not None:  # as always, unless it was asked for no finalists
        print({name: round(value, 4) for name, value in final.metrics.items()})
