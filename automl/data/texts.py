"""Datasets of texts: a folder or .zip of .txt files in class folders, or arrays of strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np

from automl.data.file_trees import FileTree, LabelledFiles, find_splits
from automl.data.raw import Array, ArrayRows, Batch, GivenSplit, RawDataset, hash_columns, hashed_parts
from automl.data.text_files import find_encoding, not_text
from automl.dataset_spec import Column, ColumnKind

TEXT_COLUMN = "text"
"""Name of the only column of a dataset of texts."""
TEXT_SUFFIXES = (".txt",)

_COLUMNS = (Column(name=TEXT_COLUMN, kind=ColumnKind.TEXT),)


def text_dataset(
    name: str,
    train: Batch,
    targets: Mapping[str, Array],
    *,
    given: Mapping[str, tuple[Batch, Mapping[str, Array]]] = MappingProxyType({}),
    content_hash: str | None = None,
    source_hashes: Mapping[str, str] = MappingProxyType({}),
) -> RawDataset:
    """Make a `RawDataset` of one column of texts.

    Args:
        name: The dataset's name.
        train: `TEXT_COLUMN`, (rows,) object holding `str`.
        targets: Targets of those rows.
        given: Both of each split that is given, by name.
        content_hash: SHA-256 of the source; of the arrays themselves if None.
        source_hashes: SHA-256 of the sources that given splits have of their own, by name.
    """
    if content_hash is None:
        content_hash = hash_columns(*chain(*hashed_parts((train, targets), given, ({}, {}))))
    return RawDataset(
        name=name,
        columns=_COLUMNS,
        is_array=False,
        train=ArrayRows(train),
        targets=targets,
        given={
            split: GivenSplit(rows=ArrayRows(texts), targets=labels, source_hash=source_hashes.get(split, ""))
            for split, (texts, labels) in given.items()
        },
        content_hash=content_hash,
    )


def load_texts(name: str, tree: FileTree, *, given: Mapping[str, FileTree], encoding: str | None) -> RawDataset:
    """Load texts in class folders, a file each.

    Args:
        name: The dataset's name.
        tree: Where they lie.
        given: Where those of splits lie that are in a place of their own.
        encoding: Encoding of the files; guessed file by file if None.

    Raises:
        DataError: The folders are no classes, or a file is no text.
    """
    read = {
        split: ({TEXT_COLUMN: read_texts(where, files.names, encoding=encoding)}, {"target": _labels(files)})
        for split, (where, files) in find_splits(tree, given, TEXT_SUFFIXES).items()
    }
    train = read.pop("train")
    hashes = {split: other.hash() for split, other in given.items()}
    return text_dataset(name, *train, given=read, content_hash=tree.hash(), source_hashes=hashes)


def read_texts(tree: FileTree, names: Sequence[str], *, encoding: str | None) -> Array:
    """Return the texts of files, shape (files,), object holding `str`.

    Raises:
        DataError: A file is no text in that encoding.
    """
    texts = np.empty(len(names), object)
    with tree.reader() as read:
        for index, name in enumerate(names):
            texts[index] = _decode(tree.path / name, read(name), encoding)
    return texts


def _decode(path: Path, content: bytes, encoding: str | None) -> str:
    found = find_encoding(path, content, encoding)
    try:
        return content.decode(found)
    except UnicodeDecodeError as error:
        raise not_text(path, found) from error


def _labels(files: LabelledFiles) -> Array:
    return np.array(files.labels, dtype=np.str_)
