"""Trials that are cut off and go on: what the tests of checkpoints share with the process that they start."""

from __future__ import annotations

from typing import Any

from automl import input_layers, output_layers
from automl.objective import Objective
from automl.records import Config, EpochReport
from automl.training.job import TrialJob

EPOCHS = 4


def make_job(**changes: Any) -> TrialJob:
    values: dict[str, Any] = {
        "number": 0,
        "config": {"batch_size": 100, "learning_rate": 0.01, "learning_rate_schedule": "cosine"},
        "seed": 7,
        "epochs": EPOCHS,
        "patience": 0,
        "objective": Objective("val_loss", "min"),
    }
    return TrialJob(**(values | changes))


def curve(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in reports]


def dense(config: Config, spec: Any) -> Any:
    """Build what may share a graph with other trials."""
    from keras import layers

    return _model(
        spec,
        layers.Dense(16, activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.GaussianNoise(0.1),
    )


def small(config: Config, spec: Any) -> Any:
    from keras import layers

    return _model(spec, layers.Dense(8, activation="relu"), layers.Dropout(0.3))


def convolutional(config: Config, spec: Any) -> Any:
    from keras import layers

    return _model(
        spec,
        layers.Reshape((8, 8, 1)),
        layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
        layers.BatchNormalization(),
        layers.SpatialDropout2D(0.2),
        layers.GlobalAveragePooling2D(),
    )


def recurrent(config: Config, spec: Any) -> Any:
    from keras import layers

    return _model(spec, layers.Reshape((8, 8)), layers.LSTM(6, dropout=0.2, recurrent_dropout=0.2))


def with_a_layer_of_its_own(config: Config, spec: Any) -> Any:
    """Build what has a graph of its own."""
    from keras import layers

    return _model(spec, layers.Dense(8), layers.Lambda(lambda x: x * 2), layers.Dropout(0.3))


def with_hidden_state(config: Config, spec: Any) -> Any:
    """Build a model whose layer counts in a variable that Keras does not know of."""
    import keras
    import tensorflow as tf

    class Fading(keras.layers.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self._calls = tf.Variable(1.0)

        def call(self, x: Any) -> Any:
            self._calls.assign_add(0.1)
            return x / self._calls

    return _model(spec, Fading())


def with_a_step_of_its_own(config: Config, spec: Any) -> Any:
    import keras

    class Stepping(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    return _model(spec, keras.layers.Dense(8), keras.layers.Dropout(0.3), kind=Stepping)


def with_two_optimizers(config: Config, spec: Any) -> Any:
    """Build a model whose own step takes turns with an optimizer that Keras does not know of."""
    import keras
    import tensorflow as tf

    class Alternating(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            if not hasattr(self, "second"):
                self.second = keras.optimizers.Adam(0.01)
                self.second.build(self.trainable_variables)
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=data[1], y_pred=self(data[0], training=True))
            self.second.apply(tape.gradient(loss, self.trainable_variables))
            return super().train_step(data)

    return _model(spec, keras.layers.Dense(8), kind=Alternating)


def _model(spec: Any, *layers: Any, kind: Any = None) -> Any:
    import keras

    inputs, x = input_layers(spec)
    for layer in layers:
        x = layer(x)
    return (kind or keras.Model)(inputs, output_layers(x, spec))
