"""One model, two outputs of different kinds: which digit it is, and how much ink was used.

python examples/two_heads_digits.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import automl

HEADS = ("digit", "ink")


def search(heads: tuple[str, ...] = HEADS, **options: Any) -> automl.Result:
    """Search for one model of the given heads; options as for `automl.search`.

    An epoch of 1,149 images is 18 steps of 64: the default of 30 epochs would end before both heads have learned.
    """
    images, digit = load_digits(return_X_y=True)
    targets: dict[str, np.ndarray] = {"digit": digit, "ink": images.mean(axis=1)}
    longer = {"epochs": 120, "patience": 20, **options}
    return automl.search((images, {head: targets[head] for head in heads}), "mlp", **longer)


if __name__ == "__main__":
    result = search(trials=25, time="3m")
    final = result.record.final
    if final is not None:  # as always, unless it was asked for no finalists
        print({name: round(value, 4) for name, value in final.metrics.items()})
