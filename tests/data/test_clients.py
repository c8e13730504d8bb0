from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from automl.data import load
from automl.data.clients import CLIENTS, huggingface_dataset, load_from_client, openml_dataset, tfds_dataset
from automl.errors import DataError

ROWS = 12
PACKAGES = {"openml": "openml", "tfds": "tensorflow_datasets", "hf": "datasets"}


@dataclass
class ClassLabel:
    names: list[str]


class Image:
    """The kind of a column of images."""


class Value:
    """The kind of another column."""


@dataclass
class Rows:
    """As much of a split of Hugging Face's datasets as is read."""

    columns: dict[str, list[Any]]
    features: dict[str, Any] = field(default_factory=dict)

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def __iter__(self) -> Any:
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True))


def _split(rows: int = ROWS, labels: list[int] | None = None, **columns: list[Any]) -> Rows:
    whole = {**columns, "label": labels or [row % 2 for row in range(rows)]}
    kinds = {name: Image() if name == "image" else Value() for name in columns}
    return Rows(whole, {**kinds, "label": ClassLabel(["bad", "good"])})


def _missing(client: str) -> bool:
    return importlib.util.find_spec(PACKAGES[client]) is None


@pytest.mark.parametrize("client", CLIENTS)
def test_a_missing_package_is_asked_for(client: str) -> None:
    if not _missing(client):
        pytest.skip(f"{PACKAGES[client]} is installed")
    with pytest.raises(DataError, match=rf"pip install 'keras-automl\[{'huggingface' if client == 'hf' else client}\]"):
        load(f"{client}:1")


@pytest.mark.parametrize("client", CLIENTS)
def test_what_a_client_raises_is_one_line(client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unreachable:
        def __getattr__(self, name: str) -> Any:
            raise ConnectionError("no\nroute to host")

    monkeypatch.setattr("automl.data.clients._import", lambda *_: Unreachable())
    with pytest.raises(DataError, match=r"can be reached \(ConnectionError: no route to host\)"):
        load_from_client(client, "1", target=None)


def test_options_that_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl.data.clients._import", lambda *_: None)
    for split in ("validation", "test"):
        with pytest.raises(DataError, match=f"--{split} does not go with hf:NAME"):
            load("hf:imdb", **{split: "x.csv"})
    with pytest.raises(DataError, match="--time-column names columns of a table"):
        load("tfds:mnist", time_column="t")
    with pytest.raises(DataError, match="expected the number of a dataset"):
        load("openml:adult")


def test_openml() -> None:
    frame = pd.DataFrame({"a": range(ROWS), "c": pd.Categorical(["u", "v"] * 6), "class": ["x", "y", "x"] * 4})
    raw = openml_dataset("tic-tac", frame, "class", None)
    assert ([str(column.kind) for column in raw.columns], list(raw.targets)) == (["number", "category"], ["class"])
    assert list(openml_dataset("tic-tac", frame, "class", "c", group="class").targets) == ["c"]
    with pytest.raises(DataError, match="names no target of its own"):
        openml_dataset("tic-tac", frame, None, None)


def test_tfds() -> None:
    images = np.arange(ROWS * 4, dtype=np.uint8).reshape(ROWS, 2, 2, 1)
    rows = [(image, np.int64(index % 2)) for index, image in enumerate(images)]
    raw = tfds_dataset("pets", {"train": rows, "test": rows[:3], "validation": rows[:4]}, ["cat", "dog"])
    assert (raw.row_shape, raw.pixel_scale, raw.train.count) == ((2, 2, 1), 255.0, ROWS)
    assert raw.targets["target"][:2].tolist() == ["cat", "dog"]
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 4, "test": 3}


def test_tfds_of_texts_and_numbers() -> None:
    raw = tfds_dataset("prices", {"train": [(f"text {row}".encode(), np.float32(row)) for row in range(ROWS)]}, ())
    assert [column.name for column in raw.columns] == ["text"]
    assert raw.targets["target"].dtype == np.float32


def test_huggingface_text() -> None:
    texts = [f"the film number {row} was long" for row in range(ROWS)]
    raw = huggingface_dataset("films", {"train": _split(text=texts), "test": _split(text=texts)}, None)
    assert [(column.name, str(column.kind)) for column in raw.columns] == [("text", "text")]
    assert raw.targets["label"][:2].tolist() == ["bad", "good"]
    assert "test" in raw.given


def test_a_huggingface_split_without_labels_is_left_out() -> None:
    texts = [f"the film number {row} was long" for row in range(ROWS)]
    hidden = _split(text=texts, labels=[-1] * ROWS)
    splits = {"train": _split(text=texts), "validation": _split(text=texts), "test": hidden}
    assert list(huggingface_dataset("films", splits, None).given) == ["validation"]


def test_huggingface_images() -> None:
    images = list(np.zeros((ROWS, 3, 4), np.uint8))
    raw = huggingface_dataset("pets", {"train": _split(image=images)}, None)
    assert (raw.row_shape, raw.targets["label"][1]) == ((3, 4), "good")
    uneven = _split(image=[*images[1:], np.zeros((3, 5), np.uint8)])
    with pytest.raises(DataError, match="images of one shape"):
        huggingface_dataset("pets", {"train": uneven}, None)


def test_huggingface_without_rows_or_target() -> None:
    with pytest.raises(DataError, match="expected a split 'train', received validation"):
        huggingface_dataset("films", {"validation": _split()}, None)
    with pytest.raises(DataError, match="give --target COLUMN, one of: a"):
        huggingface_dataset("films", {"train": Rows({"a": [1]}, {"a": Value()})}, None)
