"""Trials that a hypermodel's own `fit` trains: with steps per execution chosen by timing, and with one.

    python -m benchmarks.fit_steps [--works digits mnist conv] [--rounds 5] [--epochs 10] [--json FILE]

Both train the same config with the same seed, in turn, in this process of one thread, and must report the same losses.
Ratios are of whole trials: building, timing, tracing, training and scoring.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from automl import input_layers, output_layers
from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.objective import Objective
from automl.records import Config, Decision
from automl.training.fit_steps import STEPS
from automl.training.job import TrialJob
from automl.training.run_trial import run_trial
from benchmarks.reporting import data_folder, table, write_json

_WORKS = {"digits": "dense", "mnist": "dense", "conv": "convolutional"}
_MNIST_ROWS = 15_000  # of which a fifth tests, and a fifth of the rest validates


def main() -> None:
    """Run every work, and print its ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", choices=_WORKS, nargs="+", default=list(_WORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    _set_up()
    with tempfile.TemporaryDirectory() as place:
        found = {work: _measure(work, options.rounds, options.epochs, Path(place)) for work in options.works}
    rows = [[work, *(f"{value:.2f}" for value in figures.values())] for work, figures in found.items()]
    header = ["work", "times as fast", "of CPU seconds", "seconds, single steps", "seconds, chosen"]
    print(table(header, rows))
    write_json(options.json, found)


@dataclass(frozen=True)
class _Took:
    seconds: float
    cpu_seconds: float
    losses: list[float]


class _OwnFit:
    """A builder with a `fit` of its own, as a KerasTuner hypermodel with an overridden one becomes."""

    def __call__(self, config: Config, spec: Any) -> Any:
        import keras

        inputs, x = input_layers(spec)
        if config["kind"] == "convolutional":
            x = keras.layers.MaxPooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(x))
        x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(inputs, output_layers(keras.layers.Dropout(0.2)(x), spec))

    def fit_for(self, config: Config) -> Any:
        return lambda model, x, y, **arguments: model.fit(x, y, **arguments)


def _set_up() -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def _measure(work: str, rounds: int, epochs: int, place: Path) -> dict[str, float]:
    data = _prepared(work, place)
    config = {"kind": _WORKS[work], "batch_size": 64}
    _train(data, config, 1, STEPS)  # what the first trial of a process pays for
    single, chosen = [], []
    for _ in range(rounds):
        single.append(_train(data, config, epochs, ()))
        chosen.append(_train(data, config, epochs, STEPS))
    np.testing.assert_allclose(chosen[0].losses, single[0].losses, rtol=1e-6)
    seconds = [statistics.median(one.seconds for one in every) for every in (single, chosen)]
    cpu_seconds = [statistics.median(one.cpu_seconds for one in every) for every in (single, chosen)]
    return {
        "times_as_fast": seconds[0] / seconds[1],
        "cpu_ratio": cpu_seconds[0] / cpu_seconds[1],
        "single_seconds": seconds[0],
        "chosen_seconds": seconds[1],
    }


def _train(data: PreparedDataset, config: Config, epochs: int, steps: Sequence[int]) -> _Took:
    objective = Objective("val_loss", "min")
    job = TrialJob(number=0, config=config, seed=0, epochs=epochs, patience=0, objective=objective)
    started, cpu_started = time.monotonic(), time.process_time()
    losses = []
    with patch("automl.training.fit_steps.STEPS", steps):
        trial = run_trial(job, _OwnFit(), data)
        report = next(trial)
        try:
            while True:
                losses.append(report.metrics["loss"])
                report = trial.send(Decision.CONTINUE)
        except StopIteration as stop:
            if stop.value.reason != "epochs":
                raise SystemExit(f"a trial ended by {stop.value.reason}: {stop.value.message}") from None
    return _Took(time.monotonic() - started, time.process_time() - cpu_started, losses)


def _prepared(work: str, place: Path) -> PreparedDataset:
    if work == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
    else:
        with np.load(data_folder() / "mnist.npz") as file:
            x, y = file["x_train"][:_MNIST_ROWS], file["y_train"][:_MNIST_ROWS]
    return prepare(raw_from_arrays(work, x, y), task=None, split_seed=0, cache=place)


if __name__ == "__main__":
    main()
