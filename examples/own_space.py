"""A search space in ten lines, and a search with it.

python examples/own_space.py
"""

import automl
from automl import Choice, Float, Int, Repeat, SearchSpace, input_layers, output_layers, training_parameters


def build(config, spec):
    """Return a model of dense layers."""
    import keras

    inputs, x = input_layers(spec)
    x = keras.layers.Flatten()(x)
    for layer in config["hidden"]:
        x = keras.layers.Dense(layer["units"], activation=config["activation"])(x)
        x = keras.layers.Dropout(layer["dropout"])(x)
    return keras.Model(inputs, output_layers(x, spec))


space = SearchSpace(
    "my-mlp",
    [
        Repeat("hidden", 1, 3, [Int("units", 16, 256, log=True), Float("dropout", 0.0, 0.5)]),
        Choice("activation", ["relu", "tanh", "elu"]),
        *training_parameters(),
    ],
    build,
)

if __name__ == "__main__":
    result = automl.search("digits", space, trials=8, seed=0, enqueue=[{"batch_size": 32}], finalists=1)
    print(result)
    print(result.best.config)
    print(result.to_dataframe()[["number", "state", "value", "epochs", "seconds"]])
