"""Narrowing parameters: `--set units=64..256 --set optimizer=adam`, or the same from Python; nothing is widened."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from automl.errors import SpaceError, UnknownNameError
from automl.parameters import Choice, Float, Int, Leaf, Parameter, Repeat, Scalar, canonical, on_grid, same

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
        if not _are_numbers(bounds):
            raise SpaceError(f"--set {name}: LOW..HIGH takes two numbers, received {value!r}")
        return name.strip(), (bounds[0], bounds[1])  # type: ignore[return-value]
    if "," in value:
        return name.strip(), [_scalar(one) for one in value.split(",")]
    return name.strip(), _scalar(value)


def parse_settings(texts: Iterable[str]) -> dict[str, Setting]:
    """Read every `--set`, as `parse_setting` does.

    Raises:
        SpaceError: One cannot be read, or a name is set twice.
    """
    settings: dict[str, Setting] = {}
    for name, setting in map(parse_setting, texts):
        if name in settings:
            raise SpaceError(f"--set {name} is given twice: give it once, as a range or a list")
        settings[name] = setting
    return settings


def _scalar(text: str) -> Scalar:
    text = text.strip()
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        with suppress(ValueError):
            return number(text)
    return text


_WORDS: Mapping[str, Scalar] = {"true": True, "false": False, "null": None}


def narrow_parameters(parameters: Sequence[Parameter], settings: Mapping[str, Setting]) -> list[Parameter]:
    """Return the parameters with some fixed or restricted; `SearchSpace.narrow` documents names and settings.

    A parameter whose conditions can no longer hold is left out.

    Raises:
        SpaceError: A name is unknown, not unique or set twice, or a setting does not lie inside the parameter's range
            or concerns a parameter that another setting has ruled out.
    """
    changes: dict[tuple[str, ...], Setting] = {}
    for name, setting in settings.items():
        path = _find(parameters, name)
        if path in changes:
            raise SpaceError(f"{'.'.join(path)!r} is set twice")
        changes[path] = setting
    return _without_impossible([_narrow_parameter(parameter, changes) for parameter in parameters], changes)


def _without_impossible(parameters: Sequence[Parameter], changes: Mapping[tuple[str, ...], Setting]) -> list[Parameter]:
    """Take out conditions that no longer hold, and parameters that no longer have any that does."""
    kept: dict[str, Parameter] = {}
    for parameter in parameters:
        possible = _possible(parameter, kept, changes, (parameter.name,))
        if possible is None:
            continue
        kept[parameter.name] = possible
        if isinstance(possible, Repeat):
            items: dict[str, Leaf] = {}
            for nested in possible.parameters:
                one = _possible(nested, kept | items, changes, (possible.name, nested.name))
                if one is not None:
                    items[nested.name] = one  # type: ignore[assignment]
            kept[parameter.name] = replace(possible, parameters=list(items.values()))
    return list(kept.values())


def _possible(
    parameter: Parameter,
    known: Mapping[str, Parameter],
    changes: Mapping[tuple[str, ...], Setting],
    path: tuple[str, ...],
) -> Parameter | None:
    when = {
        name: [value for value in values if name in known and _leaf(known[name]).contains(value)]
        for name, values in parameter.when.items()
    }
    if all(when.values()):
        return replace(parameter, when=when) if when else parameter
    if path in changes or any(changed[:-1] == path for changed in changes):
        needs = " and ".join(f"{name} = {' | '.join(map(str, values))}" for name, values in parameter.when.items())
        raise SpaceError(f"{'.'.join(path)!r} is set, but can never be active: it needs {needs}")
    return None


def _leaf(parameter: Parameter) -> Leaf:
    return parameter.count if isinstance(parameter, Repeat) else parameter


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
        short = {path[-1] for path in top + nested}
        raise UnknownNameError("parameter", name, short | {".".join(path) for path in nested})
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
        low, high = _bounds(setting, label)
        return _narrow_range(parameter, low, high, label=label)
    values = setting if isinstance(setting, list) else [setting]
    if not values:
        raise SpaceError(f"{label!r} takes a list of at least one value, received []")
    values = [_like(parameter, value) for value in values]
    for value in values:
        if not parameter.contains(value):
            raise SpaceError(f"{label!r} takes {parameter.range_text()}, received {value!r}")
    values = [canonical(parameter, value) for value in values]
    if isinstance(parameter, Choice) or len(values) > 1:
        default = next((value for value in values if same(value, parameter.default)), values[0])
        return Choice(parameter.name, values, default=default, when=parameter.when)
    return replace(parameter, low=values[0], high=values[0], default=values[0])  # type: ignore[arg-type]


def _like(parameter: Leaf, value: Scalar) -> Scalar:
    """Read a value as the parameter's type where nothing is lost: `1` as 1.0, `1` as "1", `1e2` as 100."""
    if isinstance(parameter, Choice):
        return next((known for known in parameter.values if _means(known, value)), value)
    if isinstance(parameter, Int) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _means(known: Scalar, value: Scalar) -> bool:
    if isinstance(known, bool) or isinstance(value, bool):
        return str(known).lower() == str(value).lower()  # True, "true" and "True", but never 1
    return known == value or str(known) == str(value)


def _bounds(setting: tuple[object, ...], label: str) -> tuple[float, float]:
    if len(setting) != 2 or not _are_numbers(setting):
        raise SpaceError(f"{label!r}: a range is two numbers (low, high), received {setting!r}; values go in a list")
    return setting  # type: ignore[return-value]


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _narrow_range(parameter: Leaf, low: float, high: float, *, label: str) -> Leaf:
    if isinstance(parameter, Choice):
        numbers = [v for v in parameter.values if isinstance(v, int | float) and not isinstance(v, bool)]
        inside: Sequence[Scalar] = [value for value in numbers if low <= value <= high]
        if not inside:
            raise SpaceError(f"{label!r} takes {parameter.range_text()}, none of it lies in {low}..{high}")
        default = parameter.default if parameter.default in inside else inside[0]
        return Choice(parameter.name, inside, default=default, when=parameter.when)
    if not parameter.low <= low <= high <= parameter.high:
        raise SpaceError(f"{label!r} takes {parameter.range_text()}, received {low}..{high}")
    if parameter.step is not None:
        low, high = _within_grid(parameter, parameter.step, low, high, label)
    narrowed = replace(parameter, low=low, high=high, default=None)  # type: ignore[arg-type]
    if narrowed.contains(parameter.default):
        return replace(narrowed, default=parameter.default)  # type: ignore[arg-type]
    return narrowed


def _within_grid(parameter: Int | Float, step: float, low: float, high: float, label: str) -> tuple[float, float]:
    """Return the first and the last point of the parameter's own grid that lie within two bounds."""
    first = math.ceil((low - parameter.low) / step - 1e-9)
    last = math.floor((high - parameter.low) / step + 1e-9)
    if first > last:
        raise SpaceError(f"{label!r} takes {parameter.range_text()}, none of it lies in {low}..{high}")
    if isinstance(parameter, Int):
        return parameter.low + first * parameter.step, parameter.low + last * parameter.step
    return on_grid(parameter.low, first, step), on_grid(parameter.low, last, step)
