"""A migrated SQLite store to copy: migrating a new one takes seconds."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tracked_studies import SPEC

from automl.objective import Objective
from automl.records import TrialRecord
from automl.study_record import StudyRecord
from automl.tracking.mlflow import embedded_uri


@pytest.fixture(scope="session")
def migrated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated", DeprecationWarning)
        from mlflow import MlflowClient

        home = tmp_path_factory.mktemp("migrated")
        MlflowClient(embedded_uri(home)).search_experiments()
    return home


@pytest.fixture
def home(migrated_home: Path, tmp_path: Path) -> Path:
    shutil.copy(migrated_home / "mlflow.db", tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as mlflow saves models, with a signature; the tracker does not look into the rest."""
    import numpy as np
    from mlflow.models import Model, infer_signature

    folder = tmp_path_factory.mktemp("model") / "mlflow"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "model.keras").write_bytes(b"weights")
    rows = np.ones((2, 3), dtype="float32")
    Model(signature=infer_signature(rows, rows), flavors={"tensorflow": {}}).save(str(folder / "MLmodel"))
    return folder


@pytest.fixture
def client(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(embedded_uri(home))


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., StudyRecord]:
    """Return a function that makes a study's record from its trials."""

    def make(*trials: TrialRecord, **changes: Any) -> StudyRecord:
        values: dict[str, Any] = {
            "name": "digits-mlp-001",
            "folder": tmp_path / "studies" / "digits-mlp-001",
            "dataset": SPEC,
            "space": "mlp",
            "space_table": ({"name": "units", "range": "16..512 log", "default": "64", "when": ""},),
            "objective": Objective("val_accuracy", "max"),
            "settings": {"sampler": "tpe", "trials": 10, "seconds": None, "seed": 0},
            "trials": trials,
        }
        return StudyRecord(**(values | changes))

    return make
