"""The structure of a model: what its graph depends on, told from its config where that tells all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from automl.records import Config
from automl.training.sweeps import overrides_train_step
from automl.training.tunable import is_tunable_penalty, plain_dropouts

_MOST_WEIGHTS = 5_000_000  # of larger models copies are dear, and tracing is a small part of their time
_TRAINING = (
    "optimizer",
    "learning_rate_schedule",
    "nesterov",
    "gradient_clip",
    "loss",
    "label_smoothing",
    "dtype_policy",
)


def structure_of(network: Any, config: Config) -> str | None:
    """Return what a network's graph depends on, as text; None where that cannot be told for sure.

    It can for functional and sequential models of Keras's own layers and functions, built and not compiled: what a user
    wrote may compute what no config says, and a layer that was adapted holds more than its config and weights. Large
    models have none either.
    """
    import keras

    if network.compiled or keras.config.backend() != "tensorflow" or overrides_train_step(network):
        return None
    if type(network).__name__ not in ("Functional", "Sequential") or network.count_params() > _MOST_WEIGHTS:
        return None
    if not all(_is_keras_own(layer) for layer in _parts(network, set())):
        return None
    names = [layer.name for layer in plain_dropouts(network)]
    if len(set(names)) < len(names):  # nested networks with names of their own
        return None
    try:
        told = _structural(network.get_config())
        weights = [_of_weight(variable) for variable in network.variables]
        training = {name: config.get(name) for name in _TRAINING}
        return json.dumps([type(network).__name__, network.name, told, weights, training])
    except Exception:  # noqa: BLE001 - whatever a config does that cannot be told: the model has its own graph
        return None


def _parts(layer: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a layer and all that it is made of, wherever it holds them."""
    import keras

    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    for value in vars(layer).values():
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, keras.layers.Layer):
                yield from _parts(one, seen)


def _is_keras_own(layer: Any) -> bool:
    """Return True where a layer, and every function that it holds, are Keras's own, and nothing was adapted."""
    if hasattr(layer, "adapt") or not _is_of_keras(type(layer)) or type(layer).__name__ == "Lambda":
        return False
    held = (value for value in vars(layer).values() if callable(value))
    return all(_is_of_keras(value) or _is_of_keras(type(value)) for value in held)


def _is_of_keras(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).split(".")[0] == "keras"


def _structural(config: dict[str, Any]) -> dict[str, Any]:
    """Return a network's config less the numbers that are variables of its graph."""
    layers = [{**layer, "config": _of_layer(layer)} for layer in config["layers"]]
    return {**config, "layers": layers}


def _of_layer(layer: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = layer["config"]
    match layer["class_name"]:
        case "Functional" | "Sequential":
            return _structural(config)
        case "Dropout":
            return {**config, "rate": 0 < config["rate"] < 1 or config["rate"]}
    return {name: value for name, value in config.items() if not _is_penalty_of_weights(name)}


def _is_penalty_of_weights(name: str) -> bool:
    return name.endswith("_regularizer") and name != "activity_regularizer"


def _of_weight(variable: Any) -> list[Any]:
    """Return what else of a weight is in the graph; its penalty may have been set by hand."""
    return [variable.trainable, _told(variable.constraint), _told(variable.regularizer)]


def _told(rule: Any) -> Any:
    if rule is None:
        return None
    if not _is_of_keras(type(rule)):
        raise TypeError(f"{rule!r} is not Keras's own")
    return type(rule).__name__ if is_tunable_penalty(rule) else [type(rule).__name__, rule.get_config()]
