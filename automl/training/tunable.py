"""Numbers of a trial as variables: another learning rate, dropout rate or penalty needs no other graph.

What is a number of a model here, by name: `learning_rate`, `total_steps` (of its schedule), `momentum`,
`weight_decay`, the rate of every plain Dropout layer, and the strength of every L1 or L2 penalty on a weight. Where one
of them is nothing (no dropout, no momentum) the model has another structure, and no such name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from automl.records import Config
from automl.training.assemble import make_optimizer
from automl.training_defaults import training_value

Numbers: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """Holds a variable that the layer or penalty which reads it does not count among its own."""

    variable: Any


def numbers_of(network: Any, config: Config, total_steps: int) -> dict[str, float]:
    """Return the numbers of a network that is not compiled, and of its training, by name."""
    numbers = {"learning_rate": training_value(config, "learning_rate"), "total_steps": float(total_steps)}
    if training_value(config, "optimizer") == "sgd" and training_value(config, "momentum"):
        numbers["momentum"] = float(config["momentum"])
    if config.get("weight_decay") is not None:
        numbers["weight_decay"] = float(config["weight_decay"])
    for layer in plain_dropouts(network):
        numbers[_rate_name(layer)] = float(layer.rate)
    for index, variable in enumerate(network.variables):
        for name, strength in _strengths(variable.regularizer).items():
            numbers[f"{name}:{index}"] = strength
    return numbers


def with_cells(network: Any, cells: Mapping[str, Cell]) -> Any:
    """Return a copy of a network that reads its dropout rates and penalties from cells; its weights are new."""
    import keras

    dropout = _dropout_class()
    rates = {id(layer): cells[_rate_name(layer)] for layer in plain_dropouts(network)}

    def copied(layer: Any) -> Any:
        if id(layer) in rates:
            return dropout(rates[id(layer)], **layer.get_config())
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copied, recursive=True)
    for index, (variable, original) in enumerate(zip(copy.variables, network.variables, strict=True)):
        names = {name: cells[f"{name}:{index}"] for name in _strengths(original.regularizer)}
        # Of the original, because a builder may have set them after the layer was made.
        variable.regularizer = _penalty(names) if names else original.regularizer
        variable.constraint = original.constraint
        variable.trainable = original.trainable
    return copy


def optimizer_with_cells(config: Config, cells: Mapping[str, Cell]) -> Any:
    """Return the optimizer of a config that reads its numbers from cells."""
    rate, total_steps = cells["learning_rate"].variable, cells["total_steps"].variable
    numbers = {"weight_decay": cells["weight_decay"].variable} if "weight_decay" in cells else {}
    sgd = _sgd_class(cells["momentum"]) if "momentum" in cells else None
    return make_optimizer({**config, **numbers, "learning_rate": rate}, total_steps, sgd=sgd)


def plain_dropouts(network: Any) -> Iterator[Any]:
    """Yield the layers of exactly Keras's class Dropout that drop something, those of nested networks too."""
    import keras

    for layer in network.layers:
        if isinstance(layer, keras.Model):
            yield from plain_dropouts(layer)
        elif type(layer) is keras.layers.Dropout and 0 < layer.rate < 1:
            yield layer


def _rate_name(layer: Any) -> str:
    return f"rate:{layer.name}"


def is_tunable_penalty(regularizer: Any) -> bool:
    """Return True for Keras's own L1 and L2 penalties."""
    import keras

    return type(regularizer) in (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


def _strengths(regularizer: Any) -> dict[str, float]:
    if not is_tunable_penalty(regularizer):
        return {}
    return {name: float(value) for name, value in regularizer.get_config().items() if float(value)}


def _dropout_class() -> Any:
    import keras
    import tensorflow as tf

    class Dropout(keras.layers.Dropout):  # type: ignore[misc]
        """Keras's Dropout with a rate that is a variable of the graph."""

        def __init__(self, cell: Cell, **config: Any) -> None:
            super().__init__(**config)
            self._cell = cell

        def call(self, inputs: Any, training: bool = False) -> Any:
            if not training:
                return inputs
            # What keras.random.dropout calls, which looks at the rate's value and so takes no variable.
            seed = tf.cast(self.seed_generator.next(), "int32")
            rate = tf.cast(self._cell.variable.value, inputs.dtype)
            return tf.nn.experimental.stateless_dropout(inputs, rate, seed, noise_shape=self.noise_shape)

    return Dropout


def _sgd_class(cell: Cell) -> Any:
    import keras
    from keras import ops

    class SGD(keras.optimizers.SGD):  # type: ignore[misc]
        """Keras's SGD with a momentum that is a variable of the graph."""

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            momentum = ops.cast(cell.variable, variable.dtype)
            step = ops.multiply(ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype))
            velocity = self.momentums[self._get_variable_index(variable)]
            self.assign(velocity, ops.subtract(ops.multiply(velocity, momentum), step))
            if self.nesterov:
                self.assign_add(variable, ops.subtract(ops.multiply(velocity, momentum), step))
            else:
                self.assign_add(variable, velocity)

    return SGD


def _penalty(cells: Mapping[str, Cell]) -> Any:
    import keras
    from keras import ops

    size = {"l1": ops.absolute, "l2": ops.square}

    class Penalty(keras.regularizers.Regularizer):  # type: ignore[misc]
        """Keras's L1L2 with strengths that are variables of the graph."""

        def __call__(self, x: Any) -> Any:
            parts = [ops.cast(cell.variable, x.dtype) * ops.sum(size[name](x)) for name, cell in cells.items()]
            return sum(parts[1:], start=parts[0])

    return Penalty()
