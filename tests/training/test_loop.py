"""Compiled epochs give the very losses and weights of `fit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl.data.joined import JoinedArray
from automl.training.loop import Evaluator, TrainingLoop
from automl.training.rows import ResidentRows, StreamedRows

_ROWS, _BATCH, _SEED = 330, 64, 11  # the last batch has 10 rows
_RANDOM = np.random.default_rng(0)
_TABLE = _RANDOM.normal(size=(_ROWS, 12)).astype("float32")
_IMAGES = _RANDOM.normal(size=(_ROWS, 8, 8, 1)).astype("float32")
_SERIES = _RANDOM.normal(size=(_ROWS, 6, 5)).astype("float32")
_CLASSES = (np.arange(_ROWS) % 4).astype("int32")


def _dense(keras: Any) -> Any:
    return [
        keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.4),
    ]


def _convolution(keras: Any) -> Any:
    return [
        keras.layers.Conv2D(6, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.01)),
        keras.layers.MaxPooling2D(),
        keras.layers.SpatialDropout2D(0.2),
        keras.layers.Flatten(),
    ]


def _lstm(keras: Any) -> Any:
    return [keras.layers.LSTM(8, dropout=0.3, recurrent_dropout=0.2)]


_MODELS = {"dense": (_dense, _TABLE), "convolution": (_convolution, _IMAGES), "lstm": (_lstm, _SERIES)}


def _model(name: str, *, kind: Any = None, **compile_arguments: Any) -> Any:
    import keras

    layers, x = _MODELS[name]
    inputs = keras.Input(x.shape[1:])
    y = inputs
    for layer in layers(keras):
        y = layer(y)
    model = (kind or keras.Model)(inputs, keras.layers.Dense(4, activation="softmax")(y))
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 18)
    arguments = {
        "optimizer": keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0),
        "loss": "sparse_categorical_crossentropy",
    } | compile_arguments
    model.compile(**arguments)
    return model


def _fit(model: Any, x: Any, epoch: int) -> float:
    order = np.random.default_rng([_SEED, epoch]).permutation(_ROWS)
    history = model.fit(x[order], _CLASSES[order], batch_size=_BATCH, shuffle=False, verbose=0)
    return float(history.history["loss"][0])


def _loop(model: Any, x: Any) -> TrainingLoop:
    return TrainingLoop(model, ResidentRows([x], [_CLASSES]), batch_size=_BATCH, seed=_SEED)


@pytest.mark.parametrize("name", _MODELS)
def test_an_epoch_is_that_of_fit(name: str, set_seed: Callable[[int], None]) -> None:
    x = _MODELS[name][1]
    set_seed(3)
    theirs = _model(name)
    set_seed(3)
    ours = _model(name)
    loop = _loop(ours, x)
    evaluator = Evaluator(ours, ResidentRows([x], [_CLASSES]))
    for epoch in (1, 2, 3):
        loss = _fit(theirs, x, epoch)
        sweep = loop.train_epoch(epoch)
        assert sweep.loss == pytest.approx(loss, abs=1e-6)
    evaluated = theirs.evaluate(x, _CLASSES, batch_size=_ROWS, verbose=0)
    assert evaluator.evaluate().loss == pytest.approx(evaluated, abs=1e-6)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert float(ours.optimizer.iterations) == float(theirs.optimizer.iterations) == 18


def test_predictions_stand_beside_their_rows(set_seed: Callable[[int], None]) -> None:
    import keras

    inputs = keras.Input((12,))
    model = keras.Model(inputs, keras.layers.Activation("linear")(inputs))
    outputs = keras.layers.Dense(12, kernel_initializer="identity")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    loop = TrainingLoop(model, ResidentRows([_TABLE], [_TABLE]), batch_size=_BATCH, seed=_SEED)
    sweep = loop.train_epoch(1)
    assert sorted(sweep.rows) == list(range(_ROWS))
    np.testing.assert_allclose(sweep.predictions[0], _TABLE[sweep.rows], atol=1e-6)
    assert list(loop.train_epoch(2).rows) != list(sweep.rows)
    evaluated = Evaluator(model, ResidentRows([_TABLE], [_TABLE])).evaluate()
    np.testing.assert_allclose(evaluated.predictions[0], _TABLE, atol=1e-6)


def test_evaluation_in_several_batches_is_weighted_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model("dense")
    whole = Evaluator(model, ResidentRows([_TABLE], [_CLASSES])).evaluate()
    monkeypatch.setattr("automl.training.loop._EVALUATION_ROWS", 100)
    parts = Evaluator(model, ResidentRows([_TABLE], [_CLASSES])).evaluate()
    assert parts.loss == pytest.approx(whole.loss, abs=1e-6)
    np.testing.assert_allclose(parts.predictions[0], whole.predictions[0], atol=1e-6)


def test_a_model_of_several_inputs_and_outputs_is_that_of_fit(set_seed: Callable[[int], None]) -> None:
    import keras

    def make() -> Any:
        set_seed(5)
        left, right = keras.Input((12,)), keras.Input((6, 5))
        x = keras.layers.Concatenate()([left, keras.layers.Flatten()(right)])
        outputs = [keras.layers.Dense(4, activation="softmax")(x), keras.layers.Dense(1)(x)]
        model = keras.Model([left, right], outputs)
        model.compile(optimizer="adam", loss=["sparse_categorical_crossentropy", "mse"])
        return model

    inputs, outputs = [_TABLE, _SERIES], [_CLASSES, _TABLE[:, :1]]
    ours, theirs = make(), make()
    sweep = TrainingLoop(ours, ResidentRows(inputs, outputs), batch_size=_BATCH, seed=_SEED).train_epoch(1)
    order = np.random.default_rng([_SEED, 1]).permutation(_ROWS)
    history = theirs.fit(
        [one[order] for one in inputs], [one[order] for one in outputs], batch_size=_BATCH, shuffle=False, verbose=0
    )
    assert sweep.loss == pytest.approx(history.history["loss"][0], abs=1e-5)
    assert [one.shape for one in sweep.predictions] == [(_ROWS, 4), (_ROWS, 1)]


def _flipped() -> Any:
    """Return a kind of model that descends on the loss of other labels, and tells of it by a metric of its own."""
    import keras

    class FlippedOnJax(keras.Model):
        def train_step(self, state: Any, data: Any) -> Any:
            x, y = data
            return super().train_step(state, (x, 3 - y))

    class Flipped(keras.Model):
        def train_step(self, data: Any) -> Any:
            import tensorflow as tf

            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x=x, y=3 - y, y_pred=self(x, training=True))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss, sample_weight=tf.shape(x)[0])
                else:
                    metric.update_state(y, self(x, training=False))
            return {metric.name: metric.result() for metric in self.metrics}

    return FlippedOnJax if keras.backend.backend() == "jax" else Flipped


def test_a_models_own_train_step_is_taken(set_seed: Callable[[int], None]) -> None:
    set_seed(3)
    theirs = _model("dense", kind=_flipped(), metrics=["accuracy"])
    set_seed(3)
    ours = _model("dense", kind=_flipped(), metrics=["accuracy"])
    loop = _loop(ours, _TABLE)
    for epoch in (1, 2):
        loss = _fit(theirs, _TABLE, epoch)
        sweep = loop.train_epoch(epoch)
        assert sweep.loss == pytest.approx(loss, abs=1e-6)
        assert "accuracy" in sweep.metrics
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_weighted_rows_are_those_of_fit(set_seed: Callable[[int], None]) -> None:
    weights = _RANDOM.uniform(0, 3, size=_ROWS).astype("float32")
    set_seed(3)
    theirs = _model("dense")
    set_seed(3)
    ours = _model("dense")
    loop = TrainingLoop(ours, ResidentRows([_TABLE], [_CLASSES], weights), batch_size=_BATCH, seed=_SEED)
    for epoch in (1, 2):
        order = np.random.default_rng([_SEED, epoch]).permutation(_ROWS)
        history = theirs.fit(
            _TABLE[order],
            _CLASSES[order],
            sample_weight=weights[order],
            batch_size=_BATCH,
            shuffle=False,
            verbose=0,
        )
        assert loop.train_epoch(epoch).loss == pytest.approx(history.history["loss"][0], abs=1e-6)
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_two_weighted_outputs_are_those_of_fit(set_seed: Callable[[int], None]) -> None:
    import keras

    weights = _RANDOM.uniform(0, 3, size=_ROWS).astype("float32")

    def make() -> Any:
        set_seed(5)
        inputs = keras.Input((12,))
        heads = [keras.layers.Dense(4, activation="softmax")(inputs), keras.layers.Dense(1)(inputs)]
        model = keras.Model(inputs, heads)
        model.compile(optimizer="adam", loss=["sparse_categorical_crossentropy", "mse"])
        return model

    ours, theirs = make(), make()
    rows = ResidentRows([_TABLE], [_CLASSES, _TABLE[:, :1]], weights)
    sweep = TrainingLoop(ours, rows, batch_size=_BATCH, seed=_SEED).train_epoch(1)
    order = np.random.default_rng([_SEED, 1]).permutation(_ROWS)
    history = theirs.fit(
        _TABLE[order],
        [_CLASSES[order], _TABLE[order, :1]],
        sample_weight=[weights[order], weights[order]],
        batch_size=_BATCH,
        shuffle=False,
        verbose=0,
    )
    assert sweep.loss == pytest.approx(history.history["loss"][0], abs=1e-5)


@pytest.mark.parametrize("is_joined", [False, True], ids=["whole", "joined"])
@pytest.mark.parametrize("weights", [None, np.linspace(0, 2, _ROWS, dtype="float32")], ids=["alike", "weighted"])
def test_streamed_rows_give_what_resident_ones_give(
    weights: Any, set_seed: Callable[[int], None], tmp_path: Path, is_joined: bool
) -> None:
    for name, array in (("x", _TABLE), ("y", _CLASSES)):
        np.save(tmp_path / f"{name}.npy", array)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "y")]
    if is_joined:  # as the rows of a refit are
        mapped = [JoinedArray(array[:100], array[100:]) for array in mapped]
    chosen = np.arange(20, _ROWS)
    streamed = StreamedRows([mapped[0]], [mapped[1]], weights, chunk_bytes=150 * 52)  # two batches a chunk
    sweeps = []
    for rows in (ResidentRows([_TABLE], [_CLASSES], weights), streamed):
        set_seed(3)
        model = _model("dense")
        loop = TrainingLoop(model, rows, batch_size=_BATCH, seed=_SEED, chosen=chosen)
        evaluator = Evaluator(model, rows, chosen=chosen)
        loop.trace()
        evaluator.trace()
        sweeps.append([*(loop.train_epoch(epoch) for epoch in (1, 2)), evaluator.evaluate()])
    for resident, stream in zip(*sweeps, strict=True):
        assert stream.loss == pytest.approx(resident.loss, abs=1e-6)
        np.testing.assert_array_equal(stream.rows, resident.rows)
        np.testing.assert_allclose(stream.predictions[0], resident.predictions[0], atol=1e-6)
    assert sorted(sweeps[0][0].rows) == list(range(20, _ROWS))
