"""Datasets: where they come from (`load`), and how they become split, encoded, shared arrays (`prepare`)."""

from __future__ import annotations

from automl.data.encoding import (
    ArrayEncoding,
    CategoriesEncoding,
    Encoding,
    EncodingKind,
    NumbersEncoding,
)
from automl.data.model_rows import ModelRows, to_model_rows
from automl.data.new_rows import new_rows
from automl.data.prepare import prepare
from automl.data.prepared import PreparedDataset, Split, StoredArray
from automl.data.python_objects import load_object
from automl.data.raw import Batch, GivenSplit, RawDataset, RowSource, raw_from_arrays
from automl.data.sources import SOURCE_KINDS, DatasetInfo, known_datasets, load
from automl.data.text_encoding import TextEncoding

__all__ = [
    "SOURCE_KINDS",
    "ArrayEncoding",
    "Batch",
    "CategoriesEncoding",
    "DatasetInfo",
    "Encoding",
    "EncodingKind",
    "GivenSplit",
    "ModelRows",
    "NumbersEncoding",
    "PreparedDataset",
    "RawDataset",
    "RowSource",
    "Split",
    "StoredArray",
    "TextEncoding",
    "known_datasets",
    "load",
    "load_object",
    "new_rows",
    "prepare",
    "raw_from_arrays",
    "to_model_rows",
]
