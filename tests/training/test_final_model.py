"""What is made of a winner: a model of raw rows, saved whole, and its score on the sealed rows."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

from automl.data import PreparedDataset
from automl.export import final_model, save_final_model
from automl.finalists import score_on_test
from automl.layers import input_layers, output_layers
from automl.objective import Objective
from automl.records import Decision
from automl.training.job import TrialJob
from automl.training.metrics import in_target_units
from automl.training.run_trial import run_trial
from automl.training.trainer import build_model, load_weights

_CONFIG: dict[str, Any] = {"batch_size": 50, "learning_rate": 0.01}


def _build(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, output_layers(keras.layers.Dropout(0.2)(x), spec))


def _train(data: PreparedDataset, path: Path, *, seed: int, epochs: int = 3) -> None:
    job = TrialJob(
        number=4,
        config=_CONFIG,
        seed=seed,
        epochs=epochs,
        patience=0,
        objective=Objective("val_loss", "min"),
        weights_path=path,
    )
    trial = run_trial(job, _build, data)
    next(trial)
    with suppress(StopIteration):
        while True:
            trial.send(Decision.CONTINUE)


def _trained(data: PreparedDataset, path: Path) -> Any:
    _train(data, path, seed=1, epochs=1)
    model = build_model(_build, _CONFIG, 1, data.spec, 1)
    load_weights(model, path)
    return model


@pytest.mark.parametrize("name", ["digits", "grey", "prices"])
def test_raw_rows_give_what_encoded_rows_give(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    data: PreparedDataset = request.getfixturevalue(name)
    searched = _trained(data, tmp_path / "weights.npz")
    raw = data.raw_example()
    encoded = data.encodings[0].encode(raw)
    expected = in_target_units(searched.predict(encoded, verbose=0), data.spec.output)

    predicted = final_model(searched, data).predict(raw, verbose=0)

    tolerance = 1e-5 * max([1.0, *data.spec.output.scale])
    np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=tolerance)
    assert np.abs(expected).max() > 0
    if name == "grey":
        assert raw.dtype == np.uint8
        assert encoded.shape[1:] == (6, 5, 1)
    if name == "prices":
        assert 500 < predicted[:, 0].mean() < 2500


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras, of its own tensors
def test_the_winner_is_scored_once_saved_and_can_be_loaded(digits: PreparedDataset, tmp_path: Path) -> None:
    import keras

    seeds_and_weights = [(seed, tmp_path / f"{seed}.npz") for seed in (1, 2)]
    for seed, path in seeds_and_weights:
        _train(digits, path, seed=seed)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("is replaced")

    final = score_on_test(
        _build,
        digits,
        trial=4,
        config=_CONFIG,
        seeds_and_weights=seeds_and_weights,
        epochs=3,
        metric="accuracy",
        folder=folder,
    )

    assert final.trial == 4
    assert final.metrics == final.seed_metrics[0] != final.seed_metrics[1]
    low, high = final.interval
    assert low < final.metrics["accuracy"] < high < low + 0.2
    assert {path.name for path in folder.iterdir()} == {"model.keras", "dataset_spec.json", "mlflow"}
    assert {path.name for path in tmp_path.iterdir()} == {"model", "1.npz", "2.npz"}
    assert json.loads((folder / "dataset_spec.json").read_text()) == json.loads(json.dumps(digits.spec.to_json()))
    model = keras.saving.load_model(folder / "model.keras")
    test = digits.sealed_test()
    x, y = load_digits(return_X_y=True)
    encoded = digits.encodings[0].encode(x[:600])
    rows = [int(np.abs(encoded - row).sum(axis=1).argmin()) for row in np.asarray(test.inputs[0])]
    accuracy = accuracy_score(y[rows], model.predict(x[rows], verbose=0).argmax(axis=1))
    assert accuracy == pytest.approx(final.metrics["accuracy"])


def test_saving_that_fails_leaves_the_model_that_was_there(digits: PreparedDataset, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.keras").write_text("the old one")

    class Unwritable:
        def save(self, path: Path) -> None:
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        save_final_model(Unwritable(), digits, folder)
    assert (folder / "model.keras").read_text() == "the old one"
