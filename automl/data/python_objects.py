"""From Python's own objects to a `RawDataset`: arrays, data frames, and `tf.data` datasets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from automl.data.column_kinds import texts_of
from automl.data.raw import Array, RawDataset, hash_columns, hashed_parts, raw_from_arrays, whole_pairs
from automl.data.table_rows import FrameTable
from automl.data.tables import GivenTable, Roles, table_dataset
from automl.data.texts import TEXT_COLUMN, text_dataset
from automl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_TARGET = "target"
_PAIR = "(x, y) or a tf.data.Dataset of it"
_EXPECTED = (
    "expected (x, y) or (x, y, x_test, y_test) arrays, a pandas DataFrame with target=..., (DataFrame, y), or a "
    "tf.data.Dataset of (x, y)"
)
_INFINITE = -1  # tf.data.INFINITE_CARDINALITY


def load_object(
    name: str,
    data: object,
    *,
    validation: object = None,
    test: object = None,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    time_column: str | None = None,
    sample_weight: str | None = None,
) -> RawDataset:
    """Make a `RawDataset` of what a Python program holds.

    Args:
        name: The dataset's name.
        data: `(x, y)` or `(x, y, x_test, y_test)`: `x` an array of shape (rows, ...), strings of shape (rows,), a
            data frame, or columns by name; `y` (rows,) or (rows, targets), or such arrays by name, an output each.
            Or a pandas DataFrame, with `target`. Or a finite `tf.data.Dataset` of `(x, y)`, batched or not.
        validation: Rows that validate: `(x, y)` or a `tf.data.Dataset`; a DataFrame where `data` is one.
        test: The same for rows that are the test split.
        target: Names of the target columns of a data frame.
        group: Column of a table whose equal values stay together in one split.
        time_column: Column of a table that splits are ordered by.
        sample_weight: Column of a table with weights of the rows.

    Raises:
        DataError: It is nothing of that, or its parts do not fit together.
        UnknownNameError: A table has no such column.
    """
    import pandas as pd

    options = {"group": group, "time_column": time_column, "sample_weight": sample_weight}
    given = {split: rows for split, rows in (("validation", validation), ("test", test)) if rows is not None}
    if isinstance(data, pd.DataFrame):
        if not target:
            raise DataError(f"{name}: which column is the target? give target=, one of: {', '.join(map(str, data))}")
        return frame_dataset(name, data, Roles.parse(target, **options), _as_frames(name, given))
    if target is not None:
        raise DataError(f"{name}: target= names columns of a data frame, received {type(data).__name__}; leave it out")
    if isinstance(data, tuple | list) and len(data) == 4:
        if test is not None:
            raise DataError(f"{name}: the data has a test split of its own; leave out test=, or give (x, y) alone")
        data, given = data[:2], {**given, "test": data[2:]}
    if hasattr(data, "as_numpy_iterator"):
        _refuse_options(name, options)
    pairs = {split: _as_pair(name, rows, f"expected {_PAIR} as {split}=") for split, rows in given.items()}
    return _from_pairs(name, _as_pair(name, data, _EXPECTED), pairs, options)


def _as_frames(name: str, given: Mapping[str, object]) -> dict[str, pd.DataFrame]:
    import pandas as pd

    frames: dict[str, pd.DataFrame] = {}
    for split, rows in given.items():
        if not isinstance(rows, pd.DataFrame):
            raise DataError(f"{name}: expected a DataFrame as {split}=, as the data is; received {_described(rows)}")
        frames[split] = rows
    return frames


def _as_pair(name: str, data: object, expected: str) -> tuple[Any, Any]:
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    if hasattr(data, "as_numpy_iterator"):
        return _read_tf_data(name, data)
    raise DataError(f"{name}: {expected}; received {_described(data)}")


def _described(data: object) -> str:
    return type(data).__name__ + (f" of {len(data)}" if isinstance(data, tuple | list) else "")


def frame_dataset(
    name: str, frame: pd.DataFrame, roles: Roles, given: Mapping[str, pd.DataFrame] = MappingProxyType({})
) -> RawDataset:
    """Make a `RawDataset` of a data frame that holds features and targets, and of one for each split that is given.

    Raises:
        DataError: The frame cannot be learned from as it is.
        UnknownNameError: It has no such column.
    """
    frame = _plain(name, frame)
    others = {split: _plain(name, other) for split, other in given.items()}
    hashable = {split: _hashable(other) for split, other in others.items()}
    return table_dataset(
        name,
        FrameTable(frame),
        roles,
        given={split: GivenTable(FrameTable(other), f"{name} ({split})") for split, other in others.items()},
        content_hash=hash_columns(*hashed_parts(_hashable(frame), hashable, {})),
    )


def _plain(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with text as names of columns and dtypes that say what they hold."""
    plain = frame.rename(columns=str).infer_objects().reset_index(drop=True)
    twice = sorted(set(plain.columns[plain.columns.duplicated()]))
    if twice:
        raise DataError(f"{name} names more than one column {twice[0]!r}; expected different names")
    strange = [f"{column!r} ({dtype})" for column, dtype in plain.dtypes.items() if dtype.kind in "cmV"]
    if strange:
        raise DataError(f"{name}: expected numbers, booleans, dates or text, received {', '.join(strange[:3])}")
    return plain


def _hashable(frame: pd.DataFrame) -> dict[str, Array]:
    return {
        str(name): column.to_numpy()
        if column.dtype.kind in "biuf" and isinstance(column.dtype, np.dtype)
        else texts_of(column)
        for name, column in frame.items()
    }


def _from_pairs(
    name: str, train: tuple[Any, Any], given: Mapping[str, tuple[Any, Any]], options: Mapping[str, str | None]
) -> RawDataset:
    """Make a dataset of `(x, y)`, and of the same for each split that is given."""
    import pandas as pd

    given = whole_pairs(name, given)
    if isinstance(train[0], Mapping | pd.DataFrame):
        frame, targets = _joined(name, *train)
        frames = {split: _joined(name, *pair)[0] for split, pair in given.items()}
        return frame_dataset(name, frame, Roles.parse(targets, **options), frames)
    _refuse_options(name, options)
    x, y = _as_arrays(train)
    arrays = {split: _as_arrays(pair) for split, pair in given.items()}
    if not _is_text(x):
        return raw_from_arrays(name, x, y, given=arrays)
    strange = [f"x_{split} is {other.dtype}" for split, (other, _) in arrays.items() if not _is_text(other)]
    if strange:
        raise DataError(f"{name}: x_train holds texts, but {strange[0]}; expected the same")
    texts = {split: ({TEXT_COLUMN: _as_texts(other)}, labels) for split, (other, labels) in arrays.items()}
    return text_dataset(name, {TEXT_COLUMN: _as_texts(x)}, y, given=texts)


def _joined(name: str, x: Any, y: Any) -> tuple[pd.DataFrame, list[str]]:
    """Join features and targets to one frame, of which the targets' names are free."""
    import pandas as pd

    if not isinstance(x, Mapping | pd.DataFrame):
        raise DataError(f"{name}: expected columns by name in every split, as in training; received {type(x).__name__}")
    columns = {str(key): np.asarray(value) for key, value in x.items()} if isinstance(x, Mapping) else {}
    wide = [key for key, value in columns.items() if value.ndim != 1]
    if wide:
        raise DataError(f"{name}: expected columns of shape (rows,), received {columns[wide[0]].shape} for {wide[0]!r}")
    targets = _as_targets(y)
    rows = {len(value) for value in [*columns.values(), *targets.values()]} | ({len(x)} if not columns else set())
    if len(rows) > 1:
        raise DataError(f"{name}: expected as many rows in every column and target, received {sorted(rows)}")
    frame = pd.DataFrame(columns) if isinstance(x, Mapping) else x.rename(columns=str).reset_index(drop=True)
    taken = [key for key in targets if key in frame.columns]
    if taken:
        raise DataError(f"{name}: {taken[0]!r} is a feature and a target; give one of them another name")
    wide = [key for key, value in targets.items() if value.ndim != 1 and value.shape[1:] != (1,)]
    if wide:
        raise DataError(f"{name}: with columns, targets have shape (rows,); give several as a dict of arrays")
    return frame.assign(**{key: value.reshape(-1) for key, value in targets.items()}), list(targets)


def _as_arrays(pair: tuple[Any, Any]) -> tuple[Array, dict[str, Array]]:
    return np.asarray(pair[0]), _as_targets(pair[1])


def _as_targets(y: Any) -> dict[str, Array]:
    if isinstance(y, Mapping):
        return {str(key): _as_labels(value) for key, value in y.items()}
    return {str(getattr(y, "name", None) or _TARGET): _as_labels(y)}


def _as_labels(y: Any) -> Array:
    array = np.asarray(y)
    return array.astype(np.str_) if array.dtype == object and all(isinstance(v, str) for v in array.flat) else array


def _is_text(x: Array) -> bool:
    return x.ndim == 1 and (x.dtype.kind in "UT" or (x.dtype == object and all(isinstance(v, str) for v in x)))


def _as_texts(x: Array) -> Array:
    return np.array([str(value) for value in x], dtype=object)


def _refuse_options(name: str, options: Mapping[str, str | None]) -> None:
    for option, value in options.items():
        if value is not None:
            raise DataError(f"{name}: {option}= names a column of a table, received {value!r}; leave it out")


def _read_tf_data(name: str, data: Any) -> tuple[Any, Any]:
    if hasattr(data, "cardinality") and int(data.cardinality()) == _INFINITE:
        raise DataError(f"{name}: the tf.data.Dataset never ends; expected a finite one: use take(), not repeat()")
    spec = data.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2):
        raise DataError(f"{name}: expected a tf.data.Dataset of (x, y), received elements of {spec}")
    return _read_stream(name, data.as_numpy_iterator(), batched=_is_batched(*spec))


def stream_dataset(name: str, elements: Iterable[tuple[Any, Any]], *, batched: bool) -> RawDataset:
    """Make a `RawDataset` of a stream that is read once; its numbers are kept in temporary, memory-mapped files.

    Args:
        name: The dataset's name.
        elements: `(x, y)`: arrays, or arrays by name; text is `bytes` or `str`.
        batched: Whether elements hold several rows.

    Raises:
        DataError: There are no rows, or they differ in shape.
    """
    return _from_pairs(name, _read_stream(name, elements, batched=batched), {}, {})


def _read_stream(name: str, elements: Iterable[tuple[Any, Any]], *, batched: bool) -> tuple[Any, Any]:
    with ExitStack() as stack:  # a memory mapping of a closed file lives on
        spools: tuple[dict[str, _Spool], dict[str, _Spool]] = ({}, {})
        for element in elements:
            for spool, part in zip(spools, element, strict=True):
                values = part if isinstance(part, Mapping) else {"": part}
                for key, value in values.items():
                    if key not in spool:
                        file = stack.enter_context(tempfile.TemporaryFile(prefix="automl-"))
                        spool[key] = _Spool(name, file)
                    spool[key].add(np.asarray(value) if batched else np.asarray(value)[None])
        if not spools[0]:
            raise DataError(f"{name}: a tf.data.Dataset has no rows; expected at least ten to train on, and one else")
        x, y = ({key: one.array() for key, one in spool.items()} for spool in spools)
    return x.get("", x), y.get("", y)


class _Spool:
    """Rows of one array, written to a temporary file, or kept where they are text."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name = name
        self._file = file
        self._texts: list[str] = []
        self._rows = 0
        self._dtype: np.dtype[Any] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, rows: Array) -> None:
        if rows.dtype.kind in "OSUT":
            self._texts += [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in rows.flat]
            return
        if self._dtype is None:
            self._dtype, self._shape = rows.dtype, rows.shape[1:]
        if (rows.dtype, rows.shape[1:]) != (self._dtype, self._shape):
            raise DataError(
                f"{self._name}: expected rows of one shape, received {self._shape} and {rows.shape[1:]}; pad or resize"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def array(self) -> Array:
        if self._dtype is None:
            return np.array(self._texts, dtype=object)
        self._file.flush()
        return np.memmap(self._file, self._dtype, mode="r", shape=(self._rows, *self._shape))


def _is_batched(x: Any, y: Any) -> bool:
    """Return True where elements hold several rows: features and targets have the same first size, known or not."""
    x, y = (next(iter(part.values())) if isinstance(part, Mapping) else part for part in (x, y))
    if x.shape.rank is None or y.shape.rank is None:
        return True
    return bool(x.shape.rank and y.shape.rank and x.shape[0] == y.shape[0])
