"""Narrowing parameters: `--set units=64..256 --set optimizer=adam`, or the same from Python; nothing is widened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from automl.errors import SpaceError, UnknownNameError
from automl.parameters import Choice, Float, Int, Leaf, Parameter, Repeat, Scalar, same

Setting = Scalar | tuple[float, float] | list[Scalar]
"""A fixed value, an inclusive range `(low, high)`, or a list of values."""


def parse_setting(text: str) -> tuple[str, Setting]:
    """Read one `--set`: `name=value`, `name=low..high` or `name=a,b,c`.

    Raises:
        SpaceError: There is no `=`, or a bound of a range is no number.

    Example:
        >>> parse_setting("units=64..256")
        ('units', (64, 256))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise SpaceError(f"--set takes NAME=VALUE, NAME=LOW..HIGH or NAME=A,B,..., received {text!r}")
    low, dots, high = value.partition("..")
    if dots:
        bounds = (_scalar(low), _scalar(high))
        if any(isinstance(bound, bool) or not isinstance(bound, int | float) for bound in bounds):
            raise SpaceError(f"--set {name}: LOW..HIGH takes two numbers, received {value!r}")
        return name.strip(), (bounds[0], bounds[1])  # type: ignore[return-value]
    if "," in value:
        return name.strip(), [_scalar(one) for one in value.split(",")]
    return name.strip(), _scalar(value)


def _scalar(text: str) -> Scalar:
    text = text.strip()
    try:
        return float(text) if "e" in text.lower() else _yaml_scalar(text)
    except ValueError:
        return text


def _yaml_scalar(text: str) -> Scalar:
    value = yaml.safe_load(text) if text else ""
    return value if isinstance(value, str | int | float | bool | None) else text


def narrow_parameters(parameters: Sequence[Parameter], settings: Mapping[str, Setting]) -> list[Parameter]:
    """Return the parameters with some fixed or restricted; `SearchSpace.narrow` documents names and settings.

    Raises:
        SpaceError: A name is unknown or not unique, or a setting does not lie inside the parameter's range.
    """
    changes = {_find(parameters, name): setting for name, setting in settings.items()}
    return [_narrow_parameter(parameter, changes) for parameter in parameters]


def _find(parameters: Sequence[Parameter], name: str) -> tuple[str, ...]:
    top: list[tuple[str, ...]] = [(parameter.name,) for parameter in parameters]
    nested: list[tuple[str, ...]] = [
        (parameter.name, inner.name)
        for parameter in parameters
        if isinstance(parameter, Repeat)
        for inner in parameter.parameters
    ]
    exact = [path for path in top + nested if ".".join(path) == name]
    found = exact or [path for path in nested if path[-1] == name]
    if len(found) > 1:
        raise SpaceError(f"{name!r} is not unique: say {' or '.join('.'.join(path) for path in found)}")
    if not found:
        raise UnknownNameError("parameter", name, [".".join(path) for path in top + nested])
    return found[0]


def _narrow_parameter(parameter: Parameter, changes: Mapping[tuple[str, ...], Setting]) -> Parameter:
    setting = changes.get((parameter.name,), _KEEP)
    if not isinstance(parameter, Repeat):
        return parameter if setting is _KEEP else _narrow_leaf(parameter, setting)
    nested = [
        one
        if (change := changes.get((parameter.name, one.name), _KEEP)) is _KEEP
        else _narrow_leaf(one, change, f"{parameter.name}.")
        for one in parameter.parameters
    ]
    if setting is _KEEP:
        return replace(parameter, parameters=nested)
    count = _narrow_leaf(parameter.count, setting)
    if not isinstance(count, Int):
        raise SpaceError(f"{parameter.name!r} is a number of items: set it to N or LOW..HIGH, not {setting!r}")
    return replace(parameter, low=count.low, high=count.high, default=count.default, parameters=nested)


_KEEP: Any = object()


def _narrow_leaf(parameter: Leaf, setting: Setting, prefix: str = "") -> Leaf:
    label = f"{prefix}{parameter.name}"
    if isinstance(setting, tuple):
        return _narrow_range(parameter, *setting, label=label)
    values = setting if isinstance(setting, list) else [setting]
    values = [_like(parameter, value) for value in values]
    for value in values:
        if not parameter.contains(value):
            raise SpaceError(f"{label!r} takes {parameter.range_text()}, received {value!r}")
    if isinstance(parameter, Choice) or len(values) > 1:
        default = next((value for value in values if same(value, parameter.default)), values[0])
        return Choice(parameter.name, values, default=default, when=parameter.when)
    return replace(parameter, low=values[0], high=values[0], default=values[0])  # type: ignore[arg-type]


def _like(parameter: Leaf, value: Scalar) -> Scalar:
    """Read a value as the parameter's type where nothing is lost: `1` as 1.0, `1` as "1", `1e2` as 100."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(parameter, Float) and isinstance(value, int):
        return float(value)
    if isinstance(parameter, Int) and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(parameter, Choice):
        return next((known for known in parameter.values if known == value or str(known) == str(value)), value)
    return value


def _narrow_range(parameter: Leaf, low: float, high: float, *, label: str) -> Leaf:
    if isinstance(parameter, Choice):
        numbers = [v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)]
        inside: Sequence[Scalar] = [value for value in numbers if low <= value <= high]
        if not inside:
            raise SpaceError(f"{label!r} takes {parameter.range_text()}, none of it lies in {low}..{high}")
        default = parameter.default if parameter.default in inside else inside[0]
        return Choice(parameter.name, inside, default=default, when=parameter.when)
    if low > high or low < parameter.low or high > parameter.high:
        raise SpaceError(f"{label!r} takes {parameter.range_text()}, received {low}..{high}")
    low, high = (_like(parameter, bound) for bound in (low, high))  # type: ignore[assignment]
    narrowed = replace(parameter, low=low, high=high, default=None)  # type: ignore[arg-type]
    if narrowed.contains(parameter.default):
        return replace(narrowed, default=parameter.default)  # type: ignore[arg-type]
    return narrowed
