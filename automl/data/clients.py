"""Datasets of other collections, through their own clients: OpenML, TensorFlow Datasets, Hugging Face.

The clients are extras: imported when they are used, and asked for by name where they are missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from automl.data.python_objects import frame_dataset, stream_dataset
from automl.data.raw import GIVEN_SPLITS, Array, GivenSplit, RawDataset, hashed_parts, raw_from_arrays
from automl.data.tables import Roles
from automl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_TRAIN = "train"
_LABELS = ("label", "labels", "target")


def load_from_client(client: str, name: str, *, target: str | Sequence[str] | None, **roles: str | None) -> RawDataset:
    """Load a dataset of another collection.

    Args:
        client: One of `CLIENTS`.
        name: Its name or number there.
        target: Names of the target columns; the collection's own if None.
        roles: `group`, `time_column` and `sample_weight`, columns of a table or None.

    Raises:
        DataError: The client's package is missing, or it cannot get the dataset.
    """
    package, extra, fetch = _FETCH[client]
    module = _import(package, extra, client)
    try:
        return fetch(module, name, target, roles)
    except DataError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(
            f"{client}:{name} cannot be loaded; check the name, and that its server can be reached ({reason})"
        ) from error


def openml_dataset(
    name: str, frame: pd.DataFrame, default_target: str | None, target: str | Sequence[str] | None, **roles: str | None
) -> RawDataset:
    """Make a `RawDataset` of an OpenML table: features and targets in one frame, categories as such.

    Raises:
        DataError: Neither the table nor the user names a target.
    """
    chosen = target or default_target
    if not chosen:
        raise DataError(
            f"{name} names no target of its own; give --target COLUMN, one of: {', '.join(map(str, frame))}"
        )
    return frame_dataset(name, frame, Roles.parse(chosen, **roles))


def tfds_dataset(name: str, splits: Mapping[str, Iterable[tuple[Any, Any]]], labels: Sequence[str]) -> RawDataset:
    """Make a `RawDataset` of (x, y) rows of TensorFlow Datasets.

    Args:
        name: The dataset's name.
        splits: Its splits by name; `train` is needed, `validation` and `test` are given splits.
        labels: Names of the classes, where `y` are their numbers; otherwise empty.
    """
    parts = {
        split: stream_dataset(name, _named(splits[split], labels), batched=False)
        for split in (_TRAIN, *GIVEN_SPLITS)
        if split in splits
    }
    train = parts.pop(_TRAIN)
    return _with_splits(train, parts) if parts else train


def huggingface_dataset(
    name: str, splits: Mapping[str, Any], target: str | Sequence[str] | None, **roles: str | None
) -> RawDataset:
    """Make a `RawDataset` of a `DatasetDict`: a table, or images with a label.

    Args:
        name: The dataset's name.
        splits: Its splits by name; `train` is needed, `validation` and `test` are given splits.
        target: Names of the target columns; `label`, `labels` or `target` if None.
        roles: `group`, `time_column` and `sample_weight`, columns of a table or None.

    Raises:
        DataError: There are no training rows, or no target.
    """
    if _TRAIN not in splits:
        raise DataError(f"{name}: expected a split 'train', received {', '.join(splits) or 'none'}")
    columns = list(splits[_TRAIN].features)
    chosen = target or next((column for column in _LABELS if column in columns), None)
    if chosen is None:
        raise DataError(f"{name}: which column is the target? give --target COLUMN, one of: {', '.join(columns)}")
    given = {
        split: splits[split]
        for split in GIVEN_SPLITS
        if split in splits and not _is_held_back(splits[split], str(chosen))
    }
    images = [column for column, kind in splits[_TRAIN].features.items() if type(kind).__name__ == "Image"]
    if images:
        return _image_dataset(name, splits[_TRAIN], given, images[0], str(chosen))
    frames = {split: _named_frame(rows) for split, rows in given.items()}
    return frame_dataset(name, _named_frame(splits[_TRAIN]), Roles.parse(chosen, **roles), frames)


def _fetch_openml(
    module: Any, name: str, target: str | Sequence[str] | None, roles: Mapping[str, str | None]
) -> RawDataset:
    if not name.isdecimal():
        raise DataError(f"openml:{name}: expected the number of a dataset, such as openml:31, received {name!r}")
    dataset = module.datasets.get_dataset(int(name))
    frame, *_ = dataset.get_data()
    return openml_dataset(dataset.name, frame, dataset.default_target_attribute, target, **roles)


def _fetch_tfds(
    module: Any, name: str, target: str | Sequence[str] | None, roles: Mapping[str, str | None]
) -> RawDataset:
    _refuse_columns(f"tfds:{name}", target, roles)
    splits, info = module.load(name, as_supervised=True, with_info=True)
    if _TRAIN not in splits:
        raise DataError(f"tfds:{name}: expected a split 'train', received {', '.join(splits)}")
    labels = getattr(info.features[info.supervised_keys[1]], "names", None) or ()
    rows = {split: module.as_numpy(splits[split]) for split in (_TRAIN, *GIVEN_SPLITS) if split in splits}
    return tfds_dataset(name.replace("/", "-"), rows, labels)


def _fetch_huggingface(
    module: Any, name: str, target: str | Sequence[str] | None, roles: Mapping[str, str | None]
) -> RawDataset:
    return huggingface_dataset(name.replace("/", "-"), module.load_dataset(name), target, **roles)


_Fetch = Callable[[Any, str, Any, Mapping[str, str | None]], RawDataset]
_FETCH: Mapping[str, tuple[str, str, _Fetch]] = MappingProxyType(
    {
        "openml": ("openml", "openml", _fetch_openml),
        "tfds": ("tensorflow_datasets", "tfds", _fetch_tfds),
        "hf": ("datasets", "huggingface", _fetch_huggingface),
    }
)
CLIENTS = tuple(_FETCH)
"""Prefixes of names of datasets in other collections."""


def _import(package: str, extra: str, client: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"{client}: needs the package {package}; install it with: pip install 'keras-automl[{extra}]'"
        ) from error


def _refuse_columns(label: str, target: object, roles: Mapping[str, str | None]) -> None:
    for option, value in {"target": target, **roles}.items():
        if value:
            flag = f"--{option.replace('_', '-')}"
            raise DataError(f"{label}: {flag} names columns of a table, received {value!r}; leave it out")


def _named(rows: Iterable[tuple[Any, Any]], labels: Sequence[str]) -> Iterable[tuple[Any, Any]]:
    return ((x, np.str_(labels[int(y)]) if len(labels) else y) for x, y in rows)


def _with_splits(train: RawDataset, given: Mapping[str, RawDataset]) -> RawDataset:
    hashes = hashed_parts(train.content_hash, {split: one.content_hash for split, one in given.items()}, "")
    return dataclasses.replace(
        train,
        given={split: GivenSplit(rows=one.train, targets=one.targets) for split, one in given.items()},
        content_hash=hashlib.sha256("".join(hashes).encode()).hexdigest(),
    )


def _is_held_back(split: Any, label: str) -> bool:
    """Return True where a split has no labels: -1 for each of its classes, or no such column."""
    if label not in split.features:
        return "," not in label
    names = getattr(split.features[label], "names", None)
    return bool(names) and all(row == -1 for row in split[label])


def _named_frame(split: Any) -> pd.DataFrame:
    """Return a split as a frame, numbers of classes replaced by their names."""
    frame: pd.DataFrame = split.to_pandas()
    for column, kind in split.features.items():
        names = getattr(kind, "names", None)
        if names:
            frame[column] = frame[column].map(dict(enumerate(names)))
    return frame


def _image_dataset(name: str, train: Any, given: Mapping[str, Any], image: str, label: str) -> RawDataset:
    pairs = {split: _images_and_labels(name, rows, image, label) for split, rows in given.items()}
    return raw_from_arrays(name, *_images_and_labels(name, train, image, label), given=pairs, target=label)


def _images_and_labels(name: str, split: Any, image: str, label: str) -> tuple[Array, Array]:
    images = [np.asarray(row[image]) for row in split]
    shapes = sorted({one.shape for one in images})
    if len(shapes) > 1:
        raise DataError(f"{name}: expected images of one shape, received {shapes[:3]}; save them as a folder of images")
    names = getattr(split.features[label], "names", None)
    labels = [names[row] if names else row for row in split[label]]
    return np.stack(images), np.array(labels)
