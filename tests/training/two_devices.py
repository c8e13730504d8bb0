"""A process whose CPU is two devices of TensorFlow's, which no process can become once it has trained anything."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits
from whole_trials import run

from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.finalists import score_on_test
from automl.objective import Objective
from automl.space_sources import find_space
from automl.training.assemble import build_model
from automl.training.fit_model import FitModel
from automl.training.fit_steps import steps_by_timing
from automl.training.job import TrialJob
from automl.training.replicas import mirror_on

EPOCHS = 3


def main() -> None:
    """Train one config on one device by Keras's `fit`, then on two, then as a trial on two."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    x, y = load_digits(return_X_y=True)
    data = prepare(raw_from_arrays("digits", x[:300], y[:300]), task=None, split_seed=0, cache=Path(sys.argv[1]))
    space = find_space("mlp").narrow({"hidden": 1, "dropout": 0.0, "batch_size": 32})
    objective = Objective("val_accuracy", "max")
    job = TrialJob(number=0, config=space.default_config(), seed=5, epochs=EPOCHS, patience=0, objective=objective)
    alone = _losses(job, data)
    mirror_on(["CPU:0", "CPU:1"])
    together = _losses(job, data)
    model = build_model(space.build, job.config, 5, data.spec, EPOCHS)
    print(steps_by_timing(model, x[:32].astype("float32")), "steps a call")  # noqa: T201 - what the test reads
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    weights = Path(sys.argv[1]) / "weights.npz"
    reports, result = run(replace(job, weights_path=weights), space.build, data)
    assert result.reason == "epochs", result
    assert [report.metrics["loss"] for report in reports] == together
    final = score_on_test(
        space.build,
        data,
        trial=0,
        config=job.config,
        seeds_and_weights=[(5, weights)],
        epochs=EPOCHS,
        metric="accuracy",
        folder=Path(sys.argv[1]) / "model",
    )
    print(final.metrics["accuracy"], "accuracy of the saved model")  # noqa: T201 - as above


def _losses(job: TrialJob, data: PreparedDataset) -> list[float]:
    model = FitModel(job, lambda model, x, y, **more: model.fit(x, y, **more), data, fold=None, seed=5, epochs=EPOCHS)
    model.build(find_space("mlp").build)
    losses = [model.train_epoch(epoch)["loss"] for epoch in range(1, EPOCHS + 1)]
    copies = getattr(model._model.trainable_variables[0].value, "values", [None])
    print(len(copies), "copies of the weights")  # noqa: T201 - what the test reads
    model.close()
    return losses


if __name__ == "__main__":
    main()
