"""Keras in this very process, on one thread, and small prepared datasets.

The other folders' tests keep keras out of the process; here it is what is tested.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from automl.data import PreparedDataset, prepare, raw_from_arrays


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
        import keras  # noqa: F401


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="session")
def digits(cache: Path) -> PreparedDataset:
    x, y = load_digits(return_X_y=True)
    return prepare(raw_from_arrays("digits", x[:600], y[:600]), task=None, split_seed=0, cache=cache)


@pytest.fixture(scope="session")
def grey(cache: Path) -> PreparedDataset:
    """uint8 images of two classes."""
    random = np.random.default_rng(1)
    y = np.arange(200) % 2
    x = random.integers(0, 200, size=(200, 6, 5), dtype=np.uint8) + 40 * y[:, None, None].astype(np.uint8)
    return prepare(raw_from_arrays("grey", x, y), task=None, split_seed=0, cache=cache)


@pytest.fixture(scope="session")
def prices(cache: Path) -> PreparedDataset:
    """Two targets in units far from 1."""
    random = np.random.default_rng(2)
    x = random.normal(5.0, 3.0, size=(300, 4))
    y = np.stack([1000 + 100 * x[:, 0], -3 + 0.01 * x[:, 1]], axis=1)
    return prepare(raw_from_arrays("prices", x, y), task=None, split_seed=0, cache=cache)


@pytest.fixture
def set_seed() -> Callable[[int], None]:
    """Return what seeds weights and dropout, as a trial does."""
    import random

    def seed(number: int) -> None:
        random.seed(number)
        np.random.seed(number)

    return seed
