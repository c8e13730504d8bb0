"""What is made from a result: the final model, which takes raw rows. Runs in a worker, which owns keras."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from automl.data import PreparedDataset


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
