"""A KerasTuner hypermodel as a search space, conditions and its own training included.

python examples/keras_tuner_space.py
automl search digits --space examples/keras_tuner_space.py:DigitsHyperModel
"""

import keras
import keras_tuner

import automl


class DigitsHyperModel(keras_tuner.HyperModel):
    """Dense layers on the 64 pixels of a digit."""

    def build(self, hp):
        """Return a compiled model."""
        x = inputs = keras.Input((64,))
        for layer in range(hp.Int("layers", 1, 3)):
            x = keras.layers.Dense(hp.Int(f"units_{layer}", 16, 128, step=16, default=64), activation="relu")(x)
        if hp.Boolean("dropout"):
            x = keras.layers.Dropout(hp.Float("dropout/rate", 0.1, 0.5, default=0.2))(x)
        model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
        rate = hp.Float("learning_rate", 1e-4, 1e-1, sampling="log", default=1e-2)
        if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd":
            optimizer = keras.optimizers.SGD(rate, momentum=hp.Float("momentum", 0.0, 0.9))
        else:
            optimizer = keras.optimizers.Adam(rate)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    def fit(self, hp, model, *args, callbacks=None, **kwargs):
        """Train with a batch size of its own, and a learning rate that falls where learning stalls."""
        calmer = keras.callbacks.ReduceLROnPlateau("val_loss", patience=hp.Int("stall_epochs", 2, 5))
        batch_size = hp.Choice("batch_size", [32, 64, 128])
        return model.fit(*args, batch_size=batch_size, callbacks=[*(callbacks or []), calmer], **kwargs)


if __name__ == "__main__":
    space = automl.SearchSpace.from_keras_tuner(DigitsHyperModel(), name="digits-keras-tuner")
    result = automl.search("digits", space, trials=8, seed=0, finalists=1)
    print(result)
    print(result.best.config)
