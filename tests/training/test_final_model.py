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

from automl.data import Batch, PreparedDataset, RawDataset, prepare, to_model_rows
from automl.data.raw import ARRAY_FEATURE, ArrayRows
from automl.dataset_spec import Column, ColumnKind
from automl.export import save_final_model
from automl.final_model import final_model
from automl.finalists import score_on_test
from automl.layers import input_layers, output_layers
from automl.objective import Objective
from automl.records import Decision
from automl.training.assemble import build_model
from automl.training.job import TrialJob
from automl.training.metrics import in_target_units
from automl.training.run_trial import run_trial
from automl.training.weights import load_weights

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


def _encoded(data: PreparedDataset, batch: Batch) -> Any:
    encoded = [encoding.encode(batch) for encoding in data.encodings]
    return encoded if len(encoded) > 1 else encoded[0]


def _outputs(model: Any, rows: Any) -> list[np.ndarray]:
    """Return the outputs of a model; `predict` takes no strings, a batch does."""
    found = model.predict_on_batch(rows)
    found = list(found.values()) if isinstance(found, dict) else found
    return [np.asarray(one) for one in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize("name", ["digits", "grey", "prices", "two_heads"])
def test_raw_rows_give_what_encoded_rows_give(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    data: PreparedDataset = request.getfixturevalue(name)
    searched = _trained(data, tmp_path / "weights.npz")
    raw = data.raw_example()
    encoded = _encoded(data, {ARRAY_FEATURE: raw})
    predicted = _outputs(final_model(searched, data), raw)
    expected = _outputs(searched, encoded)
    for one, other, output in zip(predicted, expected, data.spec.outputs, strict=True):
        tolerance = 1e-5 * max([1.0, *output.scale])
        np.testing.assert_allclose(one, in_target_units(other, output), rtol=1e-6, atol=tolerance)
        assert np.abs(other).max() > 0
    if name == "grey":
        assert raw.dtype == np.uint8
        assert encoded.shape[1:] == (6, 5, 1)
    if name == "prices":
        assert 500 < predicted[0][:, 0].mean() < 2500


_PEOPLE: Batch = {
    "age": np.array([20.0, np.nan, 70.0, 33.3]),
    "is member": np.array([0.0, 1.0, np.nan, 1.0]),
    "since": np.array([1.5, 20_000.0, np.nan, 19_999.25]),
    "colour/tint": np.array(["red", "", "never seen in training", "blue"], dtype=object),
    "note": np.array(["note 3 of a PERSON", "", "words, never seen", "a " * 50], dtype=object),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras, of its own tensors
def test_a_table_with_missing_and_unseen_values_is_encoded_as_for_the_search(
    table: PreparedDataset, tmp_path: Path
) -> None:
    import keras

    searched = _trained(table, tmp_path / "weights.npz")
    model = final_model(searched, table)
    rows = to_model_rows(_PEOPLE, table.spec)
    assert isinstance(rows, dict)
    assert list(rows) == ["age", "is_member", "since", "colour_tint", "note"]
    (expected,) = _outputs(searched, _encoded(table, _PEOPLE))
    (predicted,) = _outputs(model, rows)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    assert len(set(np.round(predicted[:, 0], 4))) == 4
    model.save(tmp_path / "model.keras")
    (again,) = _outputs(keras.saving.load_model(tmp_path / "model.keras", safe_mode=True), rows)
    np.testing.assert_allclose(again, predicted, atol=1e-6)


def test_text_alone_is_one_input(reviews: PreparedDataset, tmp_path: Path) -> None:
    searched = _trained(reviews, tmp_path / "weights.npz")
    model = final_model(searched, reviews)
    texts: Batch = {"text": np.array(["Good, fine: GOOD film", "bad", "", "never seen"], dtype=object)}
    (expected,) = _outputs(searched, _encoded(reviews, texts))
    rows = to_model_rows(texts, reviews.spec)
    assert isinstance(rows, np.ndarray)
    (predicted,) = _outputs(model, rows)
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    assert isinstance(reviews.raw_example(), np.ndarray)


def _built(data: PreparedDataset, name: str = "searched") -> Any:
    import keras

    inputs, x = input_layers(data.spec)
    x = keras.layers.Dense(4, activation="tanh")(keras.layers.Flatten()(x))
    return keras.Model(inputs, output_layers(x, data.spec), name=name)


def _described(columns: dict[str, tuple[ColumnKind, np.ndarray]], targets: dict[str, np.ndarray]) -> RawDataset:
    return RawDataset(
        name="described",
        columns=tuple(Column(name=name, kind=kind) for name, (kind, _) in columns.items()),
        is_array=False,
        train=ArrayRows({name: values for name, (_, values) in columns.items()}),
        targets=targets,
        content_hash="-".join([*columns, *targets]),
    )


_NUMBERS = np.arange(60.0)
_LETTERS = np.array(list("abc") * 20, dtype=object)


@pytest.mark.parametrize("kind", [ColumnKind.CATEGORY, ColumnKind.TEXT])
def test_columns_without_any_value_in_training_make_no_trouble(kind: ColumnKind, tmp_path: Path) -> None:
    empty = np.full(60, "", dtype=object)
    raw = _described({"a": (kind, empty), "b": (ColumnKind.NUMBER, _NUMBERS)}, {"y": _NUMBERS % 2})
    data = prepare(raw, task=None, split_seed=0, cache=tmp_path)
    searched = _built(data)
    batch: Batch = {"a": np.array(["", " ", "never seen"], dtype=object), "b": np.array([1.0, 2.0, 3.0])}
    (predicted,) = _outputs(final_model(searched, data), to_model_rows(batch, data.spec))
    (expected,) = _outputs(searched, _encoded(data, batch))
    np.testing.assert_allclose(predicted, expected, atol=1e-5)


@pytest.mark.parametrize("column", ["normalization", "normalization_1", "string_lookup", "concatenate", "mlp"])
def test_columns_may_have_names_of_layers(column: str, tmp_path: Path) -> None:
    import keras

    keras.backend.clear_session()  # the names of layers start again
    missing = np.where(_NUMBERS < 50, _NUMBERS, np.nan)
    columns = {
        column: (ColumnKind.CATEGORY, _LETTERS),
        "b": (ColumnKind.NUMBER, missing),
        "c": (ColumnKind.NUMBER, _NUMBERS),
    }
    data = prepare(_described(columns, {"y": _NUMBERS % 2}), task=None, split_seed=0, cache=tmp_path)
    model = final_model(_built(data, "mlp"), data)
    assert set(model.input) == {column, "b", "c"}


def test_outputs_whose_names_keras_cannot_tell_apart_are_all_there(tmp_path: Path) -> None:
    columns = {"b": (ColumnKind.NUMBER, _NUMBERS), "c": (ColumnKind.NUMBER, _NUMBERS % 7)}
    raw = _described(columns, {"price (m)": _NUMBERS % 3, "price [m]": _NUMBERS * 1.5})
    data = prepare(raw, task=None, split_seed=0, cache=tmp_path)
    batch: Batch = {"b": np.array([1.0]), "c": np.array([2.0])}
    found = final_model(_built(data), data).predict_on_batch(to_model_rows(batch, data.spec))
    assert {name: values.shape for name, values in found.items()} == {"price__m_": (1, 3), "price__m__2": (1, 1)}


def test_several_outputs_have_names(two_heads: PreparedDataset, tmp_path: Path) -> None:
    model = final_model(_trained(two_heads, tmp_path / "weights.npz"), two_heads)
    found = model.predict(two_heads.raw_example(), verbose=0)
    assert {name: values.shape for name, values in found.items()} == {"digit": (5, 3), "ink": (5, 1)}
    assert 100 < found["ink"].mean() < 1000


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
    assert not final.is_refit
    low, high = final.interval
    assert low < final.metrics["accuracy"] < high < low + 0.2
    assert {path.name for path in folder.iterdir()} == {"model.keras", "dataset_spec.json", "mlflow"}
    assert {path.name for path in tmp_path.iterdir()} == {"model", "1.npz", "2.npz"}
    assert json.loads((folder / "dataset_spec.json").read_text()) == json.loads(json.dumps(digits.spec.to_json()))
    model = keras.saving.load_model(folder / "model.keras")
    test = digits.sealed_test()
    x, y = load_digits(return_X_y=True)
    encoded = digits.encodings[0].encode({ARRAY_FEATURE: x[:600]})
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


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras, of its own tensors
def test_a_refit_is_what_is_saved_and_scored_beside_the_retrainings(digits: PreparedDataset, tmp_path: Path) -> None:
    import keras

    weights = {seed: tmp_path / f"{seed}.npz" for seed in (1, 2)}
    for seed, path in weights.items():
        _train(digits, path, seed=seed)
    final = score_on_test(
        _build,
        digits,
        trial=4,
        config=_CONFIG,
        seeds_and_weights=[(1, weights[1])],
        refit=(2, weights[2]),
        epochs=3,
        metric="accuracy",
        folder=tmp_path / "model",
    )
    assert final.is_refit
    assert len(final.seed_metrics) == 1
    assert final.metrics != final.seed_metrics[0]
    found = keras.saving.load_model(tmp_path / "model" / "model.keras").predict(digits.raw_example(), verbose=0)
    refit = build_model(_build, _CONFIG, 1, digits.spec, 3)
    load_weights(refit, weights[2])
    expected = final_model(refit, digits).predict(digits.raw_example(), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
