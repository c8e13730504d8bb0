"""`prepare`: from a raw dataset to split, encoded, memory-mapped arrays in a cache folder of its own."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from automl.data.encoding import LARGEST_VALUE, Encoding, chunks, fit_encoding, input_kind
from automl.data.files import listing
from automl.data.prepared import ENCODING_FILE, EXAMPLE_FILE, SPEC_FILE, TEST_FOLDER, PreparedDataset
from automl.data.raw import Array, RawDataset
from automl.data.splits import Rows, SplitRows, split_rows
from automl.data.targets import Target, encode_target, read_target
from automl.dataset_spec import DatasetSpec, InputSpec, OutputSpec, Task
from automl.errors import DataError, SurroundingsError

_log = logging.getLogger(__name__)

FORMAT_VERSION = 1
"""Raise it when the same request would be split or encoded in another way, or when files change form."""

_EXAMPLE_ROWS = 5
_PARTIAL = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0


def prepare(raw: RawDataset, *, task: Task | None, split_seed: int, cache: Path) -> PreparedDataset:
    """Split, encode and cache a dataset, or find it in the cache.

    The test split is 20 % of the rows unless the source gives one, validation is 20 % of the rest, both
    stratified. The encodings are fitted on the training rows only. A folder appears in the cache whole or not
    at all, so that processes may prepare the same dataset at once, and may be killed while they do.

    Args:
        raw: The dataset as its source holds it.
        task: What is predicted, or None to infer it; `automl.data.targets` says how.
        split_seed: Decides the split, together with the dataset's identity and nothing else.
        cache: The folder of all prepared datasets; made where it is missing.

    Raises:
        DataError: The data cannot be learned from as it is, or the task does not fit it.
        SurroundingsError: The cache cannot be written.
    """
    target = read_target(raw, task=task)
    fingerprint = _fingerprint(raw, target.task, split_seed)
    folder = cache / fingerprint
    try:
        if not _is_complete(folder):
            _fill(folder, raw, target)
    except OSError as error:
        reason = error.strerror or error
        raise SurroundingsError(
            f"cannot write the prepared dataset in {cache}: {reason}; make room or choose another --home"
        ) from error
    prepared = PreparedDataset.open(folder)
    return replace(prepared, spec=replace(prepared.spec, name=raw.name))  # a copied file has the same folder


def _fingerprint(raw: RawDataset, task: Task, split_seed: int) -> str:
    identity = [FORMAT_VERSION, raw.content_hash, raw.target, task.value, split_seed, raw.test_hash]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def _check_features(raw: RawDataset) -> None:
    """Refuse missing, infinite and far too large values, in the training and in the test rows."""
    for part, x in (("", raw.x_train), (" of the test split", raw.x_test)):
        if x is None or x.dtype.kind not in "fiu" or (x.dtype.kind != "f" and x.dtype.itemsize < 8):
            continue
        bad_rows, bad_columns = _unusable(x)
        if bad_rows:
            named = listing([raw.columns[index] for index in bad_columns], most=3) if raw.columns else ""
            columns = f", columns {named}" if named else ""
            raise DataError(
                f"{raw.name}: the features{part} hold missing values, NaN, infinity or numbers above "
                f"{LARGEST_VALUE:g} in {bad_rows} of {len(x)} rows{columns}; expected finite numbers: fill "
                "or drop them first"
            )


def _unusable(x: Array) -> tuple[int, list[int]]:
    """Return how many rows hold an unusable value, and the columns (of the flattened row) that do."""
    rows = 0
    columns = np.zeros(int(np.prod(x.shape[1:])), dtype=bool)
    for chunk in chunks(x):
        bad = ~(np.abs(chunk.reshape(len(chunk), -1).astype(np.float64)) <= LARGEST_VALUE)  # not (>): NaN is bad too
        rows += int(bad.any(axis=1).sum())
        columns |= bad.any(axis=0)
    return rows, np.flatnonzero(columns).tolist()


def _fill(folder: Path, raw: RawDataset, target: Target) -> None:
    _check_features(raw)
    # the folder is named by the dataset's fingerprint, which --split-seed is part of
    rows = split_rows(target, seed=int(folder.name[:8], 16))
    with _published(folder) as partial:
        _write(partial, raw, target, rows, folder.name)


def _write(folder: Path, raw: RawDataset, target: Target, rows: SplitRows, fingerprint: str) -> None:
    encoding = fit_encoding(raw.x_train, rows.train, pixel_scale=raw.pixel_scale)
    output = target.output_spec(rows.train)
    _write_split(folder / "train", raw.x_train, target.y_train, rows.train, encoding, output)
    _write_split(folder / "validation", raw.x_train, target.y_train, rows.validation, encoding, output)
    if raw.x_test is not None and target.y_test is not None:
        test_rows = len(raw.x_test)
        _write_split(folder / TEST_FOLDER, raw.x_test, target.y_test, None, encoding, output)
    else:
        test_rows = 0 if rows.test is None else len(rows.test)
        _write_split(folder / TEST_FOLDER, raw.x_train, target.y_train, rows.test, encoding, output)
    np.save(folder / EXAMPLE_FILE, raw.x_train[rows.train[:_EXAMPLE_ROWS]])
    spec = DatasetSpec(
        name=raw.name,
        inputs=(_input_spec(raw, encoding),),
        outputs=(output,),
        train_rows=len(rows.train),
        validation_rows=len(rows.validation),
        test_rows=test_rows,
        fingerprint=fingerprint,
    )
    (folder / ENCODING_FILE).write_text(json.dumps([encoding.to_json()], indent=1), "utf-8")
    (folder / SPEC_FILE).write_text(json.dumps(spec.to_json(), indent=1), "utf-8")


def _input_spec(raw: RawDataset, encoding: Encoding) -> InputSpec:
    return InputSpec(
        name="input",
        kind=input_kind(raw.x_train),
        shape=encoding.shape,
        raw_shape=encoding.raw_shape,
        columns=raw.columns,
    )


def _write_split(folder: Path, x: Array, y: Array, rows: Rows | None, encoding: Encoding, output: OutputSpec) -> None:
    """Write one split; `rows` None stands for every row."""
    folder.mkdir()
    count = len(x) if rows is None else len(rows)
    encoded = (encoding.encode(chunk) for chunk in chunks(x, rows))
    _stream(folder / "x0.npy", encoded, shape=(count, *encoding.shape))
    np.save(folder / "y0.npy", encode_target(y if rows is None else y[rows], output))


def _stream(path: Path, parts: Iterable[Array], *, shape: tuple[int, ...]) -> None:
    """Write a float32 .npy file part by part: unlike in a mapping, a full disk is an error, not a signal."""
    header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype="<f4").data)


def _is_complete(folder: Path) -> bool:
    """Return True when the folder can be used; one that is there but damaged is taken away."""
    if not folder.exists():
        return False
    try:
        PreparedDataset.open(folder)
    except DataError as error:
        _log.warning("preparing again: %s", error)
        _take_away(folder)
        return False
    return True


def _take_away(folder: Path) -> None:
    aside = _partial_path(folder)
    try:
        folder.rename(aside)
    except FileNotFoundError:  # another process has done so
        return
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _published(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes `folder` in one step if the block ends well, and else vanishes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    partial = _partial_path(folder)
    partial.mkdir()
    try:
        yield partial
        _rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _rename(partial: Path, folder: Path) -> None:
    try:
        os.rename(partial, folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        _log.info("another process has prepared %s meanwhile", folder)


def _partial_path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{_PARTIAL}")


def _sweep(cache: Path) -> None:
    """Delete what killed processes left behind, once it is old enough to be nobody's work."""
    for partial in cache.glob(f".*{_PARTIAL}"):
        try:
            age_seconds = time.time() - partial.stat().st_mtime
        except FileNotFoundError:  # its owner has just published it
            continue
        if age_seconds > _ABANDONED_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)
