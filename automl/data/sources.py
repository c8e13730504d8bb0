"""Where datasets come from: built-in names and files. `load` gives a `RawDataset`, not split or encoded."""

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
from typing import Any

import numpy as np

from automl.data.files import check_file, hash_file, listing, read_csv, read_npz
from automl.data.raw import Array, RawDataset, raw_from_arrays
from automl.dataset_spec import Task
from automl.errors import DataError, UnknownNameError

_log = logging.getLogger(__name__)

_SUFFIXES = (".csv", ".npz")
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


_BUILT_IN = (
    DatasetInfo(name="digits", description="handwritten digits, 8 x 8 pixels", task=Task.MULTICLASS, rows=1797),
    DatasetInfo(name="iris", description="three species by four measures", task=Task.MULTICLASS, rows=150),
    DatasetInfo(name="wine", description="three growers by 13 analyses", task=Task.MULTICLASS, rows=178),
    DatasetInfo(name="breast_cancer", description="tumours by 30 measures of cells", task=Task.BINARY, rows=569),
    DatasetInfo(name="diabetes", description="progression after a year, 10 measures", task=Task.REGRESSION, rows=442),
    DatasetInfo(
        name="mnist",
        description="handwritten digits, 28 x 28 pixels",
        task=Task.MULTICLASS,
        rows=70_000,
        needs_network=True,
    ),
    DatasetInfo(
        name="fashion_mnist",
        description="clothes, 28 x 28 pixels",
        task=Task.MULTICLASS,
        rows=70_000,
        needs_network=True,
    ),
    DatasetInfo(
        name="cifar10",
        description="ten kinds of things, 32 x 32 pixels in colour",
        task=Task.MULTICLASS,
        rows=60_000,
        needs_network=True,
    ),
)
_KNOWN: Mapping[str, DatasetInfo] = MappingProxyType({info.name: info for info in _BUILT_IN})


def known_datasets() -> Mapping[str, DatasetInfo]:
    """Return every built-in dataset by name.

    Example:
        >>> known_datasets()["iris"].rows
        150
    """
    return _KNOWN


def load(source: str, *, target: str | None = None, test: str | None = None) -> RawDataset:
    """Load a dataset from a built-in name, an .npz file or a numeric .csv file.

    Args:
        source: A name of `known_datasets()`, or the path of a file; a file's dataset is named by its stem. An
            .npz file has `x_train` and `y_train`, and perhaps `x_test` and `y_test`; a .csv file has a header
            line.
        target: Name of the target column; for .csv files only, and needed there.
        test: Path of a file of the same kind whose rows are the test split. Of an .npz file these are
            `x_test` and `y_test` where it has them, otherwise `x_train` and `y_train`.

    Raises:
        UnknownNameError: There is no such dataset, or no such target column.
        DataError: The file is missing or malformed, or does not fit the other arguments.

    Example:
        >>> load("iris").x_train.shape
        (150, 4)
    """
    if source in _KNOWN:
        _refuse_file_options(source, target=target, test=test)
        return _load_from_keras(source) if _KNOWN[source].needs_network else _load_from_sklearn(source)
    path = _as_path(source)
    if path.suffix.lower() == ".csv":
        return _load_csv(path, target, None if test is None else _as_test_path(test, like=path))
    if target is not None:
        raise DataError(
            f"{path}: --target names a column of a .csv file, received {target!r} for an .npz; leave it out"
        )
    return _load_npz(path, None if test is None else _as_test_path(test, like=path))


def _refuse_file_options(name: str, *, target: str | None, test: str | None) -> None:
    for option, value in (("--target", target), ("--test", test)):
        if value is not None:
            raise DataError(f"{option} goes with a file, received {value!r} for the built-in {name!r}; leave it out")


def _as_path(source: str) -> Path:
    path = Path(source).expanduser()
    looks_like_path = bool(path.suffix) or path.name != source or path.exists()
    if not source or not looks_like_path:
        raise UnknownNameError("dataset", source, _KNOWN, also="or a path to a .npz or .csv file")
    check_file(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise DataError(f"{path}: expected a .npz or .csv file, received {path.suffix or 'no extension'}; convert it")
    return path


def _as_test_path(test: str, *, like: Path) -> Path:
    path = Path(test).expanduser()
    check_file(path)
    if path.suffix.lower() != like.suffix.lower():
        raise DataError(f"--test: expected a {like.suffix.lower()} file like the training data, received {test!r}")
    return path


def _load_npz(path: Path, test: Path | None) -> RawDataset:
    arrays = read_npz(path)
    x_test, y_test = arrays.get("x_test"), arrays.get("y_test")
    if test is not None:
        if x_test is not None or y_test is not None:
            raise DataError(
                f"{path} has a test split of its own (x_test, y_test); leave out --test, or drop that split"
            )
        x_test, y_test = _test_arrays(read_npz(test))
    return raw_from_arrays(path.stem, arrays["x_train"], arrays["y_train"], x_test, y_test, **_identity(path, test))


def _test_arrays(arrays: Mapping[str, Array]) -> tuple[Array | None, Array | None]:
    part = "test" if "x_test" in arrays or "y_test" in arrays else "train"
    return arrays.get(f"x_{part}"), arrays.get(f"y_{part}")


def _load_csv(path: Path, target: str | None, test: Path | None) -> RawDataset:
    table = read_csv(path, target=target)
    x_test = y_test = None
    if test is not None:
        other = read_csv(test, target=target)
        _check_same_columns(test, other.columns, table.columns)
        x_test = other.x[:, [other.columns.index(name) for name in table.columns]]
        y_test = other.y
    return raw_from_arrays(
        path.stem,
        table.x,
        table.y,
        x_test,
        y_test,
        columns=table.columns,
        target=str(target),
        **_identity(path, test),
    )


def _check_same_columns(test: Path, received: tuple[str, ...], expected: tuple[str, ...]) -> None:
    missing = [name for name in expected if name not in received]
    extra = [name for name in received if name not in expected]
    if missing or extra:
        found = [f"lacks {listing(missing, most=3)}"] * bool(missing) + [f"adds {listing(extra, most=3)}"] * bool(extra)
        raise DataError(f"{test}: expected the columns of the training file, but it {' and '.join(found)}")


def _identity(path: Path, test: Path | None) -> dict[str, Any]:
    """Return the hashes of both files as arguments of `raw_from_arrays`."""
    content_hash = hash_file(path)
    test_hash = "" if test is None else hash_file(test)
    if content_hash == test_hash:
        raise DataError(f"--test {test} is the training file itself; expected other rows, or leave out --test")
    return {"content_hash": content_hash, "test_hash": test_hash}


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
        arrays = read_npz(out)
    return raw_from_arrays(name, arrays["x_train"], arrays["y_train"], arrays["x_test"], arrays["y_test"])


def _no_keras_dataset(name: str, stderr: str) -> DataError:
    _log.debug("loading %s failed:\n%s", name, stderr)
    reason = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "no reason given")
    return DataError(
        f"dataset {name!r} needs the network once or the cached file in ~/.keras/datasets; or give a path to "
        f"an .npz (received: {reason[:200]})"
    )
