"""Several steps of Keras's `fit` in a call learn what single steps do, and are not taken where they would not."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.objective import Objective
from automl.search_space import SearchSpace
from automl.training import fit_model, fit_steps
from automl.training.fit_steps import predicting_by_one, steps_at_once, steps_by_timing
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.trainer import Trainer

ROWS, BATCH_SIZE, EPOCHS = 300, 32, 3  # 192 to train on: six batches; 48 to validate on: two


class Watching(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes at every epoch's end how many steps a call takes, and what the model predicts then."""

    def __init__(self, x: Any) -> None:
        super().__init__()
        self._x = x
        self.seen: list[tuple[int, Any]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append((self.model.steps_per_execution, self.model.predict(self._x, batch_size=7, verbose=0)))


class Noisy(keras_tuner.HyperModel):
    """A model with dropout and batch normalisation, and a `fit` of its own that validates and watches."""

    watching: Watching

    def build(self, hp: Any) -> Any:
        layers = [keras.layers.Dense(16, activation="relu"), keras.layers.BatchNormalization()]
        model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dropout(0.3), keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(hp.Float("rate", 0.01, 0.1)), loss, metrics=["accuracy"])
        return model

    def fit(self, hp: Any, model: Any, x: Any, y: Any, callbacks: Any = (), **more: Any) -> Any:
        Noisy.watching = Watching(x)
        history = model.fit(x, y, callbacks=[*callbacks, Noisy.watching], **more)
        assert model.steps_per_execution == 1
        assert len(model.predict(x, verbose=0)) == len(x)
        assert model.evaluate(x, y, return_dict=True, verbose=0)["accuracy"] > 0.1
        return history


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    x, y = load_digits(return_X_y=True)
    raw = raw_from_arrays("digits", x[:ROWS], y[:ROWS])
    return prepare(raw, task=None, split_seed=0, cache=tmp_path_factory.mktemp("datasets"))


def _curve(data: PreparedDataset) -> list[dict[str, float]]:
    space = SearchSpace.from_keras_tuner(Noisy, name="noisy")
    config = {**space.default_config(), "batch_size": BATCH_SIZE}
    objective = Objective("val_accuracy", "max")
    job = TrialJob(number=0, config=config, seed=3, epochs=EPOCHS, patience=0, objective=objective)
    with closing(Trainer(job, space.build, data, Graphs())) as trainer:
        trainer.compile()
        curve = [dict(trainer.train_epoch(epoch).metrics) for epoch in range(1, EPOCHS + 1)]
        assert not trainer.is_out_of_patience(EPOCHS)
        assert trainer._models[0].has_ended()  # the rest of the hypermodel's fit ran, or its error is raised:
        return curve


def test_many_steps_learn_what_single_ones_do(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    single, watched = _curve(digits), Noisy.watching.seen
    assert [taken for taken, _ in watched] == [1] * EPOCHS
    monkeypatch.setattr(fit_model, "WORTHWHILE_STEPS", 1)
    monkeypatch.setattr(fit_steps, "_CALL_SECONDS", 60.0)
    for steps in (4, 64):  # of six: four and two, or all of them
        monkeypatch.setattr(fit_steps, "STEPS", (steps,))
        many = _curve(digits)
        assert [taken for taken, _ in Noisy.watching.seen] == [steps] * EPOCHS
        for one, other in zip(single, many, strict=True):
            assert other == pytest.approx(one, abs=1e-6)
        for (_, one), (_, other) in zip(watched, Noisy.watching.seen, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-6)


def test_a_call_takes_what_its_time_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    @keras.saving.register_keras_serializable()
    class Slow(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            waited = tf.numpy_function(lambda one: time.sleep(0.02) or one, [x], tf.float32)
            return tf.ensure_shape(waited, x.shape)

    inputs = keras.Input((4,))
    batch = np.zeros((8, 4), "float32")
    assert steps_by_timing(keras.Model(inputs, Slow()(inputs)), batch) == 1
    monkeypatch.setattr(fit_steps, "_CALL_SECONDS", 60.0)
    assert steps_by_timing(keras.Model(inputs, keras.layers.Dense(1)(inputs)), batch) == 64


def _model(**options: Any) -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    return model


def _unending() -> Any:
    rows = np.zeros((8, 4), "float32"), np.zeros((8, 1), "float32")
    return tf.data.Dataset.from_tensor_slices(rows).batch(2).filter(lambda *_: True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"callbacks": [keras.callbacks.TerminateOnNaN()]},
        {"callbacks": [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)]},
        {"steps_per_epoch": 3},
        {"validation_steps": 3},
        {"initial_epoch": 2},
        {"x": _unending},
        {"validation_data": _unending},
    ],
    ids=lambda arguments: ",".join(arguments),
)
def test_single_steps_where_more_would_be_seen(arguments: dict[str, Any]) -> None:
    model = _model()
    given = {name: value() if value is _unending else value for name, value in arguments.items()}
    with steps_at_once(model, 16, {"epochs": 3, "callbacks": [], **given}):
        assert model.steps_per_execution == 1


def test_what_a_user_compiled_stays() -> None:
    plain = {"epochs": 3, "callbacks": [keras.callbacks.EarlyStopping(), keras.callbacks.History()]}
    for options, during, after in (({}, 16, 1), ({"steps_per_execution": 2}, 2, 2), ({"run_eagerly": True}, 1, 1)):
        model = _model(**options)
        with steps_at_once(model, 16, plain):
            assert model.steps_per_execution == during
        assert model.steps_per_execution == after


def test_predictions_are_traced_once_however_many_steps_a_call_takes() -> None:
    traced: list[Any] = []

    class Traced(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            traced.append(x)
            return 2 * x

    inputs = keras.Input((4,))
    model = keras.Model(inputs, Traced()(inputs))
    model.compile(loss="mse", steps_per_execution=16)
    model.predict = predicting_by_one(model)
    traced.clear()
    assert model.predict(np.ones((64, 4)), batch_size=4, verbose=0).sum() == 2 * 64 * 4
    assert len(traced) == 1
    assert model.steps_per_execution == 16
