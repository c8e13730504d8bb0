"""Seconds spent on checkpoints over seconds spent training, for dense models of several sizes trained by Adam.

    python -m benchmarks.checkpoints [--weights 1000000 10000000] [--seconds 100]

Each model is trained in this process for so many seconds, with checkpoints as a search writes them: when a crash would
cost too much without one. Then it is paused, which writes one more, and brought back. The goal is a share of at
most 2 %.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from automl import input_layers, output_layers
from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.objective import Objective
from automl.records import Config, Decision, TrialResult
from automl.training.job import TrialJob
from automl.training.run_trial import Trial, run_trial

_COLUMNS, _ROWS, _CLASSES = 64, 4000, 10


def main() -> None:
    """Measure every size, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--seconds", type=float, default=100.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        random = np.random.default_rng(0)
        raw = raw_from_arrays("random", random.normal(size=(_ROWS, _COLUMNS)), np.arange(_ROWS) % _CLASSES)
        data = prepare(raw, task=None, split_seed=0, cache=Path(place))
        for weights in options.weights:
            _measure(weights, options.seconds, data, Path(place))


def _measure(weights: int, seconds: float, data: PreparedDataset, place: Path) -> None:
    config = {"units": round(math.sqrt(weights + (_COLUMNS + _CLASSES) ** 2 / 4) - (_COLUMNS + _CLASSES) / 2)}
    folder = place / "checkpoints" / str(weights)
    objective = Objective("val_loss", "min")
    job = TrialJob(
        number=0, config=config, seed=0, epochs=10**6, patience=0, objective=objective, checkpoint_folder=folder
    )
    trial = run_trial(job, _build, data)
    next(trial)
    trained, written = _train(trial, seconds)
    started = time.monotonic()
    result = _pause(trial)
    pause_seconds = time.monotonic() - started
    newest = max(folder.iterdir())
    started = time.monotonic()
    again = run_trial(job, _build, data)
    next(again)
    back_seconds = time.monotonic() - started
    again.close()
    print(
        f"{result.parameter_count:11,} weights: {written / trained:6.2%} of {trained:.0f} s; one file of"
        f" {newest.stat().st_size / 1e6:.1f} MB takes {pause_seconds:.2f} s; built and brought back in"
        f" {back_seconds:.2f} s (built alone {result.compile_seconds:.2f} s)",
        flush=True,
    )


def _train(trial: Trial, seconds: float) -> tuple[float, float]:
    """Return the seconds of the epochs, and of what lay between them."""
    trained = between = 0.0
    while trained < seconds:
        started = time.monotonic()
        report = trial.send(Decision.CONTINUE)
        trained += report.seconds
        between += time.monotonic() - started - report.seconds
    return trained, between


def _pause(trial: Trial) -> TrialResult:
    try:
        trial.send(Decision.PAUSE)
    except StopIteration as stop:
        result: TrialResult = stop.value
        return result
    raise AssertionError("a paused trial has ended")


def _build(config: Config, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    for _ in range(2):
        x = keras.layers.Dense(config["units"], activation="relu")(x)
    return keras.Model(inputs, output_layers(x, spec))


if __name__ == "__main__":
    main()
