"""Datasets: where they come from (`load`), and how they become split, encoded, shared arrays (`prepare`)."""

from __future__ import annotations

from automl.data.encoding import Encoding, EncodingKind
from automl.data.new_rows import new_rows
from automl.data.prepare import prepare
from automl.data.prepared import PreparedDataset, Split
from automl.data.python_objects import load_object
from automl.data.raw import RawDataset, raw_from_arrays
from automl.data.sources import SOURCE_KINDS, DatasetInfo, known_datasets, load

__all__ = [
    "SOURCE_KINDS",
    "DatasetInfo",
    "Encoding",
    "EncodingKind",
    "PreparedDataset",
    "RawDataset",
    "Split",
    "known_datasets",
    "load",
    "load_object",
    "new_rows",
    "prepare",
    "raw_from_arrays",
]
