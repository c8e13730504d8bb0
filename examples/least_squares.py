"""Ordinary least squares by gradient descent: ten points, one feature, and the line that numpy finds for the same rows.

python examples/least_squares.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

import automl
from automl.data import PreparedDataset

POINTS = 10


def points(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return x of shape (10, 1) and y of shape (10,) around the line 3 x + 7."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 10, size=(POINTS, 1))
    return x, 3 * x[:, 0] + 7 + random.normal(0, 1, size=POINTS)


def search(**options: Any) -> automl.Result:
    """Fit a line; all that is searched is how to step. The epoch with the smallest training loss counts."""
    plain = {"penalty": "none", "batch_normalization": False, "batch_size": 32, "optimizer": "adam"}
    plain |= {"learning_rate_schedule": "cosine", "learning_rate": (1e-2, 5e-2)}
    chosen = {"objective": "loss", "epochs": 1000, "patience": 0, "scheduler": "none", "narrow": plain, **options}
    return automl.search(points(), "linear", **chosen)


def lines(result: automl.Result, datasets: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return slope and intercept of the model, and those of numpy's least squares on the rows that it was trained on.

    Args:
        result: What `search` returned.
        datasets: Folder of prepared datasets in the home folder.
    """
    at_zero, at_one = result.model().predict(np.array([[0.0], [1.0]]), verbose=0)[:, 0]
    prepared = PreparedDataset.open(datasets / result.record.dataset.fingerprint)
    final, input_spec, output = result.record.final, prepared.spec.inputs[0], prepared.spec.output
    train = prepared.unsealed() if final is not None and final.is_refit else prepared.split("train")
    x = np.asarray(train.inputs[0])[:, 0] * input_spec.deviation[0] + input_spec.mean[0]
    y = np.asarray(train.outputs[0])[:, 0] * output.scale[0] + output.offset[0]
    slope, intercept = np.polyfit(x, y, 1)
    return (float(at_one - at_zero), float(at_zero)), (float(slope), float(intercept))


if __name__ == "__main__":
    from automl.home import Home

    ours, numpys = lines(search(trials=3), Home().datasets)
    print(f"gradient descent: {ours[0]:.4f} x + {ours[1]:.4f}; least squares: {numpys[0]:.4f} x + {numpys[1]:.4f}")
