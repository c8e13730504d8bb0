"""Rows without targets, to predict on: read as the columns and raw inputs of a `DatasetSpec` say."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from automl.data.file_trees import FileTree
from automl.data.files import FILE_KINDS, check_path, listing, malformed, unreadable
from automl.data.idx_files import find_idx, is_idx, read_idx
from automl.data.images import IMAGE_SUFFIXES, ImageRows
from automl.data.model_rows import is_array
from automl.data.raw import ARRAY_FEATURE, Array, ArrayRows, RowSource
from automl.data.table_files import TABLE_SUFFIXES, open_table, table_suffix
from automl.data.table_rows import Table, TableRows
from automl.data.texts import TEXT_SUFFIXES, read_texts
from automl.dataset_spec import ColumnKind, DatasetSpec
from automl.errors import DataError

_ARRAY_SUFFIXES = (".npz", ".npy")
_ROW_KEYS = ("x", "x_test", "x_train")


def new_rows(path: str | Path, spec: DatasetSpec, *, encoding: str | None = None) -> RowSource:
    """Open rows to predict on, keyed and typed like the features that a model was trained on.

    Args:
        path: A table, a .npz (`x`, `x_test`, `x_train` or its only array) or .npy array, an IDX file of images or its
            folder, or a folder or .zip of images or texts, flat or in class folders, in the order of their names.
        spec: What the model was trained on. Columns may be in any order, and others are ignored; values that are not
            of their column's kind are missing; images are resized.
        encoding: Encoding of text files; guessed if None.

    Raises:
        DataError: There is no such file, it is malformed, or lacks what the model needs.
    """
    path = Path(path).expanduser()
    check_path(path)
    if path.is_file() and is_idx(path):
        return _array_rows(path, read_idx(path), spec)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return _tree_rows(path, spec, encoding)
    if path.suffix.lower() in _ARRAY_SUFFIXES:
        return _array_rows(path, _read_array(path), spec)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        tree = FileTree(path=path.parent, names=(path.name,))
        return _image_rows(path, tree, tree.names, spec)
    if table_suffix(path) in TABLE_SUFFIXES:
        return _table_rows(path, spec, encoding)
    raise DataError(f"{path}: expected {FILE_KINDS}, received {path.suffix or 'no extension'}; convert it")


def _table_rows(path: Path, spec: DatasetSpec, encoding: str | None) -> RowSource:
    if not spec.columns:
        raise DataError(f"{path} is a table, but the model takes arrays of {_shape(spec)}; give such an array")
    table = open_table(path, encoding=encoding, fewest_columns=1)
    missing = [column.name for column in spec.columns if column.name not in table.columns]
    if missing:
        raise DataError(
            f"{path} lacks the {'columns' if len(missing) > 1 else 'column'} {listing(missing, most=3)} that the model "
            f"was trained on; it has {listing(table.columns, most=10)}"
        )
    count = _count(table, spec.columns[0].name)
    if not count:
        raise DataError(f"{path} has a header line but no rows; expected at least one")
    return TableRows(label=str(path), table=table, columns=spec.columns, as_matrix=is_array(spec), count=count)


def _count(table: Table, column: str) -> int:
    rows = 0
    short = False
    for chunk in table.chunks(columns=(column, table.columns[-1])):
        rows += len(chunk)
        short = short or bool(chunk[table.columns[-1]].isna().any())
    if short:
        table.check_rows()
    return rows


def _tree_rows(path: Path, spec: DatasetSpec, encoding: str | None) -> RowSource:
    found = find_idx(path, "t10k", "images") or find_idx(path, "train", "images") if path.is_dir() else None
    if found is not None:
        return _array_rows(found, read_idx(found), spec)
    tree = FileTree.open(path)
    images, texts = tree.with_suffix(IMAGE_SUFFIXES), tree.with_suffix(TEXT_SUFFIXES)
    if images:
        return _image_rows(path, tree, images, spec)
    if not texts:
        raise DataError(f"{path}: expected images ({', '.join(IMAGE_SUFFIXES)}) or texts (.txt); found none")
    if [column.kind for column in spec.columns] != [ColumnKind.TEXT]:
        raise DataError(f"{path} holds texts, but the model takes {_wanted(spec)}; give such data")
    return ArrayRows({spec.columns[0].name: read_texts(tree, texts, encoding=encoding)})


def _image_rows(path: Path, tree: FileTree, names: tuple[str, ...], spec: DatasetSpec) -> RowSource:
    shape = spec.raw_inputs[0].shape
    if spec.columns or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise DataError(f"{path} holds images, but the model takes {_wanted(spec)}; give such data")
    return ImageRows(tree=tree, names=names, shape=shape)


def _array_rows(path: Path, array: Array, spec: DatasetSpec) -> RowSource:
    if array.dtype.kind in "UT" and [column.kind for column in spec.columns] == [ColumnKind.TEXT] and array.ndim == 1:
        return ArrayRows({spec.columns[0].name: np.array(array.tolist(), dtype=object)})
    if not is_array(spec):
        raise DataError(f"{path} holds an array, but the model takes {_wanted(spec)}; give a table with these columns")
    shape = spec.raw_inputs[0].shape
    if array.dtype.kind not in "biuf" or array.shape[1:] != shape or not len(array):
        raise DataError(
            f"{path}: expected an array of numbers of shape (rows, {', '.join(map(str, shape))}), received "
            f"{array.dtype} of shape {array.shape}"
        )
    return ArrayRows({ARRAY_FEATURE: array})


def _read_array(path: Path) -> Array:
    try:
        loaded = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix.lower() == ".npy" else None)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return _only_array(path, loaded)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise malformed(path, path.suffix, error) from error


def _only_array(path: Path, archive: Mapping[str, Array]) -> Array:
    names = list(archive)
    key = next((key for key in _ROW_KEYS if key in names), names[0] if len(names) == 1 else None)
    if key is None:
        raise DataError(f"{path}: expected an array named 'x' or only one, received {listing(names) or 'none'}")
    return archive[key]


def _wanted(spec: DatasetSpec) -> str:
    if spec.columns and not is_array(spec):
        return f"the columns {listing([column.name for column in spec.columns], most=10)}"
    return f"arrays of {_shape(spec)}"


def _shape(spec: DatasetSpec) -> str:
    return f"shape (rows, {', '.join(map(str, spec.raw_inputs[0].shape))})"
