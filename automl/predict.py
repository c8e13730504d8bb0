"""Predictions of a final model for new rows, as tables: original labels and probabilities, or values in target units.

Rows come, are predicted and are written batch by batch, so that a file need not fit in memory. Runs where keras may be
imported: in a notebook, or in the process that `automl predict` starts (`executors/child.py`).
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import pandas as pd

from automl.data import Batch, RowSource, new_rows, to_model_rows
from automl.data.model_rows import is_array
from automl.data.raw import ARRAY_FEATURE, Array, ArrayRows
from automl.dataset_spec import Column, ColumnKind, DatasetSpec, OutputSpec, Task
from automl.errors import DataError, RequestError, SurroundingsError
from automl.layers import output_keys

Write: TypeAlias = Callable[[pd.DataFrame], None]

FORMS = (".csv", ".csv.gz", ".parquet")
"""Ends of the names of files that predictions can be written to."""

_CALL_ROWS = 16_384  # rows a call of the model: enough for full speed, few enough for the activations of wide layers
_THRESHOLD = 0.5


def predict_batches(model: Any, spec: DatasetSpec, source: RowSource) -> Iterator[pd.DataFrame]:
    """Yield the predictions, in the order of the rows, a table a batch.

    Args:
        model: A final model: raw rows in, probabilities or values in target units out.
        spec: The dataset that it was found on.
        source: The rows.

    Yields:
        One row an input row. An output named `income` gives `income`, the predicted label, and
        `income_probability_<label>` for every class; multilabel gives `<label>` (0 or 1) and `<label>_probability`;
        regression gives a column a target.
    """
    call = _compiled(model)
    for batch in source.batches():
        yield prediction_table(_predict(call, spec, batch), spec)


def prediction_table(predictions: Sequence[Array], spec: DatasetSpec) -> pd.DataFrame:
    """Return what a model gave as a table for people.

    Args:
        predictions: One array an output, shape (rows, units).
        spec: The dataset.
    """
    parts = [_columns(values, output) for values, output in zip(predictions, spec.outputs, strict=True)]
    names = [name for part in parts for name in part]
    table: dict[str, Array] = {}
    for part, output in zip(parts, spec.outputs, strict=True):
        for name, values in part.items():
            table[name if names.count(name) == 1 else f"{output.name}_{name}"] = values
    return pd.DataFrame(table)


def predict_table(model: Any, spec: DatasetSpec, rows: Any) -> pd.DataFrame:
    """Return the predictions for rows in memory or in a file, as one table.

    Args:
        model: A final model.
        spec: The dataset that it was found on.
        rows: An array of raw rows, a mapping of columns, a data frame, or a path.

    Raises:
        DataError: The rows do not have the columns or the shape of those that the model was trained on.
    """
    return pd.concat(predict_batches(model, spec, rows_of(rows, spec)), ignore_index=True)


def rows_of(rows: Any, spec: DatasetSpec) -> RowSource:
    """Return rows in memory, or in a file where a path is given, as a source typed by the spec.

    Raises:
        DataError: They do not have the columns or the shape that the spec says, or there are none.
    """
    if isinstance(rows, str | os.PathLike):
        source: RowSource = new_rows(Path(rows), spec)
    elif isinstance(rows, Mapping | pd.DataFrame):
        source = ArrayRows(_typed_columns(rows, spec))
    else:
        source = ArrayRows(_typed_array(np.asarray(rows), spec))
    if not source.count:
        raise DataError("there are no rows to predict; expected at least one")
    return source


def check_output(path: Path, *, source: Path) -> None:
    """Refuse a file that predictions cannot be written to, before anything is started.

    Raises:
        RequestError: Its name has another end, it is the input, or its folder is missing or cannot be written.
    """
    if not path.name.endswith(FORMS):
        raise RequestError(f"--output takes a file that ends in {', '.join(FORMS)}, received {path.name!r}")
    if path.exists() and source.exists() and path.samefile(source):
        raise RequestError(f"--output {path} is the input file: choose another name")
    if path.is_dir() or not path.parent.is_dir():
        raise RequestError(f"--output {path}: expected a file in a folder that exists; make the folder first")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"--output {path}: the folder cannot be written; choose another")


def form_of(path: Path) -> str:
    """Return which of `FORMS` a file has, by the end of its name."""
    return next(form for form in FORMS if path.name.endswith(form))


def partial_path(output: Path) -> Path:
    """Return where predictions lie until they are whole."""
    return output.with_name(f".{output.name}.{os.getpid()}.partial")


def predict_file(
    *,
    say: Callable[[int, int], None],
    model_path: Path,
    spec: DatasetSpec,
    path: Path,
    encoding: str | None,
    partial: Path | None,
    form: str,
) -> int:
    """Predict every row of a file and write the table; runs in a process that owns keras.

    Args:
        say: Told after every batch how many rows are done, of how many.
        model_path: The final model's file.
        spec: The dataset that it was found on.
        path: The rows.
        encoding: Text encoding of the file, or None to find it out.
        partial: The file to write, or None for the standard output.
        form: One of `FORMS`.

    Returns:
        Number of rows.

    Raises:
        DataError: The file cannot be read, or has other columns or another shape.
        SurroundingsError: The output cannot be written.
    """
    source = new_rows(path, spec, encoding=encoding)  # before keras, so that a wrong file is said at once
    if not source.count:
        raise DataError(f"{path.name} has no rows to predict; expected at least one")
    say(0, source.count)
    import keras

    model = keras.saving.load_model(model_path, compile=False, safe_mode=True)
    done = 0
    try:
        with _writer(partial, form) as write:
            for table in predict_batches(model, spec, source):
                write(table)
                done += len(table)
                say(done, source.count)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SurroundingsError(f"the predictions cannot be written: {error.strerror or error}") from error
    return done


def _compiled(model: Any) -> Callable[[Any], Any]:
    """Return the model as one compiled call for batches of any size."""
    import tensorflow as tf

    return tf.function(lambda rows: model(rows, training=False), reduce_retracing=True)  # type: ignore[no-any-return]


def _predict(call: Callable[[Any], Any], spec: DatasetSpec, batch: Batch) -> list[Array]:
    """Return one array an output for a batch of raw rows."""
    rows = to_model_rows(batch, spec)
    count = len(next(iter(batch.values())))
    parts = [
        _by_output(call(_tensors(rows, slice(start, start + _CALL_ROWS))), spec)
        for start in range(0, count, _CALL_ROWS)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _tensors(rows: Any, chosen: slice) -> Any:
    if isinstance(rows, Mapping):
        return {name: _tensor(values[chosen]) for name, values in rows.items()}
    return _tensor(rows[chosen])


def _tensor(values: Array) -> Any:
    """Return numbers as the float32 that every final model takes, and text as it is."""
    import tensorflow as tf

    return tf.constant(values, "float32" if values.dtype.kind in "biuf" else None)


def _by_output(predicted: Any, spec: DatasetSpec) -> list[Array]:
    if isinstance(predicted, Mapping):
        return [predicted[key].numpy() for key in output_keys(spec)]
    return [predicted.numpy()]


def _columns(values: Array, output: OutputSpec) -> dict[str, Array]:
    match output.task:
        case Task.REGRESSION:
            return dict(zip(target_names(output), values.T, strict=True))
        case Task.MULTILABEL:
            return {
                name: column
                for label, probability in zip(output.labels, values.T, strict=True)
                for name, column in (
                    (str(label), (probability > _THRESHOLD).astype("int8")),
                    (f"{label}_probability", probability),
                )
            }
        case Task.BINARY:
            positive = values[:, 0]
            return _classes(np.stack([1 - positive, positive], axis=1), positive > _THRESHOLD, output)
        case Task.MULTICLASS:
            return _classes(values, values.argmax(axis=1), output)


def _classes(probabilities: Array, chosen: Array, output: OutputSpec) -> dict[str, Array]:
    labels = _label_array(output)[chosen.astype("intp")]
    each = zip(output.labels, probabilities.T, strict=True)
    return {output.name: labels} | {f"{output.name}_probability_{label}": values for label, values in each}


def _label_array(output: OutputSpec) -> Array:
    """Return the labels as one column, in their own type where they share one."""
    kinds = {type(label) for label in output.labels}
    return np.array(output.labels, dtype=None if len(kinds) == 1 and str not in kinds else object)


def target_names(output: OutputSpec) -> list[str]:
    """Return the names of a regression's targets, one a unit."""
    if output.units == 1:
        return [output.name]
    names = output.name.split(",")
    return names if len(names) == output.units else [f"{output.name}_{unit}" for unit in range(output.units)]


def _typed_columns(rows: Mapping[str, Any] | pd.DataFrame, spec: DatasetSpec) -> Batch:
    if not spec.columns:
        raise DataError(f"the model takes one array of rows of shape {spec.raw_inputs[0].shape}, received columns")
    missing = [column.name for column in spec.columns if column.name not in rows]
    if missing:
        raise DataError(f"the rows have no column {', '.join(map(repr, missing))}, which the model reads: add them")
    typed = {column.name: _typed(pd.Series(rows[column.name]), column) for column in spec.columns}
    if len({len(values) for values in typed.values()}) > 1:
        raise DataError("the columns have different lengths; expected one value a row in each")
    return {ARRAY_FEATURE: np.stack(list(typed.values()), axis=1)} if is_array(spec) else typed


def _typed(values: pd.Series[Any], column: Column) -> Array:
    if column.kind in (ColumnKind.CATEGORY, ColumnKind.TEXT):
        return values.astype(object).where(values.notna(), "").map(str).to_numpy(object)
    try:
        if column.kind is ColumnKind.DATE:
            days = (pd.to_datetime(values, format=column.date_format or None) - pd.Timestamp(0)) / pd.Timedelta(days=1)
            return days.to_numpy("float64", na_value=np.nan)
        return values.astype("float64").to_numpy("float64", na_value=np.nan)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"column {column.name!r} must hold {column.kind.value}s, but: {reason}") from error


def _typed_array(rows: Array, spec: DatasetSpec) -> Batch:
    if rows.ndim == 1 and len(spec.columns) == 1:
        rows = rows[:, np.newaxis]  # a list of texts
    expected = spec.raw_inputs[0].shape if is_array(spec) else (len(spec.columns),)
    if rows.ndim == 0 or rows.shape[1:] != expected:
        raise DataError(f"expected an array of rows of shape {expected}, received an array of shape {rows.shape}")
    if not is_array(spec):
        return _typed_columns({column.name: rows[:, index] for index, column in enumerate(spec.columns)}, spec)
    if rows.dtype.kind not in "biuf":
        raise DataError(f"expected an array of numbers, received an array of {rows.dtype}; convert it first")
    return {ARRAY_FEATURE: rows}


def _writer(path: Path | None, form: str) -> AbstractContextManager[Write]:
    return _parquet_writer(path) if form == ".parquet" and path is not None else _csv_writer(path, form)


@contextmanager
def _csv_writer(path: Path | None, form: str) -> Iterator[Write]:
    with _opened(path, form) as handle:
        is_first = True

        def write(table: pd.DataFrame) -> None:
            nonlocal is_first
            table.to_csv(handle, index=False, header=is_first, lineterminator="\n")
            is_first = False

        yield write
        handle.flush()


def _opened(path: Path | None, form: str) -> AbstractContextManager[IO[str]]:
    if path is None:
        return nullcontext(sys.stdout)
    if form == ".csv.gz":
        return gzip.open(path, "wt", compresslevel=1, encoding="utf-8", newline="")
    return path.open("w", encoding="utf-8", newline="")


@contextmanager
def _parquet_writer(path: Path) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: list[pq.ParquetWriter] = []

    def write(table: pd.DataFrame) -> None:
        rows = pa.Table.from_pandas(table, preserve_index=False)
        if not writers:
            writers.append(pq.ParquetWriter(path, rows.schema))
        writers[0].write_table(rows)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()
