"""What is made from a result: the final model, which takes raw rows. Runs in a worker, which owns keras."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from automl.data import PreparedDataset
from automl.durable import put_folder_in_place
from automl.errors import DataError, RequestError, SurroundingsError
from automl.home import Home
from automl.study_record import StudyRecord


def save_final_model(model: Any, prepared: PreparedDataset, folder: Path) -> None:
    """Write `model.keras`, the dataset's spec (labels included) and an MLflow model, whole or not at all.

    Args:
        model: What `final_model` returned.
        prepared: Its dataset.
        folder: Folder to make; one that is there is replaced.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        model.save(partial / "model.keras")
        (partial / "dataset_spec.json").write_text(json.dumps(prepared.spec.to_json(), indent=1) + "\n", "utf-8")
        _save_for_mlflow(model, prepared, partial / "mlflow")
        put_folder_in_place(partial, folder)  # the journal, which is synced, will speak of it
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # half a model would take the room that the study needs


def _save_for_mlflow(model: Any, prepared: PreparedDataset, folder: Path) -> None:
    import mlflow.keras
    from mlflow.models import infer_signature

    folder.mkdir()  # MLflow writes the example before it makes the folder
    example = prepared.raw_example()
    predicted = _called(model, example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on integer columns and on its own requirements
        mlflow.keras.save_model(
            model,
            str(folder),
            signature=infer_signature(example, predicted),
            input_example=example,
            # Said here, because MLflow would find them out by loading the model in another process: ten seconds.
            pip_requirements=[f"{name}=={version(name)}" for name in ("keras", "numpy", "tensorflow")],
        )


def _called(model: Any, rows: Any) -> Any:
    """Return what a model gives for raw rows, text among them, as arrays."""
    import tensorflow as tf

    given = model(tf.nest.map_structure(tf.constant, rows), training=False)
    return tf.nest.map_structure(lambda one: one.numpy(), given)


_DATA_FOLDER = "data"
_COPIED_ROWS = 4096
_PARTS = 4  # what the writing of an export reports as done: data, script, card, SavedModel


def check_export(record: StudyRecord, folder: Path, *, force: bool) -> None:
    """Refuse an export that cannot be made, before anything is started.

    Raises:
        RequestError: The study has no final model, or the folder is not empty, no folder, or cannot be written.
    """
    if not (record.folder / "model" / "model.keras").exists():
        raise RequestError(f"study {record.name!r} has no final model yet: automl resume {record.name}, with finalists")
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file; expected a folder that is new or empty")
    if folder.resolve() in (record.folder.resolve(), *record.folder.resolve().parents):
        raise RequestError(f"{folder} holds the study itself: choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise RequestError(f"{folder} is not empty: choose another folder, or replace what is there with --force")
    parent = next(one for one in folder.absolute().parents if one.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise RequestError(f"{parent} cannot be written: choose another folder")


def partial_export(folder: Path) -> Path:
    """Return where an export lies until it is whole: beside its place, so that it can be renamed."""
    absolute = folder.absolute()
    return absolute.with_name(f".{absolute.name}.{os.getpid()}.partial")


def publish_export(partial: Path, folder: Path) -> None:
    """Put a whole export in its place; what was there is gone only then."""
    target = folder.absolute()
    old = partial.with_suffix(".old")
    if target.exists():
        os.replace(target, old)
    os.replace(partial, target)
    shutil.rmtree(old, ignore_errors=True)


def write_export(*, say: Callable[[int, int], None], record: StudyRecord, partial: Path) -> str:
    """Write everything that is exported; runs in a process that owns keras.

    Args:
        say: Told how many parts are done, of how many.
        record: The study.
        partial: The folder to make.

    Returns:
        What a person should know, such as why there is no `train.py`; empty where all was written.

    Raises:
        RequestError: The prepared dataset is gone.
        SurroundingsError: The folder cannot be written.
    """
    import keras

    source = record.folder / "model"
    model = keras.saving.load_model(source / "model.keras", compile=False, safe_mode=True)
    try:
        partial.mkdir(parents=True)
        shutil.copyfile(source / "model.keras", partial / "model.keras")
        _write_json(partial / "dataset_spec.json", record.dataset.to_json())
        _write_json(partial / "labels.json", {one.name: list(one.labels) for one in record.dataset.outputs})
        say(1, _PARTS)
        note = _write_code(model, record, partial)
        say(2, _PARTS)
        _write_card(model, record, partial, note)
        say(3, _PARTS)
        model.export(partial / "saved_model", format="tf_saved_model", verbose=False)
        say(_PARTS, _PARTS)
    except OSError as error:
        raise SurroundingsError(f"the export cannot be written: {error.strerror or error}") from error
    return note


def _write_code(model: Any, record: StudyRecord, folder: Path) -> str:
    """Write the script and its rows; return why not, where a model has no plain Keras code."""
    from automl.handover.expressions import CannotWriteError
    from automl.handover.train_script import write_script

    prepared = _prepared(record)
    try:
        write_script(model, record, folder, prepared)
    except CannotWriteError as error:
        return f"There is no `train.py`: {error}."
    _copy_rows(prepared, folder / _DATA_FOLDER)
    return ""


def _write_card(model: Any, record: StudyRecord, folder: Path, note: str) -> None:
    from automl.handover.expressions import CannotWriteError
    from automl.handover.model_card import model_card
    from automl.handover.train_script import searched_network

    try:
        network = searched_network(model, record.dataset)
    except CannotWriteError:
        network = model
    (folder / "model_card.md").write_text(model_card(model, network, record, note=note), "utf-8")


def _prepared(record: StudyRecord) -> PreparedDataset:
    try:
        return PreparedDataset.open(Home(record.folder.parents[1]).datasets / record.dataset.fingerprint)
    except DataError as error:
        raise RequestError(
            f"the prepared rows of {record.dataset.name!r} are gone, which train.py needs: "
            f"automl resume {record.name} prepares them again"
        ) from error


def _copy_rows(prepared: PreparedDataset, folder: Path) -> None:
    """Write the encoded rows of every split, an array a file: the sealed ones too, for the script's last line."""
    folder.mkdir()
    fold = 0 if prepared.spec.folds else None
    splits = {
        "train": prepared.split("train", fold=fold),
        "validation": prepared.split("validation", fold=fold),
        "test": prepared.sealed_test(),
    }
    for name, split in splits.items():
        arrays = {f"x{index}": one for index, one in enumerate(split.inputs)}
        arrays |= {f"y{index}": one for index, one in enumerate(split.outputs)}
        if split.weights is not None and name == "train":
            arrays["weights"] = split.weights
        for part, array in arrays.items():
            _copy_array(array, split.chosen, folder / f"{name}_{part}.npy")


def _copy_array(array: Any, chosen: Any, path: Path) -> None:
    """Write some rows of a mapped array, a few thousand at a time."""
    import numpy as np

    count = len(array) if chosen is None else len(chosen)
    written = np.lib.format.open_memmap(path, mode="w+", dtype=array.dtype, shape=(count, *array.shape[1:]))
    for start in range(0, count, _COPIED_ROWS):
        part = slice(start, start + _COPIED_ROWS)
        written[part] = array[part] if chosen is None else array[chosen[part]]
    written.flush()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
