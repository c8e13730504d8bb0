"""Python expressions for what Keras serialises: layers, operations, optimizers, losses, and the values in them."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_HOUSEHOLD = ("name", "trainable", "dtype")  # what every layer takes through **kwargs
_LONG = 24  # values of a list that a person still reads; longer ones go to a file beside the script
_TENSOR, _SLICE, _ELLIPSIS, _NUMPY = "__keras_tensor__", "__slice__", "__ellipsis__", "__numpy__"


class CannotWriteError(Exception):
    """Something in a model that has no plain Keras code."""


class Writer:
    """Writes expressions, and collects what they need: imports, and lists that are too long for a script.

    Attributes:
        every_name: Whether every layer's name is written, or only what a person named.
        imports: Lines such as `from my_layers import Gate`, for classes that are not Keras's.
        long_values: Long lists by name; expressions read them from `VALUES`.
    """

    def __init__(self, *, every_name: bool = False) -> None:
        """Start with nothing collected.

        Args:
            every_name: Write every layer's name; otherwise those that Keras made up are left out.
        """
        self.every_name = every_name
        self.imports: list[str] = []
        self.long_values: dict[str, Any] = {}

    def value(self, value: Any, tensor: Callable[[list[Any]], str] | None = None) -> str:
        """Return the expression of a serialised value.

        Args:
            value: What `get_config` or a node's arguments hold.
            tensor: Gives the variable of a tensor, by its Keras history.

        Raises:
            CannotWriteError: It has no plain code.
        """
        if isinstance(value, Mapping):
            return self._mapping(value, tensor)
        if isinstance(value, list | tuple):
            parts = [self.value(one, tensor) for one in value]
            if isinstance(value, tuple):
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
            return f"[{', '.join(parts)}]"
        if isinstance(value, float | np.floating):
            return _number(float(value))
        if isinstance(value, str):
            return text(value)
        if value is None or isinstance(value, bool | int):
            return repr(value)
        raise CannotWriteError(f"a {type(value).__name__} has no plain code")

    def made(self, serialized: Mapping[str, Any], *, name: str = "") -> str:
        """Return the expression that makes an object again, with the arguments that are not the defaults.

        Args:
            serialized: What `keras.saving.serialize_keras_object` gave, or a layer's entry of a model's config.
            name: Where given, long lists in its arguments are moved to `long_values` under this name.

        Raises:
            CannotWriteError: Its class cannot be imported, or it is a function of the user's own.
        """
        if serialized["class_name"] == "function":
            return self._function(serialized)
        if serialized["class_name"] == "DTypePolicy":
            return text(serialized["config"]["name"])
        found, written = self._class(serialized)
        return f"{written}({', '.join(self._arguments(found, serialized['config'], name))})"

    def _mapping(self, value: Mapping[str, Any], tensor: Callable[[list[Any]], str] | None) -> str:
        kind = value.get("class_name")
        if kind == _TENSOR and tensor is not None:
            return tensor(value["config"]["keras_history"])
        if kind == _SLICE:
            return f"slice({', '.join(self.value(value['config'][key], tensor) for key in ('start', 'stop', 'step'))})"
        if kind == _ELLIPSIS:
            return "..."
        if kind == _NUMPY:
            return f"np.array({self.value(value['config']['value'])}, {text(value['config']['dtype'])})"
        if kind is not None and "config" in value:
            return self.made(value)
        return f"{{{', '.join(f'{text(key)}: {self.value(one, tensor)}' for key, one in value.items())}}}"

    def _function(self, serialized: Mapping[str, Any]) -> str:
        if serialized.get("module") == "builtins":
            return text(serialized["config"])
        self._import(serialized["module"], serialized["config"])
        return str(serialized["config"])

    def _class(self, serialized: Mapping[str, Any]) -> tuple[type, str]:
        module, name = serialized["module"] or "", serialized["class_name"]
        try:
            found: type = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise CannotWriteError(f"{name} of {module or 'a script'} cannot be imported") from error
        if module.split(".")[0] == "keras":
            return found, f"{module}.{name}"
        self._import(module, name)
        return found, name

    def _import(self, module: str, name: str) -> None:
        if module in ("", "__main__"):
            raise CannotWriteError(f"{name} was defined in a script or notebook, and cannot be imported from there")
        line = f"from {module} import {name}"
        if line not in self.imports:
            self.imports.append(line)

    def _arguments(self, found: type, config: Mapping[str, Any], name: str) -> list[str]:
        parameters = inspect.signature(found).parameters
        taken = [key for key in parameters if key in config]
        taken += [key for key in _HOUSEHOLD if key in config and key not in parameters]
        required = [key for key in taken if key in parameters and parameters[key].default is inspect.Parameter.empty]
        defaults = _defaults(found, {key: config[key] for key in required})
        written = []
        for key in taken:
            if key in required:
                given = self._argument(config[key], f"{name}.{key}" if name else "")
                written.append(given if key == required[0] and key == taken[0] else f"{key}={given}")
            elif key == "name":
                is_left_out = _is_generated(found, config[key]) and not self.every_name
                written += [] if is_left_out else [f"name={text(config[key])}"]
            elif _plain(config[key]) != _plain(defaults.get(key)):
                written.append(f"{key}={self._argument(config[key], f'{name}.{key}' if name else '')}")
        return written

    def _argument(self, value: Any, name: str) -> str:
        if name and isinstance(value, list | tuple) and np.size(value) > _LONG:
            self.long_values[name] = value
            return f"VALUES[{text(name)}]"
        return self.value(value)


def text(value: str) -> str:
    """Return a string as Python code, in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def snake_case(name: str) -> str:
    """Return `ExpandDims` as `expand_dims`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _is_generated(found: type, name: str) -> bool:
    return re.fullmatch(rf"{re.escape(found.__name__.lower())}\d*", name.replace("_", "").lower()) is not None


def _defaults(found: type, required: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of an object that was given nothing but what it must be given."""
    import keras

    try:
        arguments = {key: keras.saving.deserialize_keras_object(value) for key, value in required.items()}
        config: Mapping[str, Any] = found(**arguments).get_config()
    except (TypeError, ValueError, NotImplementedError):  # it needs more: everything is written
        return {}
    return config


def _plain(value: Any) -> Any:
    """Return a value for comparison: without the names that Keras numbers, tuples as lists."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        return {key: _plain(one) for key, one in value.items() if key not in ("name", "build_config")}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _number(value: float) -> str:
    """Return the shortest text of a number that is the same in float32, where that is what it came from."""
    if not np.isfinite(value):
        return f"float('{value}')"
    return repr(float(str(np.float32(value)))) if float(np.float32(value)) == value else repr(value)
