"""`PreparedDataset`: a dataset split, encoded and cached, as memory-mapped arrays that all workers share."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from automl.data.encoding import Encoding, encoding_from_json
from automl.data.joined import JoinedArray, MappedArray
from automl.data.model_rows import ModelRows, to_model_rows
from automl.data.raw import Array, Batch
from automl.data.splits import Rows, fold_rows
from automl.dataset_spec import DatasetSpec
from automl.errors import DataError, RequestError

StoredArray: TypeAlias = MappedArray | JoinedArray

FORMAT_VERSION = 4
"""Raise it when files change form, or rows are encoded in another way: what is cached is then prepared again."""

SPEC_FILE = "spec.json"
ENCODING_FILE = "encoding.json"
EXAMPLE_FILE = "raw_example.npz"
ROWS_FILE = "rows.npz"
FOLDS_FILE = "folds.npy"
WEIGHTS_FILE = "weights.npy"
UNSEALED_WEIGHTS_FILE = "unsealed_weights.npy"
TEST_FOLDER = "test"


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split of a dataset, opened for reading.

    Attributes:
        inputs: One array an input, shape (all rows, *shape); float32, or int32 for categories and text.
        outputs: One array an output: multiclass (all rows,) int32; binary (all rows, 1), multilabel and regression
            (all rows, units) float32.
        weights: Weights of the rows in the training loss, (all rows,) float32 of mean 1; None where all are equal.
        chosen: Indices of the rows that belong to the split, ascending; None where all do. The folds of a
            cross-validation share their arrays.
    """

    inputs: tuple[StoredArray, ...]
    outputs: tuple[StoredArray, ...]
    weights: StoredArray | None = None
    chosen: Rows | None = None

    @property
    def rows(self) -> int:
        """Number of rows that belong to the split."""
        return len(self.inputs[0]) if self.chosen is None else len(self.chosen)


@dataclass(frozen=True, kw_only=True)
class PreparedDataset:
    """A dataset that was split, encoded and cached.

    Attributes:
        folder: Where its arrays lie.
        spec: What models and search spaces may know of it.
        encodings: How each input was encoded, in the order of `spec.inputs`.
    """

    folder: Path
    spec: DatasetSpec
    encodings: tuple[Encoding, ...]

    @classmethod
    def open(cls, folder: Path) -> PreparedDataset:
        """Open what `prepare` left in a folder.

        Raises:
            DataError: There is no complete prepared dataset.
        """
        try:
            spec = _read_spec(folder)
            encodings = json.loads((folder / ENCODING_FILE).read_text("utf-8"))
            prepared = cls(folder=folder, spec=spec, encodings=tuple(map(encoding_from_json, encodings)))
            prepared._check_complete()
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"no complete prepared dataset in {folder} ({reason}); prepare the dataset again"
            ) from error
        return prepared

    def split(self, name: Literal["train", "validation"], *, fold: int | None = None) -> Split:
        """Open the rows to train on, or those to validate on.

        Args:
            name: Which.
            fold: Number of the fold, from 0, whose rows validate; needed where `spec.folds`, None otherwise.

        Raises:
            RequestError: Another name (the test split is `sealed_test`), or no such fold.
        """
        if name not in ("train", "validation"):
            raise RequestError(
                f"expected the split 'train' or 'validation', received {name!r}; the test split is sealed"
            )
        if fold is None and not self.spec.folds:
            return self._open_split(name)
        if fold is None or not 0 <= fold < self.spec.folds:
            raise RequestError(f"expected a fold from 0 to {self.spec.folds - 1}, received {fold}")
        pool = self._open_split("train")
        train, validation = fold_rows(np.load(self.folder / FOLDS_FILE, allow_pickle=False), fold)
        return replace(pool, chosen=train if name == "train" else validation)

    def unsealed(self) -> Split:
        """Open the rows to train on and those to validate on as one: all that are not sealed."""
        if self.spec.folds:  # they are folds of one array
            return self._open_split("train")
        split = self._open_split("train", "validation")
        weights = self.folder / UNSEALED_WEIGHTS_FILE
        return replace(split, weights=_map(weights) if weights.exists() else None)

    def sealed_test(self) -> Split:
        """Open the sealed test rows: only the finalists' last evaluation calls this, once a study."""
        return self._open_split(TEST_FOLDER)

    def raw_example(self) -> ModelRows:
        """Return at most five raw training rows as the final model takes them (`to_model_rows`)."""
        stored = _arrays(self.folder / EXAMPLE_FILE)
        rows = [stored[f"input_{index}"] for index in range(len(self.spec.raw_inputs))]
        if len(rows) == 1:
            return rows[0]
        return {one.name: values for one, values in zip(self.spec.raw_inputs, rows, strict=True)}

    def source_rows(self, name: Literal["train", "validation", "test"]) -> Rows:
        """Return which of the source's training rows a split holds, ascending; none of a split that was given."""
        return _arrays(self.folder / ROWS_FILE)[name]

    def _open_split(self, *names: str) -> Split:
        """Open a split, or two of them as one."""
        folders = [self.folder / name for name in names]

        def opened(file: str) -> StoredArray:
            first, *second = (_map(folder / file) for folder in folders)
            return JoinedArray(first, *second) if second else first

        return Split(
            inputs=tuple(opened(f"x{index}.npy") for index in range(len(self.spec.inputs))),
            outputs=tuple(opened(f"y{index}.npy") for index in range(len(self.spec.outputs))),
            weights=opened(WEIGHTS_FILE) if all((folder / WEIGHTS_FILE).exists() for folder in folders) else None,
        )

    def _check_complete(self) -> None:
        """Open every array: a missing or shortened file cannot be mapped."""
        expected = {"train": self.spec.train_rows, TEST_FOLDER: self.spec.test_rows}
        if self.spec.folds:
            expected["train"] = len(_map(self.folder / FOLDS_FILE))
        else:
            expected["validation"] = self.spec.validation_rows
        for name, rows in expected.items():
            split = self._open_split(name)
            arrays = [*split.inputs, *split.outputs, *([] if split.weights is None else [split.weights])]
            if any(len(array) != rows for array in arrays):
                raise ValueError(f"{name} has not {rows} rows")
        self.raw_example()
        self.source_rows("train")


def write_spec(folder: Path, spec: DatasetSpec) -> None:
    """Write the spec that `PreparedDataset.open` reads: the last of a dataset's files."""
    values = {"format": FORMAT_VERSION, **spec.to_json()}
    (folder / SPEC_FILE).write_text(json.dumps(values, indent=1), "utf-8")


def _read_spec(folder: Path) -> DatasetSpec:
    values = json.loads((folder / SPEC_FILE).read_text("utf-8"))
    if values.pop("format", None) != FORMAT_VERSION:
        raise ValueError("another version of automl has written it")
    return DatasetSpec.from_json(values)


def write_example(folder: Path, batch: Batch, spec: DatasetSpec) -> None:
    """Write raw rows that `PreparedDataset.raw_example` gives back."""
    rows = to_model_rows(batch, spec)
    values = list(rows.values()) if isinstance(rows, dict) else [rows]
    texts = [one.astype(np.str_) if one.dtype == object else one for one in values]  # else they would be pickled
    arrays = {f"input_{index}": one for index, one in enumerate(texts)}
    np.savez(folder / EXAMPLE_FILE, **arrays)  # type: ignore[arg-type]


def _arrays(path: Path) -> dict[str, Array]:
    if path.exists() and not zipfile.is_zipfile(path):  # numpy would leave it open
        raise ValueError(f"{path.name} is cut off")
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _map(path: Path) -> MappedArray:
    mapped: MappedArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
