"""Datasets that come with scikit-learn, or that keras.datasets fetches, by name."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from automl.data.raw import Array, RawDataset, raw_from_arrays
from automl.data.texts import TEXT_COLUMN, text_dataset
from automl.dataset_spec import Task
from automl.errors import DataError

_log = logging.getLogger(__name__)

_DIGITS_SCALE = 16.0  # load_digits counts the inked pixels of 4 x 4 blocks


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is known of a built-in dataset without loading it.

    Attributes:
        name: Its name.
        description: One line for people.
        task: What is predicted.
        rows: All rows, a given test split included.
        needs_network: True when the first use downloads it.
    """

    name: str
    description: str
    task: Task
    rows: int
    needs_network: bool = False


def _info(name: str, task: Task, rows: int, description: str, *, needs_network: bool = False) -> DatasetInfo:
    return DatasetInfo(name=name, description=description, task=task, rows=rows, needs_network=needs_network)


_BUILT_IN = (
    _info("digits", Task.MULTICLASS, 1797, "handwritten digits, 8 x 8 pixels"),
    _info("iris", Task.MULTICLASS, 150, "three species by four measures"),
    _info("wine", Task.MULTICLASS, 178, "three growers by 13 analyses"),
    _info("breast_cancer", Task.BINARY, 569, "tumours by 30 measures of cells"),
    _info("diabetes", Task.REGRESSION, 442, "progression after a year, 10 measures"),
    _info("mnist", Task.MULTICLASS, 70_000, "handwritten digits, 28 x 28 pixels", needs_network=True),
    _info("fashion_mnist", Task.MULTICLASS, 70_000, "clothes, 28 x 28 pixels", needs_network=True),
    _info("cifar10", Task.MULTICLASS, 60_000, "ten kinds of things, 32 x 32 pixels in colour", needs_network=True),
    _info("cifar100", Task.MULTICLASS, 60_000, "100 kinds of things, 32 x 32 pixels in colour", needs_network=True),
    _info("imdb", Task.BINARY, 50_000, "film reviews, good or bad, as text", needs_network=True),
    _info("reuters", Task.MULTICLASS, 11_228, "news in 46 topics, as text", needs_network=True),
    _info("california_housing", Task.REGRESSION, 20_640, "house prices by 8 measures", needs_network=True),
    _info("boston_housing", Task.REGRESSION, 506, "house prices by 13 measures", needs_network=True),
)
_KNOWN: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _BUILT_IN})


def known_datasets() -> Mapping[str, DatasetInfo]:
    """Return every built-in dataset by name.

    Example:
        >>> known_datasets()["iris"].rows
        150
    """
    return _KNOWN


def load_built_in(name: str) -> RawDataset:
    """Load one of `known_datasets`.

    Raises:
        DataError: It needs the network, and there is none.
    """
    return _load_from_keras(name) if _KNOWN[name].needs_network else _load_from_sklearn(name)


def _load_from_sklearn(name: str) -> RawDataset:
    from sklearn import datasets

    # unless asked otherwise, diabetes comes scaled by the statistics of all its rows, test rows among them
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    y = np.asarray(bunch.target)
    if name in ("iris", "wine", "breast_cancer"):
        y = np.asarray(bunch.target_names, dtype=np.str_)[y]
    columns = tuple(str(column) for column in bunch.feature_names)
    scale = _DIGITS_SCALE if name == "digits" else None
    return raw_from_arrays(name, np.asarray(bunch.data), y, columns=columns, pixel_scale=scale)


def _load_from_keras(name: str) -> RawDataset:
    with tempfile.TemporaryDirectory(prefix="automl-") as folder:
        out = Path(folder) / f"{name}.npz"
        command = [sys.executable, "-m", "automl.data.keras_loader", name, str(out)]
        environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        _log.info("loading %s through keras.datasets", name)
        child = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        if child.returncode:
            raise _no_keras_dataset(name, child.stderr)
        with np.load(out, allow_pickle=False) as archive:
            arrays = dict(archive)
    return keras_dataset(name, arrays)


def keras_dataset(name: str, arrays: Mapping[str, Array]) -> RawDataset:
    """Make a `RawDataset` of what `keras_loader` saved: arrays, or texts as the bytes of their lines."""
    y_train, y_test = arrays["y_train"], arrays["y_test"]
    if "text_train" not in arrays:
        return raw_from_arrays(name, arrays["x_train"], y_train, given={"test": (arrays["x_test"], y_test)})
    train, test = (_lines(arrays[f"text_{part}"]) for part in ("train", "test"))
    given = {"test": ({TEXT_COLUMN: test}, {"target": y_test})}
    return text_dataset(name, {TEXT_COLUMN: train}, {"target": y_train}, given=given)


def _lines(saved: Array) -> Array:
    return np.array(saved.tobytes().decode("utf-8").split("\n"), dtype=object)


def _no_keras_dataset(name: str, stderr: str) -> DataError:
    _log.debug("loading %s failed:\n%s", name, stderr)
    reason = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "no reason given")
    return DataError(
        f"dataset {name!r} needs the network once or the cached file in ~/.keras/datasets; or give a path to "
        f"an .npz (received: {reason[:200]})"
    )
