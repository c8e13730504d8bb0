"""The four kinds of parameter, their ranges and conditions. No parameter knows how it is sampled or trained.

Where a default is not given, that of a parameter which the trainer reads is what training without it would take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias, cast

from automl.errors import SpaceError
from automl.training_defaults import TRAINING_DEFAULTS

Scalar: TypeAlias = str | int | float | bool | None
When: TypeAlias = Mapping[str, Sequence[Scalar]]

_UNSET = cast(Any, None)  # a default that __post_init__ replaces by one computed from the range
_FIRST = cast(Any, object())  # the same for a choice, where None may be one of the values


def same(left: object, right: object) -> bool:
    """Return True when two values are equal and of one type: `True` is not `1`, and `1` is not `1.0`."""
    return type(left) is type(right) and left == right


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


@dataclass(frozen=True)
class _Named:
    """What every parameter has: a name that is a Python identifier, and conditions."""

    name: str

    @property
    def _label(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # only while __post_init__ fills in what was left open

    def _check_named(self, when: When) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise SpaceError(f"a parameter's name is an identifier such as 'learning_rate', not {self.name!r}")
        if not isinstance(when, Mapping):
            raise SpaceError(f"{self._label}: when takes a dict such as {{'optimizer': ['sgd']}}, not {when!r}")
        for name, values in when.items():
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise SpaceError(
                    f"{self._label}: when={{{name!r}: ...}} takes a list of values such as ['sgd'], not {values!r}"
                )


@dataclass(frozen=True)
class Int(_Named):
    """A whole number between two inclusive bounds.

    Attributes:
        name: A Python identifier.
        low: Smallest value, inclusive.
        high: Largest value, inclusive; lowered to the last value on the grid of `step`.
        log: Sample on a logarithmic scale (`step` stays 1 then).
        step: Distance between values.
        default: The value an expert would start from; where not given, that of `TRAINING_DEFAULTS`, or the middle of
            the range.
        when: Active only where each named parameter has one of the listed values.

    Raises:
        SpaceError: Bounds, step or default do not fit together.

    Example:
        >>> Int("units", 16, 512, log=True).range_text()
        '16..512 log'
    """

    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    step: int = 1
    default: int = _UNSET
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the range and fill in the default."""
        self._check_named(self.when)
        for label in ("low", "high", "step"):
            if not _is_number(getattr(self, label), int):
                raise SpaceError(f"{self._label}: {label} is a whole number, not {getattr(self, label)!r}")
        _check_range(self._label, self.low, self.high, self.log, self.step if self.step != 1 else None)
        self._set("high", self.low + (self.high - self.low) // self.step * self.step)
        if self.default is None:
            middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
            middle = self.low + round((middle - self.low) / self.step) * self.step
            self._set("default", _usual(self, otherwise=middle))
        if not self.contains(self.default):
            raise SpaceError(f"{self._label}: default {self.default!r} lies outside {self.range_text()}")

    def contains(self, value: object) -> bool:
        """Return True when `value` is a whole number within the bounds and on the grid."""
        if not _is_number(value, int):
            return False
        number = cast(int, value)
        return self.low <= number <= self.high and (number - self.low) % self.step == 0

    def range_text(self) -> str:
        """Return the range as people read it, such as `16..512 log`."""
        step = f" step {self.step}" if self.step != 1 else ""
        return f"{self.low}..{self.high}{' log' if self.log else step}"


@dataclass(frozen=True)
class Float(_Named):
    """A real number between two inclusive bounds.

    Attributes:
        name: A Python identifier.
        low: Smallest value, inclusive.
        high: Largest value, inclusive; lowered to the last value on the grid of `step`.
        log: Sample on a logarithmic scale (no `step` then).
        step: Distance between values; None for any value.
        default: The value an expert would start from; where not given, that of `TRAINING_DEFAULTS`, or the middle of
            the range.
        when: Active only where each named parameter has one of the listed values.

    Raises:
        SpaceError: Bounds, step or default do not fit together.

    Example:
        >>> Float("dropout", 0.0, 0.6).default
        0.3
    """

    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    step: float | None = None
    default: float = _UNSET
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the range and fill in the default."""
        self._check_named(self.when)
        for label in ("low", "high", "step", "default"):
            value = getattr(self, label)
            if not _is_number(value, int, float) and not (value is None and label in ("step", "default")):
                raise SpaceError(f"{self._label}: {label} is a number, not {value!r}")
            self._set(label, None if value is None else float(value))
        _check_range(self._label, self.low, self.high, self.log, self.step)
        if self.step is not None:
            self._set("high", on_grid(self.low, math.floor((self.high - self.low) / self.step + 1e-9), self.step))
        if self.default is None:
            middle = math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2
            if self.step is not None:
                middle = on_grid(self.low, round((middle - self.low) / self.step), self.step)
            self._set("default", _usual(self, otherwise=middle))
        if not self.contains(self.default):
            raise SpaceError(f"{self._label}: default {self.default!r} lies outside {self.range_text()}")
        self._set("default", canonical(self, self.default))

    def contains(self, value: object) -> bool:
        """Return True when `value` is a number within the bounds and on the grid."""
        if not _is_number(value, int, float):
            return False
        number = cast(float, value)
        if not self.low <= number <= self.high:
            return False
        steps = 0.0 if self.step is None else (number - self.low) / self.step
        return math.isclose(steps, round(steps), rel_tol=1e-9, abs_tol=1e-9)

    def range_text(self) -> str:
        """Return the range as people read it, such as `0.0001..0.1 log`."""
        step = f" step {self.step:g}" if self.step is not None else ""
        return f"{self.low:g}..{self.high:g}{' log' if self.log else step}"


@dataclass(frozen=True)
class Choice(_Named):
    """One of a list of values.

    Attributes:
        name: A Python identifier.
        values: Strings, numbers, booleans or None; each once.
        default: The value an expert would start from; where not given, that of `TRAINING_DEFAULTS`, or the first.
        when: Active only where each named parameter has one of the listed values.

    Raises:
        SpaceError: No values, a value twice (`1`, `1.0` and `True` are one to Optuna), one of another type, or a
            default that is not among them.

    Example:
        >>> Choice("activation", ["relu", "tanh"]).default
        'relu'
    """

    values: Sequence[Scalar]
    _: KW_ONLY
    default: Scalar = _FIRST
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the values and fill in the default."""
        self._check_named(self.when)
        if isinstance(self.values, str) or not isinstance(self.values, Sequence) or not self.values:
            raise SpaceError(f"{self._label} takes a list of at least one value, not {self.values!r}")
        for value in self.values:
            if type(value) not in (str, int, float, bool, type(None)):  # a subclass would not survive JSON
                raise SpaceError(f"{self._label}: a value is a string, number, boolean or None, not {value!r}")
        if len(set(self.values)) != len(self.values):
            raise SpaceError(f"{self._label} lists a value twice: {list(self.values)!r}")
        self._set("values", tuple(self.values))
        if self.default is _FIRST:
            self._set("default", _usual(self, otherwise=self.values[0]))
        if not self.contains(self.default):
            raise SpaceError(f"{self._label}: default {self.default!r} is not among {list(self.values)!r}")

    def contains(self, value: object) -> bool:
        """Return True when `value` is one of the values, type included."""
        return any(same(value, known) for known in self.values)

    def range_text(self) -> str:
        """Return the values as people read them, such as `relu | tanh`."""
        return " | ".join(str(value) for value in self.values)


@dataclass(frozen=True)
class Repeat(_Named):
    """A list of between `low` and `high` items, each with parameters of its own, such as layers.

    The flat name of a nested parameter is `hidden.0.units`; the flat name `hidden` is the number of items.

    Attributes:
        name: A Python identifier.
        low: Fewest items, at least 0.
        high: Most items, inclusive.
        parameters: What every item has, if anything; a `when` among them looks at the same item first, then at the
            whole space, where the name of the `Repeat` itself is the number of its items.
        default: Number of items an expert would start from; `low` where not given.
        when: Active only where each named parameter has one of the listed values.

    Raises:
        SpaceError: The bounds do not fit together, or a nested name is used twice.

    Example:
        >>> Repeat("hidden", 1, 3, [Int("units", 16, 512)]).range_text()
        '1..3 times'
    """

    low: int
    high: int
    parameters: Sequence[Int | Float | Choice]
    _: KW_ONLY
    default: int = _UNSET
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the bounds and names, and fill in the default."""
        self._check_named(self.when)
        whole = _is_number(self.low, int) and _is_number(self.high, int)
        if not whole or not 0 <= self.low <= self.high:
            raise SpaceError(f"{self._label} needs 0 <= low <= high, received {self.low!r} and {self.high!r}")
        nested = list(self.parameters) if isinstance(self.parameters, Sequence) else [self.parameters]
        if not all(isinstance(one, Int | Float | Choice) for one in nested):
            raise SpaceError(f"{self._label} takes a list of Int, Float and Choice, not {self.parameters!r}")
        names = [parameter.name for parameter in nested]
        if len(set(names)) != len(names):
            raise SpaceError(f"{self._label} uses a name twice: {names!r}")
        self._set("parameters", tuple(nested))
        if self.default is None:
            self._set("default", self.low)
        if not _is_number(self.default, int) or not self.low <= self.default <= self.high:
            raise SpaceError(f"{self._label}: default {self.default!r} lies outside {self.low}..{self.high}")

    @property
    def count(self) -> Int:
        """The number of items, as a parameter."""
        default = self.default if self.low <= self.default <= self.high else self.low
        return Int(self.name, self.low, self.high, default=default)

    def range_text(self) -> str:
        """Return the bounds as people read them, such as `1..4 times`."""
        return f"{self.low}..{self.high} times"


Leaf: TypeAlias = Int | Float | Choice
Parameter: TypeAlias = Int | Float | Choice | Repeat


def is_active(parameter: Parameter, *scopes: Mapping[str, Any]) -> bool:
    """Return True when every condition of `parameter` holds.

    A name is looked up in the first scope that has it. A condition on a parameter that is itself inactive does not
    hold. A `Repeat` counts by its number of items.

    Args:
        parameter: The parameter whose `when` is asked.
        *scopes: Values decided so far, the innermost scope first.
    """
    for name, allowed in parameter.when.items():
        value = next((scope[name] for scope in scopes if name in scope), _INACTIVE)
        value = len(value) if isinstance(value, list) else value
        if not any(same(value, one) for one in allowed):
            return False
    return True


_INACTIVE = object()


def _usual(parameter: Leaf, *, otherwise: Scalar) -> Scalar:
    """Return what training takes that lacks such a parameter, where the parameter has that value."""
    value = TRAINING_DEFAULTS.get(parameter.name)
    return value if value is not None and parameter.contains(value) else otherwise


def on_grid(low: float, index: int, step: float) -> float:
    """Return point `index` of a grid without the dust of binary fractions: 0.6, not 0.6000000000000001."""
    return float(Decimal(str(low)) + index * Decimal(str(step)))


def canonical(parameter: Leaf, value: Any) -> Any:
    """Return a value that `parameter` contains in the one form that configs carry, so that equal configs are equal.

    Example:
        >>> canonical(Float("dropout", 0.0, 0.6, step=0.1), 0.30000000000000004)
        0.3
    """
    if not isinstance(parameter, Float):
        return value
    number = float(value)
    if parameter.step is None:
        return number
    return on_grid(parameter.low, round((number - parameter.low) / parameter.step), parameter.step)


def _check_range(label: str, low: float, high: float, log: bool, step: float | None) -> None:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise SpaceError(f"{label}: low must be at most high, received {low} and {high}")
    if log and low <= 0:
        raise SpaceError(f"{label}: log=True needs low above 0, received {low}")
    if log and step is not None:
        raise SpaceError(f"{label}: give log=True or step=, not both")
    if step is not None and not step > 0:
        raise SpaceError(f"{label}: step must be above 0, received {step}")
