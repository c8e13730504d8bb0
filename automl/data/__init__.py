"""Datasets: where they come from (`load`), and how they become split, encoded, shared arrays (`prepare`)."""

from __future__ import annotations

from automl.data.encoding import Encoding, EncodingKind
from automl.data.prepare import prepare
from automl.data.prepared import PreparedDataset, Split
from automl.data.raw import RawDataset, raw_from_arrays
from automl.data.sources import DatasetInfo, known_datasets, load

__all__ = [
    "DatasetInfo",
    "Encoding",
    "EncodingKind",
    "PreparedDataset",
    "RawDataset",
    "Split",
    "known_datasets",
    "load",
    "prepare",
    "raw_from_arrays",
]
