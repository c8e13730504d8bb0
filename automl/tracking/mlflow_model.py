"""The final model in MLflow's registry of logged models, as its own `Model.log` would have it there."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from automl.study_record import StudyRecord
from automl.tracking.mlflow_values import final_digest, final_metrics, flatten, model_folder, study_id


def write_model(client: Any, experiment_id: str, record: StudyRecord, run_id: str) -> None:
    """Do what `mlflow.models.Model.log` does, for a model that a worker has saved already; what is there stays.

    Args:
        client: A `mlflow.MlflowClient`.
        experiment_id: The experiment of the study's run.
        record: A study with a final score and a saved model.
        run_id: The study's run.
    """
    from mlflow.entities import LoggedModelOutput

    model = _find_or_create_model(client, experiment_id, record, run_id)
    if str(model.status) != "READY":
        _upload_model(client, record, run_id, model)
    outputs = client.get_run(run_id).outputs
    if any(output.model_id == model.model_id for output in (outputs.model_outputs if outputs else ())):
        return
    _link_score(client, record, run_id, model.model_id)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


def _find_or_create_model(client: Any, experiment_id: str, record: StudyRecord, run_id: str) -> Any:
    tags = {"automl.study_id": study_id(record), "automl.final": final_digest(record)}
    query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    for model in client.search_logged_models([experiment_id], query):
        if model.source_run_id == run_id:
            return model
    return client.create_logged_model(
        experiment_id,
        name=re.sub(r"[/:.%\"']", "-", record.name),
        source_run_id=run_id,
        tags=tags,
        params=flatten(record.best.config) if record.best is not None else {},
        model_type="keras",
    )


def _upload_model(client: Any, record: StudyRecord, run_id: str, model: Any) -> None:
    from mlflow.models import Model

    folder = model_folder(record)
    client.log_model_artifacts(model.model_id, str(folder))
    # The worker could not know the model's id; the UI and the loader look for it in MLmodel.
    description = Model.load(str(folder))
    description.model_id = description.model_uuid = model.model_id
    description.run_id, description.artifact_path = run_id, model.artifact_location
    with tempfile.TemporaryDirectory() as scratch:
        description.save(str(Path(scratch) / "MLmodel"))
        client.log_model_artifact(model.model_id, str(Path(scratch) / "MLmodel"))
    client.finalize_logged_model(model.model_id, "READY")


def _link_score(client: Any, record: StudyRecord, run_id: str, model_id: str) -> None:
    # The same points, with the model's id: its page shows them, and the store knows the run's again.
    from mlflow.entities import Metric

    points = [
        Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
        for name in final_metrics(record)
        for point in client.get_metric_history(run_id, name)[-1:]
    ]
    client.log_batch(run_id, metrics=points)
