"""Three labels of one image at once: is the digit even, above four, a prime?

python examples/multilabel_digits.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import automl


def search(**options: Any) -> automl.Result:
    """Search for one model of all three labels; options as for `automl.search`."""
    images, digit = load_digits(return_X_y=True)
    labels = {"even": digit % 2 == 0, "above_four": digit > 4, "prime": np.isin(digit, [2, 3, 5, 7])}
    return automl.search((images, labels), "mlp", **options)


if __name__ == "__main__":
    result = search(trials=25, time="3m")
    final = result.record.final
    if final is not None:  # as always, unless it was asked for no finalists
        for label in result.record.dataset.output.labels:
            print(f"{label}: accuracy {final.metrics[f'accuracy_{label}']:.4f} on sealed rows")
