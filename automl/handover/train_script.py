"""`train.py`: a script that trains the winning model again, and that a person can read and change."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec, OutputSpec
from automl.handover.architecture import ModelWriter, as_function, is_partly_frozen
from automl.handover.expressions import CannotWriteError, Writer, text
from automl.records import Config
from automl.study_record import StudyRecord
from automl.training.assemble import assemble
from automl.training_defaults import training_value

TEMPLATES = Path(__file__).parent / "templates"
VALUES_FILE = "values.json"

_METRICS = {
    "accuracy": '["accuracy"]',
    "rmse": '[keras.metrics.RootMeanSquaredError(name="rmse")]',
    "mae": '[keras.metrics.MeanAbsoluteError(name="mae")]',
    "r2": '[keras.metrics.R2Score(name="r2")]',
    "auc": '[keras.metrics.AUC(name="auc", multi_label=True)]',
}
"""The objective's metrics as Keras counts them while it trains."""

_CHECKED_ROWS = 5
_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script, and the long lists that it reads.

    Attributes:
        code: Python source.
        values: Content of `values.json`; empty where the script needs none.
    """

    code: str
    values: Mapping[str, Any]


def write_script(model: Any, record: StudyRecord, folder: Path, prepared: PreparedDataset) -> None:
    """Write `train.py`, and what it reads of long lists, and check that it builds the very same model.

    Args:
        model: The final model.
        record: The study that it comes from.
        folder: Where to write.
        prepared: The dataset.

    Raises:
        CannotWriteError: The model has no plain Keras code; nothing is written.
    """
    with_names = make_script(model, record, every_name=True)
    _check_same(with_names, model, prepared)
    script = make_script(model, record)
    if script.values:
        (folder / VALUES_FILE).write_text(json.dumps(script.values, default=float) + "\n", "utf-8")
    (folder / "train.py").write_text(script.code, "utf-8")


def make_script(model: Any, record: StudyRecord, *, every_name: bool = False) -> Script:
    """Return the script of a final model.

    Args:
        model: The final model.
        record: The study that it comes from.
        every_name: Write the name of every layer, not only of those that a person named.

    Raises:
        CannotWriteError: The model has no plain Keras code.
    """
    writer = Writer(every_name=every_name)
    network = searched_network(model, record.dataset)
    before, after = ModelWriter(model, writer).around(network.name)
    inner = ModelWriter(network, writer).whole()
    functions = [*before.functions, *inner.functions, as_function("build_network", inner, name=network.name)]
    training = _training(network, record, writer)
    context = {
        "functions": functions,
        "encode_lines": before.lines,
        "raw_inputs": before.inputs,
        "encoded": before.outputs,
        "decode_lines": after.lines,
        "final_outputs": after.outputs,
        "frozen": [text(layer.name) for layer in network.layers if is_partly_frozen(layer)],
        "network_name": text(network.name),
        "has_values": bool(writer.long_values),
        "imports": writer.imports,
        **training,
        **_story(record),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    return Script(code=environment.get_template("train.py.jinja").render(context), values=writer.long_values)


def searched_network(model: Any, spec: DatasetSpec) -> Any:
    """Return the searched model of encoded rows inside a final model.

    Raises:
        CannotWriteError: There is none.
    """
    import keras

    shapes = [one.shape for one in spec.inputs]
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model) and getattr(layer, "inputs", None)]
    fitting = [one for one in nested if [tuple(x.shape[1:]) for x in one.inputs] == shapes]
    if not fitting:
        raise CannotWriteError("the final model holds no network of the dataset's encoded inputs")
    return fitting[-1]


def _training(network: Any, record: StudyRecord, writer: Writer) -> dict[str, Any]:
    """Return how the winner was trained, as code."""
    import keras

    assert record.best is not None
    config, spec = record.best.config, record.dataset
    batch_size = int(training_value(config, "batch_size"))
    epochs = _epochs(record, config)
    steps = max(1, epochs * math.ceil(spec.train_rows / batch_size))
    compiled = assemble(lambda _config, _spec: network, config, spec, total_steps=steps)
    optimizer = keras.saving.serialize_keras_object(compiled.optimizer)
    loss = compiled.loss if isinstance(compiled.loss, list) else [compiled.loss]
    metric, direction = record.objective.metric.removeprefix("val_"), record.objective.direction
    is_loss = metric == "loss"
    is_known = len(spec.outputs) == 1 and metric in _METRICS
    return {
        "optimizer": writer.made(optimizer),
        "has_schedule": isinstance(optimizer["config"]["learning_rate"], Mapping),
        "loss": writer.value(keras.saving.serialize_keras_object(loss if len(loss) > 1 else loss[0])),
        "batch_size": batch_size,
        "epochs": epochs,
        "monitor": record.objective.metric if is_known or is_loss else "val_loss",
        "mode": direction if is_known or is_loss else "min",
        "metrics": _METRICS[metric] if is_known else "",
    }


def _epochs(record: StudyRecord, config: Config) -> int:
    most = int(record.settings["epochs"])
    return min(most, int(config.get("epochs", most)))


def _story(record: StudyRecord) -> dict[str, Any]:
    assert record.best is not None
    spec = record.dataset
    seeds = [one.seed for one in record.finalists if one.number == record.best.number]
    score = None if record.final is None else record.final.metrics.get(record.test_metric)
    return {
        "dataset": _one_line(spec.name),
        "study": record.name,
        "trial": record.best.number,
        "test_score": "none" if score is None else f"{record.test_metric} {score:.4f}",
        "seed": (seeds[0] if seeds else record.best.seed) % 2**32,
        "patience": int(record.settings["patience"]),
        "input_count": len(spec.inputs),
        "outputs": [_output(output, len(spec.outputs)) for output in spec.outputs],
    }


def _output(output: OutputSpec, count: int) -> dict[str, Any]:
    key = text(f"{output.name}_") if count > 1 else '""'
    return {"task": output.task.value, "scale": list(output.scale), "key": key}


def _one_line(name: str) -> str:
    """Return a name from data as it may stand in a docstring."""
    return " ".join(name.split()).replace("\\", "/").replace('"', "'")


def _check_same(script: Script, model: Any, prepared: PreparedDataset) -> None:
    """Build the script's model, give it the final model's weights, and compare what both give.

    Raises:
        CannotWriteError: They differ.
    """
    import keras

    built = _rebuilt(script, searched_network(model, prepared.spec))
    example = prepared.raw_example()
    rows = {key: one[:_CHECKED_ROWS] for key, one in example.items()} if isinstance(example, Mapping) else example[:5]
    wanted, given = (keras.tree.flatten(one(_tensors(rows), training=False)) for one in (model, built))
    for one, other in zip(wanted, given, strict=True):
        if not np.allclose(one.numpy(), other.numpy(), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise CannotWriteError("the model that the code builds does not predict what the saved one does")


def _rebuilt(script: Script, network: Any) -> Any:
    source = script.code.replace('json.loads((HERE / "values.json").read_text("utf-8"))', "_VALUES")
    names: dict[str, Any] = {"__name__": "train", "__file__": "train.py", "_VALUES": dict(script.values)}
    exec(compile(source, "train.py", "exec"), names)
    again = names["build_network"]()
    copy_weights(network, again)
    return names["final_model"](again)


def copy_weights(source: Any, target: Any) -> None:
    """Give a model the weights of another whose layers have the same names, nested ones too.

    Raises:
        CannotWriteError: Their layers or weights differ.
    """
    import keras

    for layer in source.layers:
        try:
            other = target.get_layer(layer.name)
            if isinstance(layer, keras.Model):
                copy_weights(layer, other)
            else:
                other.set_weights(layer.get_weights())
        except ValueError as error:
            raise CannotWriteError(f"layer {layer.name!r} comes back with other weights") from error


def _tensors(rows: Any) -> Any:
    import tensorflow as tf

    return {key: tf.constant(one) for key, one in rows.items()} if isinstance(rows, Mapping) else tf.constant(rows)
