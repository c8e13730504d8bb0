"""`PreparedDataset`: a dataset split, encoded and cached, as memory-mapped arrays that all workers share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from automl.data.encoding import Encoding
from automl.data.raw import Array
from automl.data.splits import Rows
from automl.dataset_spec import DatasetSpec
from automl.errors import DataError, RequestError

MappedArray: TypeAlias = "np.memmap[Any, np.dtype[Any]]"

SPEC_FILE = "spec.json"
ENCODING_FILE = "encoding.json"
EXAMPLE_FILE = "raw_example.npy"
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

    inputs: tuple[MappedArray, ...]
    outputs: tuple[MappedArray, ...]
    weights: MappedArray | None = None
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
        encodings: How each input was encoded.
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
            spec = DatasetSpec.from_json(json.loads((folder / SPEC_FILE).read_text("utf-8")))
            encodings = json.loads((folder / ENCODING_FILE).read_text("utf-8"))
            prepared = cls(folder=folder, spec=spec, encodings=tuple(Encoding.from_json(one) for one in encodings))
            prepared._check_complete()
        except (OSError, ValueError, KeyError, TypeError) as error:
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
        return self._open_split(name)

    def sealed_test(self) -> Split:
        """Open the sealed test rows: only the finalists' last evaluation calls this, once a study."""
        return self._open_split(TEST_FOLDER)

    def raw_example(self) -> Array:
        """Return at most five raw training rows, in the source's dtype: shape (rows, *raw_shape)."""
        example: Array = np.load(self.folder / EXAMPLE_FILE, allow_pickle=False)
        return example

    def _open_split(self, name: str) -> Split:
        folder = self.folder / name
        return Split(
            inputs=tuple(_map(folder / f"x{index}.npy") for index in range(len(self.spec.inputs))),
            outputs=tuple(_map(folder / f"y{index}.npy") for index in range(len(self.spec.outputs))),
        )

    def _check_complete(self) -> None:
        """Open every array: a missing or shortened file cannot be mapped."""
        expected = {
            "train": self.spec.train_rows,
            "validation": self.spec.validation_rows,
            TEST_FOLDER: self.spec.test_rows,
        }
        for name, rows in expected.items():
            split = self._open_split(name)
            if any(len(array) != rows for array in (*split.inputs, *split.outputs)):
                raise ValueError(f"{name} has not {rows} rows")
        self.raw_example()


def _map(path: Path) -> MappedArray:
    mapped: MappedArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped
