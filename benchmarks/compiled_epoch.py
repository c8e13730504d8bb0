"""Our compiled epoch against a compiled loop written by hand for one model: same rows, model, loss and accuracy.

    python -m benchmarks.compiled_epoch [--models dense deep conv] [--epochs 30] [--threads 1] [--json epoch.json]

Ours is what a trial of a search runs: training, validation and every metric of both. The other is what one would write
with `tf.function`, `GradientTape` and `Optimizer.apply_gradients` over tensors: batches of a fixed shape, accuracy
counted inside. Both run in this one process, an epoch of each in turn, on rows of random pixels. Prints the ratio of
the medians of both, after two epochs that are not counted.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from automl.data import PreparedDataset, load_object, prepare
from automl.dataset_spec import DatasetSpec
from automl.layers import input_layers, output_layers
from automl.objective import Objective
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.trainer import Trainer
from benchmarks.reporting import table, write_json

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_WARM_UP_EPOCHS = 2
_LEARNING_RATE = 1e-3
_VALIDATION_BATCH_ROWS = 2048


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model and its rows.

    Attributes:
        shape: Of one image, uint8.
        rows: Of which four fifths are trained on and a fifth validates.
        batch_size: Rows a step.
        build: Builds the model.
    """

    shape: tuple[int, ...]
    rows: int
    batch_size: int
    build: Callable[[Mapping[str, Any], DatasetSpec], Any]


def _dense(units: tuple[int, ...]) -> Callable[[Mapping[str, Any], DatasetSpec], Any]:
    def build(config: Mapping[str, Any], spec: DatasetSpec) -> Any:
        import keras

        inputs, x = input_layers(spec)
        x = keras.layers.Flatten()(x)
        for width in units:
            x = keras.layers.Dense(width, activation="relu")(x)
        return keras.Model(inputs, output_layers(x, spec))

    return build


def _convolutional(config: Mapping[str, Any], spec: DatasetSpec) -> Any:
    import keras

    inputs, x = input_layers(spec)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, output_layers(x, spec))


CASES = {
    "dense": Case(shape=(28, 28), rows=60_000, batch_size=128, build=_dense((128, 128))),
    "deep": Case(shape=(28, 28), rows=60_000, batch_size=256, build=_dense((256, 256, 256))),
    "conv": Case(shape=(32, 32, 3), rows=6_250, batch_size=64, build=_convolutional),
}


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--epochs", type=int, default=30, help="of each, in turn")
    parser.add_argument("--threads", type=int, default=1, help="of TensorFlow; workers of a search have one a core")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    _start_tensorflow(options.threads)
    found = {}
    for name in options.models:
        found[name] = _measured(CASES[name], options.epochs)
        print(f"{name}: our epoch takes {found[name]['ratio']:.3f} of the time of the one by hand", flush=True)
    rows = [
        [name, *(f"{one[key]:.3f}" for key in ("ratio", "cpu_ratio", "ours_seconds", "by_hand_seconds"))]
        for name, one in found.items()
    ]
    print(table(["model", "ratio", "of CPU seconds", "our epoch, seconds", "by hand, seconds"], rows))
    write_json(options.json, {"threads": options.threads, "epochs": options.epochs, "models": found})


def _start_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _measured(case: Case, epochs: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        data = _prepared(case, Path(folder))
        ours, by_hand = our_epoch(case, data), epoch_by_hand(case, data)
        numbers = range(1, _WARM_UP_EPOCHS + epochs + 1)
        seconds = [(*_timed(ours, number), *_timed(by_hand, number)) for number in numbers]
    counted = zip(*seconds[_WARM_UP_EPOCHS:], strict=True)
    ours_wall, ours_cpu, by_hand_wall, by_hand_cpu = (median(column) for column in counted)
    return {
        "ratio": ours_wall / by_hand_wall,
        "cpu_ratio": ours_cpu / by_hand_cpu,
        "ours_seconds": ours_wall,
        "by_hand_seconds": by_hand_wall,
    }


def _timed(epoch: Callable[[int], object], number: int) -> tuple[float, float]:
    """Return the wall-clock and the CPU seconds of an epoch."""
    wall, cpu = time.monotonic(), time.process_time()
    epoch(number)
    return time.monotonic() - wall, time.process_time() - cpu


def _prepared(case: Case, folder: Path) -> PreparedDataset:
    draw = np.random.default_rng(0)
    x = draw.integers(0, 256, (case.rows, *case.shape), dtype="uint8")
    y = draw.integers(0, 10, case.rows)
    raw = load_object("random", (x, y, x[:100], y[:100]))
    return prepare(raw, task=None, split_seed=0, cache=folder)


def our_epoch(case: Case, data: PreparedDataset) -> Callable[[int], Mapping[str, float]]:
    """Return a function that trains for an epoch as a trial does, and returns the metrics."""
    job = TrialJob(
        number=0,
        config={"optimizer": "adam", "learning_rate": _LEARNING_RATE, "batch_size": case.batch_size},
        seed=0,
        epochs=1_000_000,
        patience=0,
        objective=Objective("val_accuracy", "max"),
    )
    trainer = Trainer(job, case.build, data, Graphs())
    trainer.compile()
    return lambda epoch: trainer.train_epoch(epoch).metrics


def epoch_by_hand(case: Case, data: PreparedDataset) -> Callable[[int], Mapping[str, float]]:
    """Return a function that does the same with a loop written for this very model."""
    import keras
    import tensorflow as tf

    model = case.build({}, data.spec)
    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    optimizer.build(model.trainable_variables)
    loss_of = keras.losses.SparseCategoricalCrossentropy()
    (x, y), (x_validation, y_validation) = (_tensors(data, name) for name in ("train", "validation"))

    def train_step(images: Any, labels: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            prediction = model(images, training=True)
            loss = loss_of(labels, prediction)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss, prediction

    def validation_step(images: Any, labels: Any) -> tuple[Any, Any]:
        prediction = model(images, training=False)
        return loss_of(labels, prediction), prediction

    train = _swept(train_step, len(x), case.batch_size)
    validate = _swept(validation_step, len(x_validation), _VALIDATION_BATCH_ROWS)
    everything = tf.range(len(x_validation))

    def epoch(number: int) -> dict[str, float]:
        order = np.random.default_rng([0, number]).permutation(len(x)).astype("int32")
        loss, accuracy = train(x, y, tf.constant(order))
        val_loss, val_accuracy = validate(x_validation, y_validation, everything)
        return {
            "loss": float(loss),
            "accuracy": float(accuracy),
            "val_loss": float(val_loss),
            "val_accuracy": float(val_accuracy),
        }

    return epoch


def _tensors(data: PreparedDataset, name: Any) -> tuple[Any, Any]:
    import tensorflow as tf

    split = data.split(name)
    return tf.constant(split.inputs[0]), tf.constant(split.outputs[0])


def _swept(step: Callable[[Any, Any], tuple[Any, Any]], rows: int, batch_size: int) -> Any:
    """Return a compiled pass over all rows: batches of a fixed shape, then what is left; mean loss and accuracy."""
    import tensorflow as tf

    def counted(x: Any, y: Any, chosen: Any, size: int) -> tuple[Any, Any]:
        labels = tf.gather(y, chosen)
        loss, prediction = step(tf.gather(x, chosen), labels)
        hits = tf.equal(tf.argmax(prediction, -1, output_type=tf.int32), labels)
        return loss * size, tf.reduce_sum(tf.cast(hits, "float32"))

    def swept(x: Any, y: Any, order: Any) -> tuple[Any, Any]:
        total, right = tf.constant(0.0), tf.constant(0.0)
        for batch in tf.range(rows // batch_size):
            chosen = tf.ensure_shape(order[batch * batch_size : (batch + 1) * batch_size], [batch_size])
            loss, hits = counted(x, y, chosen, batch_size)
            total, right = total + loss, right + hits
        left = rows % batch_size
        if left:
            loss, hits = counted(x, y, order[rows - left :], left)
            total, right = total + loss, right + hits
        return total / rows, right / rows

    return tf.function(swept, jit_compile=False)


if __name__ == "__main__":
    main()
