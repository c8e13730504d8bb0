"""Small prepared datasets, and keras in this very process: here it is what is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from automl.data import PreparedDataset, RawDataset, prepare, raw_from_arrays
from automl.data.raw import ArrayRows
from automl.dataset_spec import Column, ColumnKind


@pytest.fixture(scope="session", autouse=True)
def _keras(keras_here: None) -> None:
    """Every test here trains models."""


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


@pytest.fixture(scope="session")
def table(cache: Path) -> PreparedDataset:
    """A small table of every kind of column, with missing values; whether a row is `yes` can be learned."""
    return prepare(_people(400, "people"), task=None, split_seed=0, cache=cache)


@pytest.fixture(scope="session")
def reviews(cache: Path) -> PreparedDataset:
    """One column of text, two classes."""
    words = np.array(["good", "fine", "bad", "poor"])
    random = np.random.default_rng(4)
    y = np.arange(300) % 2
    texts = [" ".join(random.choice(words[2 * one : 2 * one + 2], size=5)) + ", film!" for one in y]
    raw = RawDataset(
        name="reviews",
        columns=(Column(name="text", kind=ColumnKind.TEXT),),
        is_array=False,
        train=ArrayRows({"text": np.array(texts, dtype=object)}),
        targets={"label": np.array(["neg", "pos"])[y]},
        content_hash="reviews",
    )
    return prepare(raw, task=None, split_seed=0, cache=cache)


@pytest.fixture(scope="session")
def two_heads(cache: Path) -> PreparedDataset:
    """Two outputs: a class of three, and a number."""
    x, y = load_digits(return_X_y=True)
    targets = {"digit": (y[:400] % 3).astype(str), "ink": 100 * x[:400].mean(axis=1)}
    return prepare(raw_from_arrays("heads", x[:400], targets), task=None, split_seed=0, cache=cache)


@pytest.fixture(scope="session")
def folded(cache: Path) -> PreparedDataset:
    """Three folds."""
    x, y = load_digits(return_X_y=True)
    return prepare(raw_from_arrays("folded", x[:300], y[:300]), task=None, split_seed=0, cache=cache, folds=3)


def _people(rows: int, name: str) -> RawDataset:
    random = np.random.default_rng(3)
    age = random.uniform(18, 90, size=rows)
    colour = np.array(["red", "green", "blue", ""], dtype=object)[random.integers(0, 4, size=rows)]
    arrays = {
        "age": np.where(random.uniform(size=rows) < 0.1, np.nan, age),
        "is member": (age > 50).astype(np.float64),
        "since": random.uniform(0, 20_000, size=rows),
        "colour/tint": colour,
        "note": np.array([f"note {number % 7} of a Person!" for number in range(rows)], dtype=object),
    }
    kinds = (ColumnKind.NUMBER, ColumnKind.BOOLEAN, ColumnKind.DATE, ColumnKind.CATEGORY, ColumnKind.TEXT)
    return RawDataset(
        name=name,
        columns=tuple(Column(name=column, kind=kind) for column, kind in zip(arrays, kinds, strict=True)),
        is_array=False,
        train=ArrayRows(arrays),
        targets={"answer": np.where((age > 50) ^ (colour == "red"), "yes", "no")},
        content_hash=name,
    )


@pytest.fixture
def set_seed() -> Callable[[int], None]:
    """Return what seeds weights and dropout, as a trial does."""
    import random

    def seed(number: int) -> None:
        random.seed(number)
        np.random.seed(number)

    return seed
