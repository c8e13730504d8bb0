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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np

from automl.data.encoding import (
    ArrayFitter,
    CategoriesFitter,
    Encoding,
    NumbersFitter,
    encoding_to_json,
)
from automl.data.feature_checks import FeatureChecker
from automl.data.model_rows import TEXT_KINDS, raw_inputs
from automl.data.prepared import (
    ENCODING_FILE,
    FOLDS_FILE,
    ROWS_FILE,
    UNSEALED_WEIGHTS_FILE,
    WEIGHTS_FILE,
    PreparedDataset,
    write_example,
    write_spec,
)
from automl.data.raw import Array, Batch, GivenSplit, RawDataset, RowSource, hash_arrays, hash_columns
from automl.data.splits import Rows, SplitRows, fold_rows, split_rows
from automl.data.targets import Target, encode_target, read_targets
from automl.data.text_encoding import TextFitter
from automl.data.weights import Weigher
from automl.dataset_spec import ColumnKind, DatasetSpec, Task
from automl.errors import DataError, SurroundingsError

Fitter: TypeAlias = ArrayFitter | NumbersFitter | CategoriesFitter | TextFitter

_log = logging.getLogger(__name__)

_SPLIT_VERSION = 3
"""Raise it when the same request would be split in another way: scores before and after cannot be compared then."""

_EXAMPLE_ROWS = 5
PARTIAL = ".partial"
_ABANDONED_SECONDS = 24 * 3600.0


def prepare(
    raw: RawDataset,
    *,
    task: Task | Sequence[Task] | None,
    split_seed: int,
    cache: Path,
    folds: int = 0,
    class_weight: Literal["balanced"] | None = None,
) -> PreparedDataset:
    """Split, encode and cache a dataset, or find it in the cache.

    The test split is 20 % of the rows, validation is 20 % of the rest, unless they are given; `automl.data.splits` says
    how. The encodings are fitted on the training rows only (with folds: on all rows that are not sealed), then
    applied batch by batch, so that no more than a few batches are ever in memory. A folder appears in the cache whole
    or not at all, so that processes may prepare the same dataset at once, and may be killed while they do.

    Args:
        raw: The dataset as its source holds it.
        task: What is predicted, one task for each target (an output each), or None to infer it; `automl.data.targets`
            says how.
        split_seed: Decides the split, together with the dataset's identity and nothing else.
        cache: The folder of all prepared datasets; made where it is missing.
        folds: Folds of a cross-validation; 0 for one split.
        class_weight: `"balanced"`: training rows weigh as if all classes were equally frequent.

    Raises:
        DataError: The data cannot be learned from as it is, or the task does not fit it.
        SurroundingsError: The cache cannot be written.
    """
    targets = read_targets(raw, task=task)
    weigher = Weigher(raw, targets, class_weight)
    fingerprint = _fingerprint(raw, targets, split_seed, folds, class_weight)
    folder = cache / fingerprint
    try:
        if not _is_complete(folder):
            # the folder is named by the dataset's fingerprint, which --split-seed is part of
            rows = split_rows(targets, raw, seed=int(fingerprint[:8], 16), folds=folds)
            with _published(folder) as partial:
                _Writer(partial, raw, targets, rows, weigher).write(fingerprint, folds)
    except OSError as error:
        reason = error.strerror or error
        raise SurroundingsError(
            f"cannot write the prepared dataset in {cache}: {reason}; make room or choose another --home"
        ) from error
    prepared = PreparedDataset.open(folder)
    return replace(prepared, spec=replace(prepared.spec, name=raw.name))  # a copied file has the same folder


def _fingerprint(
    raw: RawDataset, targets: Sequence[Target], split_seed: int, folds: int, class_weight: str | None
) -> str:
    beside = {"groups": raw.groups, "times": raw.times, "weights": raw.weights}
    identity = [
        _SPLIT_VERSION,
        raw.content_hash,
        [[target.name, target.task.value] for target in targets],
        split_seed,
        raw.given["test"].source_hash if "test" in raw.given else "",
        [[column.name, column.kind.value] for column in raw.columns],
        hash_columns({name: values for name, values in beside.items() if values is not None}),
        [folds, class_weight],
    ]
    if "validation" in raw.given:  # the identity of other datasets is that of versions to which none could be given
        weights = raw.given["validation"].weights
        identity.append(["validation", raw.given["validation"].source_hash, hash_arrays(weights)])
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


class _Writer:
    """Writes one prepared dataset: first the encodings are fitted, then every row is encoded into its split's files."""

    def __init__(
        self, folder: Path, raw: RawDataset, targets: Sequence[Target], rows: SplitRows, weigher: Weigher
    ) -> None:
        self._folder = folder
        self._raw = raw
        self._targets = targets
        self._rows = rows
        self._weigher = weigher
        self._outputs = tuple(target.output_spec(rows.train) for target in targets)

    def write(self, fingerprint: str, folds: int) -> None:
        """Write arrays, encodings and at last the spec."""
        encodings = self._fit()
        self._write_splits({name: rows for name, rows in self._rows.by_name().items() if len(rows)}, encodings)
        for name, given in self._raw.given.items():
            self._write_given(name, given, encodings)
        self._write_beside(folds)
        (self._folder / ENCODING_FILE).write_text(
            json.dumps([encoding_to_json(encoding) for encoding in encodings], indent=1), "utf-8"
        )
        spec = self._spec(encodings, fingerprint, folds)
        write_example(self._folder, self._example(), spec)
        write_spec(self._folder, spec)

    def _spec(self, encodings: Sequence[Encoding], fingerprint: str, folds: int) -> DatasetSpec:
        train_rows, validation_rows = self._rows_of_one_model(folds)
        return DatasetSpec(
            name=self._raw.name,
            columns=self._raw.columns,
            raw_inputs=raw_inputs(self._raw),
            inputs=tuple(encoding.input_spec() for encoding in encodings),
            outputs=self._outputs,
            folds=folds,
            train_rows=train_rows,
            validation_rows=validation_rows,
            test_rows=self._count("test"),
            fingerprint=fingerprint,
        )

    def _rows_of_one_model(self, folds: int) -> tuple[int, int]:
        """Return the rows to train and to validate on: with folds their mean."""
        if self._rows.folds is None:
            return self._count("train"), self._count("validation")
        pairs = [fold_rows(self._rows.folds, fold) for fold in range(folds)]
        train, held = (sum(map(len, parts)) / folds for parts in zip(*pairs, strict=True))
        return round(train), round(held)

    def _count(self, split: str) -> int:
        given = self._raw.given.get(split)
        return len(self._rows.by_name()[split]) if given is None else given.rows.count

    def _fit(self) -> list[Encoding]:
        fitters = _fitters(self._raw)
        is_train = np.zeros(self._raw.train.count, dtype=bool)
        is_train[self._rows.train] = True
        checker = FeatureChecker(self._raw, "")
        for start, batch in _numbered_batches(self._raw.train):
            checker.see(batch)
            chosen = is_train[start : start + _length(batch)]
            if chosen.any() and checker.is_fine:
                training = batch if chosen.all() else {name: values[chosen] for name, values in batch.items()}
                for fitter in fitters:
                    fitter.see(training)
        checker.finish()
        return [fitter.fit() for fitter in fitters]

    def _write_splits(self, parts: Mapping[str, Rows], encodings: Sequence[Encoding]) -> None:
        """Encode every row of the source once, and append it to the files of its split."""
        owner = np.full(self._raw.train.count, -1, dtype=np.int8)
        for number, rows in enumerate(parts.values()):
            owner[rows] = number
        with ExitStack() as stack:
            files = [
                stack.enter_context(_SplitFiles(self._folder / name, encodings, len(rows)))
                for name, rows in parts.items()
            ]
            for start, batch in _numbered_batches(self._raw.train):
                owners = owner[start : start + _length(batch)]
                encoded = [encoding.encode(batch) for encoding in encodings]
                for number, one in enumerate(files):
                    one.append(encoded, owners == number)
        for name, rows in parts.items():
            for index, (target, output) in enumerate(zip(self._targets, self._outputs, strict=True)):
                np.save(self._folder / name / f"y{index}.npy", encode_target(target.y_train[rows], output))

    def _write_given(self, name: str, given: GivenSplit, encodings: Sequence[Encoding]) -> None:
        checker = FeatureChecker(self._raw, f" of the {name} split")
        with _SplitFiles(self._folder / name, encodings, given.rows.count) as files:
            for batch in given.rows.batches():
                checker.see(batch)
                files.append([encoding.encode(batch) for encoding in encodings], None)
        checker.finish()
        for index, (target, output) in enumerate(zip(self._targets, self._outputs, strict=True)):
            np.save(self._folder / name / f"y{index}.npy", encode_target(target.given[name], output))

    def _write_beside(self, folds: int) -> None:
        np.savez(self._folder / ROWS_FILE, **self._rows.by_name())  # type: ignore[arg-type]
        if folds and self._rows.folds is not None:
            np.save(self._folder / FOLDS_FILE, self._rows.folds)
        weights = self._weigher.weights(self._rows.train)
        if weights is not None:
            np.save(self._folder / "train" / WEIGHTS_FILE, weights)
            given = np.arange(self._count("validation") - len(self._rows.validation)) + self._raw.train.count
            unsealed = self._weigher.weights(np.concatenate([self._rows.train, self._rows.validation, given]))
            np.save(self._folder / UNSEALED_WEIGHTS_FILE, unsealed)  # type: ignore[arg-type]

    def _example(self) -> Batch:
        """Return the first few training rows."""
        wanted, found = self._rows.train[:_EXAMPLE_ROWS], []
        for start, batch in _numbered_batches(self._raw.train):
            inside = wanted[(wanted >= start) & (wanted < start + _length(batch))] - start
            found.append({name: values[inside] for name, values in batch.items()})
            if sum(map(_length, found)) == len(wanted):
                break
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


class _SplitFiles:
    """The input files of one split, written part by part."""

    def __init__(self, folder: Path, encodings: Sequence[Encoding], rows: int) -> None:
        folder.mkdir()
        self._files = [
            _start_array(folder / f"x{index}.npy", encoding.dtype, (rows, *encoding.shape))
            for index, encoding in enumerate(encodings)
        ]

    def __enter__(self) -> _SplitFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def append(self, encoded: Sequence[Array], chosen: Array | None) -> None:
        """Append those of the encoded rows that `chosen` marks, or all."""
        for file, array in zip(self._files, encoded, strict=True):
            part = array if chosen is None or chosen.all() else array[chosen]
            if len(part):
                file.write(np.ascontiguousarray(part).data)


def _start_array(path: Path, dtype: str, shape: tuple[int, ...]) -> IO[bytes]:
    """Open an .npy file for writing its rows in order: unlike in a mapping, a full disk is an error, not a signal."""
    header: dict[str, Any] = {"descr": np.dtype(dtype).newbyteorder("<").str, "fortran_order": False, "shape": shape}
    file = path.open("wb")
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _numbered_batches(source: RowSource) -> Iterator[tuple[int, Batch]]:
    """Yield each batch with the number of its first row."""
    start = 0
    for batch in source.batches():
        yield start, batch
        start += _length(batch)


def _length(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _fitters(raw: RawDataset) -> list[Fitter]:
    """Return what fits the encoding of each input."""
    if raw.is_array:
        return [ArrayFitter(raw.row_shape, raw.row_dtype, raw.pixel_scale)]
    numbers = [column.name for column in raw.columns if column.kind not in TEXT_KINDS]
    categories = [column.name for column in raw.columns if column.kind is ColumnKind.CATEGORY]
    texts = [column.name for column in raw.columns if column.kind is ColumnKind.TEXT]
    fitters: list[Fitter] = [NumbersFitter(numbers)] if numbers else []
    fitters += [CategoriesFitter(categories)] if categories else []
    return fitters + [TextFitter(name, f"text_{index}" if index else "text") for index, name in enumerate(texts)]


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
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{PARTIAL}")


def _sweep(cache: Path) -> None:
    """Delete what killed processes left behind, once it is old enough to be nobody's work."""
    for partial in cache.glob(f".*{PARTIAL}"):
        if is_abandoned(partial):
            shutil.rmtree(partial, ignore_errors=True)


def is_abandoned(partial: Path) -> bool:
    """Return True for a folder or file in which nothing was written for so long that it is nobody's work."""
    try:
        newest = max(path.stat().st_mtime for path in [partial, *partial.rglob("*")])
    except FileNotFoundError:  # its owner has just published it
        return False
    return time.time() - newest > _ABANDONED_SECONDS
