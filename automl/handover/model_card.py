"""`model_card.md`: what a person should know of a model before using it."""

from __future__ import annotations

import datetime
import math
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import jinja2

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec
from automl.handover.train_script import TEMPLATES
from automl.records import TrialState
from automl.study_record import StudyRecord, mean_and_spread

_HOW: Mapping[InputKind, str] = {
    InputKind.NUMERIC: "standardised, missing values filled with the mean of the training rows",
    InputKind.CATEGORICAL: "a code a category of the training rows; 0 for missing, 1 for unknown",
    InputKind.TEXT: "a code a word of the training rows' vocabulary; 0 for padding, 1 for unknown words",
    InputKind.IMAGE: "pixels",
    InputKind.ARRAY: "standardised with one mean and deviation",
}
_SETTINGS = ("sampler", "scheduler", "seed", "split_seed", "epochs", "patience", "finalists", "trials", "seconds")
_SHOWN_LABELS = 20


def model_card(model: Any, network: Any, record: StudyRecord, *, note: str = "") -> str:
    """Return the card, in Markdown.

    Args:
        model: The final model.
        network: The searched model inside it, or the final model itself where it cannot be told apart.
        record: The study that it comes from.
        note: What a person should know of the export, such as why there is no `train.py`.
    """
    spec = record.dataset
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    context = {
        "study": escape(record.name),
        "study_name": record.name,
        "dataset": escape(spec.name),
        "spec": spec,
        "targets": [escape(output.name) for output in spec.outputs],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "columns": [(escape(column.name), column.kind.value) for column in spec.columns],
        "inputs": [(escape(one.name), str(one.shape), _how(one)) for one in spec.inputs],
        "outputs": [(escape(one.name), one.task.value, _labels(one)) for one in spec.outputs],
        "layers": _layers(network),
        "parameters": f"{model.count_params():,}",
        "use": _use(spec),
        "note": note,
        "versions": _versions(),
        **_quality(record),
        **_search(record),
    }
    return environment.get_template("model_card.md.jinja").render(context)


def escape(value: object) -> str:
    """Return text from data so that Markdown shows it as it is, in a table too."""
    plain = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", plain)


def _how(spec: InputSpec) -> str:
    if spec.kind is InputKind.IMAGE:
        return f"pixels divided by {spec.pixel_scale:g}" if spec.pixel_scale else "pixels, standardised"
    return _HOW[spec.kind]


def _labels(output: OutputSpec) -> str:
    if not output.labels:
        return "numbers in the target's units"
    shown = ", ".join(escape(label) for label in output.labels[:_SHOWN_LABELS])
    rest = len(output.labels) - _SHOWN_LABELS
    return f"{shown} and {rest} more (labels.json)" if rest > 0 else shown


def _layers(network: Any) -> list[tuple[str, str, str, str]]:
    return [
        (escape(layer.name), type(layer).__name__, _shape(layer), f"{layer.count_params():,}")
        for layer in network.layers
    ]


def _shape(layer: Any) -> str:
    import keras

    try:
        shapes = [tuple(one.shape[1:]) for one in keras.tree.flatten(layer.output)]
    except (AttributeError, ValueError):  # a layer that is called several times has no single output
        return "several"
    return ", ".join(map(str, shapes))


def _quality(record: StudyRecord) -> dict[str, Any]:
    final, best = record.final, record.best
    if final is None or best is None or best.value is None:
        return {"score": None, "is_refit": False}
    metric = record.test_metric
    tested = tuple(one[metric] for one in final.seed_metrics)
    mean, spread = mean_and_spread(tested) if tested else (math.nan, math.nan)
    return {
        "metric": escape(metric),
        "score": final.metrics[metric],
        "interval": final.interval,
        "seeds": len(tested),
        "is_refit": final.is_refit,
        "mean": mean,
        "spread": spread,
        "validation": best.value,
        "all_scores": ", ".join(f"{escape(name)} {value:.4f}" for name, value in final.metrics.items()),
    }


def _search(record: StudyRecord) -> dict[str, Any]:
    counts = ", ".join(
        f"{record.count(state)} {state.value}" for state in TrialState if state.is_final and record.count(state)
    )
    known = [(name, record.settings[name]) for name in _SETTINGS if record.settings.get(name) is not None]
    config = {} if record.best is None else record.best.config
    few = len(record.final.seed_metrics) if record.final else 0
    return {
        "space": escape(record.space),
        "objective": escape(f"{record.objective.metric} ({record.objective.direction})"),
        "counts": counts,
        "seconds": record.elapsed_seconds,
        "settings": [(name.replace("_", " "), escape(value)) for name, value in known],
        "config": [(escape(name), escape(value)) for name, value in _flat(config)],
        "limit": f"The spread is that of {few} trainings on one split; another split may give another score."
        if few
        else "The score is that of one training on one split; another seed or split may give another.",
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name, value in config.items():
        if isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
            for index, one in enumerate(value):
                rows += _flat(one, f"{prefix}{name}.{index}.")
        else:
            rows.append((prefix + name, f"{value:.4g}" if isinstance(value, float) else value))
    return rows


def _use(spec: DatasetSpec) -> str:
    """Return the lines that call the model with rows."""
    has_text = any(one.dtype == "string" for one in spec.raw_inputs)
    call = "model.predict_on_batch(rows)  # Keras's predict takes no strings" if has_text else "model.predict(rows)"
    first = spec.raw_inputs[0]
    if len(spec.raw_inputs) == 1:
        holds = "strings" if has_text else "float32"
        return f"rows = ...  # {holds}, shape (rows, {', '.join(map(str, first.shape))})\n{call}"
    kinds = f"columns of shape (rows, 1) by name, such as {first.name!r}; numbers float32, texts strings"
    return f"rows = {{...}}  # {kinds}\n{call}"


def _versions() -> dict[str, str]:
    names = {"automl": "keras-automl", "keras": "keras", "tensorflow": "tensorflow", "numpy": "numpy"}
    return {name: version(package) for name, package in names.items()} | {"Python": platform.python_version()}
