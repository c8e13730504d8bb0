"""What is made from a result: the final model, which takes raw rows. Runs in a worker, which owns keras."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from automl.data import Encoding, EncodingKind, PreparedDataset
from automl.dataset_spec import OutputSpec, Task


def final_model(model: Any, prepared: PreparedDataset) -> Any:
    """Return a model of raw rows: encodings as layers, then the searched model, then the target's units.

    Args:
        model: A trained model of encoded rows.
        prepared: The dataset whose encodings it was trained on.
    """
    import keras

    inputs, encoded = [], []
    for spec, encoding in zip(prepared.spec.inputs, prepared.encodings, strict=True):
        inputs.append(keras.Input(spec.raw_shape, name=spec.name))
        encoded.append(_encode(inputs[-1], encoding))
    # The layers alone, without optimizer, loss and a class of the user's own: the file loads anywhere and silently.
    searched = keras.Model(model.inputs, model.outputs, name=model.name)
    decoded = [_decode(one, spec) for one, spec in zip(searched(encoded), prepared.spec.outputs, strict=True)]
    return keras.Model(
        inputs[0] if len(inputs) == 1 else inputs,
        decoded[0] if len(decoded) == 1 else decoded,
        name="final_model",
    )


def _encode(x: Any, encoding: Encoding) -> Any:
    import keras

    if encoding.shape != encoding.raw_shape:
        x = keras.layers.Reshape(encoding.shape)(x)
    if encoding.kind is EncodingKind.RESCALE:
        return keras.layers.Rescaling(1 / encoding.pixel_scale)(x)
    if len(encoding.mean) == 1:
        return keras.layers.Normalization(axis=None, mean=encoding.mean[0], variance=encoding.variance[0])(x)
    return keras.layers.Normalization(axis=-1, mean=list(encoding.mean), variance=list(encoding.variance))(x)


def _decode(y: Any, output: OutputSpec) -> Any:
    import keras

    if output.task is not Task.REGRESSION:
        return y
    return keras.layers.Rescaling(list(output.scale), offset=list(output.offset))(y)


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
    model.save(partial / "model.keras")
    (partial / "dataset_spec.json").write_text(json.dumps(prepared.spec.to_json(), indent=1) + "\n", "utf-8")
    _save_for_mlflow(model, prepared, partial / "mlflow")
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(partial, folder)


def _save_for_mlflow(model: Any, prepared: PreparedDataset, folder: Path) -> None:
    import mlflow.keras
    from mlflow.models import infer_signature

    folder.mkdir()  # MLflow writes the example before it makes the folder
    example = prepared.raw_example()
    predicted = model.predict(example, verbose=0)
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
