"""Datasets of texts: a folder or .zip of .txt files in class folders, or arrays of strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from automl.data.file_trees import FileTree, LabelledFiles, all_labelled, split_by_layout
from automl.data.files import two_test_splits
from automl.data.raw import Array, ArrayRows, Batch, RawDataset, hash_columns
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
    test: Batch | None = None,
    test_targets: Mapping[str, Array] | None = None,
    *,
    content_hash: str | None = None,
    test_hash: str = "",
) -> RawDataset:
    """Make a `RawDataset` of one column of texts.

    Args:
        name: The dataset's name.
        train: `TEXT_COLUMN`, (rows,) object holding `str`.
        targets: Targets of those rows.
        test: The same of a given test split.
        test_targets: Targets of the test split.
        content_hash: SHA-256 of the source; of the arrays themselves if None.
        test_hash: SHA-256 of the test split's own source.
    """
    test_targets = test_targets or {}
    if content_hash is None:
        content_hash = hash_columns(train, targets, test or {}, test_targets)
    return RawDataset(
        name=name,
        columns=_COLUMNS,
        is_array=False,
        train=ArrayRows(train),
        targets=targets,
        test=None if test is None else ArrayRows(test),
        test_targets=test_targets,
        content_hash=content_hash,
        test_hash=test_hash,
    )


def load_texts(
    name: str, tree: FileTree, names: Sequence[str], *, test: FileTree | None, encoding: str | None
) -> RawDataset:
    """Load texts in class folders, a file each.

    Args:
        name: The dataset's name.
        tree: Where they lie.
        names: Names of the text files there.
        test: Where those of the test split lie, if in a place of their own.
        encoding: Encoding of the files; guessed file by file if None.

    Raises:
        DataError: The folders are no classes, or a file is no text.
    """
    files, test_files = split_by_layout(tree.path, names)
    test_tree = tree
    if test is not None:
        if test_files is not None:
            raise two_test_splits(tree.path, "the folder test")
        test_tree, test_files = test, all_labelled(test.path, test.with_suffix(TEXT_SUFFIXES))
    return text_dataset(
        name,
        {TEXT_COLUMN: read_texts(tree, files.names, encoding=encoding)},
        {"target": _labels(files)},
        None if test_files is None else {TEXT_COLUMN: read_texts(test_tree, test_files.names, encoding=encoding)},
        None if test_files is None else {"target": _labels(test_files)},
        content_hash=tree.hash(),
        test_hash="" if test is None else test.hash(),
    )


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
