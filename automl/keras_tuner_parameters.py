"""From KerasTuner's hyperparameters to ours: ranges, defaults and names.

Nothing here imports keras_tuner: a hyperparameter is read by its kind's name and its configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from automl.errors import SpaceError
from automl.parameters import Choice, Float, Int, Leaf, Scalar

_REVERSE_LOG_POINTS = 21  # of a range that is sampled on a mirrored logarithmic scale, which ours have not


def to_leaf(hyperparameter: Any, name: str) -> Leaf:
    """Return a KerasTuner hyperparameter as one of ours, with the same bounds, scale, step and default.

    A step on a logarithmic scale multiplies, so that such a range becomes a choice among its exact values; so does
    one on the `reverse_log` scale. A default that is not on the grid becomes the grid's nearest value.

    Args:
        hyperparameter: A `keras_tuner.engine.hyperparameters` object.
        name: The identifier to give it.

    Raises:
        SpaceError: Its kind or its values are not known.
    """
    kind = type(hyperparameter).__name__
    if kind == "Boolean":
        return Choice(name, [False, True], default=bool(hyperparameter.default))
    if kind == "Fixed":
        return Choice(name, [_plain(hyperparameter.value)])
    if kind == "Choice":
        values = list(dict.fromkeys(map(_plain, hyperparameter.values)))
        return Choice(name, values, default=_plain(hyperparameter.default))
    if kind in ("Int", "Float"):
        return _numeric(hyperparameter, name, int if kind == "Int" else float)
    raise SpaceError(f"hyperparameter {hyperparameter.name!r}: {kind} is no Int, Float, Choice, Boolean or Fixed")


def identifiers(names: Iterable[str]) -> list[str]:
    """Return a different Python identifier for each name, which may come twice; names that are identifiers keep theirs.

    Example:
        >>> identifiers(["conv/filters", "conv_filters", "1st"])
        ['conv_filters_2', 'conv_filters', '_1st']
    """
    names = list(names)
    taken = {name for name in names if name.isidentifier()}
    kept: set[str] = set()
    found = []
    for name in names:
        if name.isidentifier() and name not in kept:
            kept.add(name)
            found.append(name)
            continue
        found.append(_free(re.sub(r"\W", "_", name), taken))
        taken.add(found[-1])
    return found


def _free(wanted: str, taken: set[str]) -> str:
    stem = wanted if wanted.isidentifier() else f"_{wanted}"
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name


def values_of(leaf: Leaf) -> Sequence[Scalar]:
    """Return every value of a choice or of a whole number's range, in order."""
    if isinstance(leaf, Choice):
        return leaf.values
    if isinstance(leaf, Int):
        return range(leaf.low, leaf.high + 1, leaf.step)
    raise SpaceError(f"a condition on {leaf.name!r} needs a number with a step or a choice, not {leaf.range_text()}")


def _numeric(hyperparameter: Any, name: str, number: type[int] | type[float]) -> Leaf:
    low, high = number(hyperparameter.min_value), number(hyperparameter.max_value)
    is_log = hyperparameter.sampling == "log"
    if hyperparameter.sampling == "reverse_log" or (is_log and hyperparameter.step is not None):
        return _grid(hyperparameter, name, number)
    options: dict[str, Any] = {"log": is_log and low < high}
    if hyperparameter.step is not None and low < high:
        options["step"] = number(hyperparameter.step)
    leaf: Leaf = Int(name, low, high, **options) if number is int else Float(name, low, high, **options)  # type: ignore[arg-type]
    return _with_default(leaf, number(hyperparameter.default))


def _grid(hyperparameter: Any, name: str, number: type[int] | type[float]) -> Leaf:
    low, high = number(hyperparameter.min_value), number(hyperparameter.max_value)
    if hyperparameter.step is not None:
        values = [number(value) for value in hyperparameter.values]
    else:
        fractions = [index / (_REVERSE_LOG_POINTS - 1) for index in range(1, _REVERSE_LOG_POINTS - 1)]
        values = [low, *(number(hyperparameter.prob_to_value(fraction)) for fraction in fractions), high]
    inside = sorted({min(max(value, low), high) for value in values})
    default = number(hyperparameter.default)
    return Choice(name, inside, default=min(inside, key=lambda value: abs(value - default)))


def _with_default(leaf: Leaf, default: float) -> Leaf:
    assert not isinstance(leaf, Choice)
    inside = min(max(default, leaf.low), leaf.high)
    if isinstance(leaf, Int):
        return replace(leaf, default=leaf.low + round((inside - leaf.low) / leaf.step) * leaf.step)
    if leaf.step is not None:
        inside = leaf.low + round((inside - leaf.low) / leaf.step) * leaf.step
    return replace(leaf, default=min(inside, leaf.high))


def _plain(value: Any) -> Scalar:
    """Return a value as the plain type that JSON keeps: numpy's numbers are subclasses of Python's."""
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    raise SpaceError(f"a hyperparameter's value is a string, number or boolean, not {value!r}")


def leaf_to_json(leaf: Leaf) -> Mapping[str, Any]:
    """Return a parameter as JSON values."""
    values = {"kind": type(leaf).__name__, **vars(leaf)}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def leaf_from_json(values: Mapping[str, Any]) -> Leaf:
    """Read back what `leaf_to_json` gave."""
    kinds: dict[str, Any] = {"Int": Int, "Float": Float, "Choice": Choice}
    options = dict(values)
    leaf: Leaf = kinds[options.pop("kind")](**options)
    return leaf
