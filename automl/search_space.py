"""`SearchSpace`: named parameters plus a builder. Data, not behaviour: nothing here builds or trains a model.

Flat names (`hidden.0.units`, and `hidden` for the number of items) are how samplers and MLflow see a config; nested
configs (`{"hidden": [{"units": 64}]}`) are how builders see it. How a parameter is narrowed (`--set`) lives in
`narrowing.py`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from automl.errors import SpaceError, UnknownNameError
from automl.narrowing import Setting, narrow_parameters
from automl.parameters import Choice, Float, Int, Leaf, Parameter, Repeat, Scalar, canonical, is_active, on_grid
from automl.records import Config
from automl.unions import UnionBuild, union_parameters

Choose = Callable[[str, Leaf], Scalar]
Build = Callable[[Config, Any], Any]

_GRID_POINTS = 5  # values that a grid takes of a continuous or a long range


@dataclass(frozen=True)
class SearchSpace:
    """Named parameters plus `build(config, spec) -> keras.Model`.

    Attributes:
        name: Short name, used in study names.
        parameters: The parameters; one may only depend (`when=`) on those before it.
        build: Makes a model of a config and a `DatasetSpec`. The trainer compiles it, unless it comes back compiled.
        source: How a worker or a resumed search finds the space again: an entry point's name, `module:attribute`,
            `file.py:attribute` or `file.yaml`; empty for a space that lives only in this process.

    Raises:
        SpaceError: A name is used twice, or a condition names an unknown or later parameter or an impossible value.

    Example:
        >>> space = SearchSpace("tiny", [Int("units", 8, 64), Choice("activation", ["relu", "tanh"])], print)
        >>> space.default_config()
        {'units': 36, 'activation': 'relu'}
    """

    name: str
    parameters: Sequence[Parameter]
    build: Build = field(compare=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check that names are unique and conditions can hold."""
        if not isinstance(self.name, str) or not self.name.replace("-", "").replace("_", "").isalnum():
            raise SpaceError(f"a space's name has letters, digits, '-' and '_', received {self.name!r}")
        if not callable(self.build):
            raise SpaceError(f"space {self.name!r}: build is a function of (config, spec), not {self.build!r}")
        if isinstance(self.parameters, str) or not isinstance(self.parameters, Sequence):
            raise SpaceError(f"space {self.name!r} takes a list of parameters, not {self.parameters!r}")
        known: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if not isinstance(parameter, Parameter):
                raise SpaceError(f"space {self.name!r}: {parameter!r} is no Int, Float, Choice or Repeat")
            if parameter.name in known:
                raise SpaceError(f"space {self.name!r} uses the name {parameter.name!r} twice")
            known[parameter.name] = _with_checked_when(parameter, known)
            if isinstance(parameter, Repeat):
                known[parameter.name] = _with_checked_items(parameter, known)
        object.__setattr__(self, "parameters", tuple(known.values()))

    @classmethod
    def union(cls, name: str, families: Mapping[str, SearchSpace], *, source: str = "") -> SearchSpace:
        """Return a space that first chooses a family, then searches that family's space.

        Parameters that the trainer reads keep their names and are shared; where families differ in a default, the
        first family's counts. All others get their family's name in front.

        Args:
            name: The union's name.
            families: The spaces by name, the most promising first: its default config is the union's.
            source: As for `SearchSpace`.

        Raises:
            SpaceError: No families, a family's name is no identifier, or two families give a parameter of training
                different ranges.

        Example:
            >>> small = SearchSpace("small", [Int("units", 8, 16)], print)
            >>> SearchSpace.union("both", {"a": small, "b": small}).default_config()
            {'family': 'a', 'a_units': 12}
        """
        wrong = [family for family in families if not str(family).replace("-", "_").isidentifier()]
        if wrong or not families:
            raise SpaceError(f"union {name!r} takes spaces by names such as 'cnn', received {wrong or 'none'}")
        parameters = union_parameters({family: space.parameters for family, space in families.items()})
        build = UnionBuild({family: (space.parameters, space.build) for family, space in families.items()})
        return cls(name, parameters, build, source)

    @classmethod
    def from_keras_tuner(cls, hypermodel: Any, *, name: str = "keras-tuner", source: str = "") -> SearchSpace:
        """Return the space of a KerasTuner hypermodel; its hyperparameters are found by building, not by training.

        Names that are no identifiers become ones (`conv/filters`: `conv_filters`). Models keep their own compilation,
        and an overridden `HyperModel.fit` trains them.

        Args:
            hypermodel: A `keras_tuner.HyperModel`, a subclass of it, or a function `build(hp)`.
            name: The space's name.
            source: As for `SearchSpace`.

        Raises:
            SpaceError: It is none of these, its default model cannot be built, or it has too many hyperparameters.

        Example:
            >>> space = SearchSpace.from_keras_tuner(MyHyperModel(), name="mine")  # doctest: +SKIP
        """
        from automl.keras_tuner_spaces import read_hypermodel

        parameters, build = read_hypermodel(hypermodel)
        return cls(name, parameters, build, source)

    def walk(self, choose: Choose) -> Config:
        """Make a config by asking `choose(flat_name, parameter)` for every parameter that turns out active, in order.

        Sampling, defaults, grids and validation are all walks; only what `choose` answers differs.
        """
        config: Config = {}
        for parameter in self.parameters:
            if not is_active(parameter, config):
                continue
            if isinstance(parameter, Repeat):
                count = choose(parameter.name, parameter.count)
                items: list[Config] = [{} for _ in range(int(count or 0))]
                config[parameter.name] = items  # all of them, because a nested `when` may ask how many there are
                for index, item in enumerate(items):
                    for nested in parameter.parameters:
                        if is_active(nested, item, config):
                            item[nested.name] = choose(f"{parameter.name}.{index}.{nested.name}", nested)
            else:
                config[parameter.name] = choose(parameter.name, parameter)
        return config

    def leaves(self) -> dict[str, Leaf]:
        """Return every parameter that can become active, by flat name; a `Repeat` appears as its number of items."""
        flat: dict[str, Leaf] = {}
        for parameter in self.parameters:
            if not isinstance(parameter, Repeat):
                flat[parameter.name] = parameter
                continue
            flat[parameter.name] = parameter.count
            for index, nested in itertools.product(range(parameter.high), parameter.parameters):
                flat[f"{parameter.name}.{index}.{nested.name}"] = nested
        return flat

    def default_config(self) -> Config:
        """Return the config that an expert would start from."""
        return self.walk(lambda _, parameter: parameter.default)

    def random_config(self, generator: random.Random) -> Config:
        """Draw a config; ranges are drawn on their own scale."""
        return self.walk(lambda _, parameter: _draw(parameter, generator))

    def grid(self) -> Iterator[Config]:
        """Yield every config once, the last parameter changing fastest; a `Float` without step gives five values."""
        flat: dict[str, Sequence[Scalar]] = {}  # odometer: the values left for each parameter of the current path

        def first_left(name: str, parameter: Leaf) -> Scalar:
            return flat.setdefault(name, list(grid_values(parameter)))[0]

        while True:
            config = self.walk(first_left)
            yield config
            path = list(flatten(config))
            flat = {name: flat[name] for name in path}
            while path and len(flat[path[-1]]) == 1:
                del flat[path.pop()]
            if not path:
                return
            flat[path[-1]] = flat[path[-1]][1:]

    @property
    def is_finite(self) -> bool:
        """True when every parameter has a countable number of values."""
        return not any(math.isinf(_cardinality(parameter)) for parameter in self.leaves().values())

    def size(self, limit: int = 10_000) -> float:
        """Return the number of different configs: exact up to `limit`, otherwise infinity."""
        if not self.is_finite:
            return math.inf
        counted = sum(1 for _ in itertools.islice(self._every_config(), limit + 1))
        return counted if counted <= limit else math.inf

    def unseen(self, seen: Callable[[Config], bool]) -> Config | None:
        """Return the first config of a finite space that `seen` does not know, or None when all are known."""
        return next((config for config in self._every_config() if not seen(config)), None)

    def _every_config(self) -> Iterator[Config]:
        return replace(self, parameters=[_whole(parameter) for parameter in self.parameters]).grid()

    def narrow(self, settings: Mapping[str, Setting]) -> SearchSpace:
        """Return the space with some parameters fixed or restricted; nothing is ever widened.

        A parameter whose conditions can no longer hold is left out: no `momentum` where `optimizer` is `adam`.

        Args:
            settings: By name: a fixed value, an inclusive range `(low, high)`, or a list of values. A nested
                parameter is named `hidden.units`, or `units` where that is unique; a `Repeat` is narrowed by its
                number of items.

        Raises:
            SpaceError: A name is unknown, not unique or set twice, or a setting does not lie inside the parameter's
                range or concerns a parameter that another setting has ruled out.

        Example:
            >>> space = SearchSpace("tiny", [Int("units", 8, 64)], print)
            >>> space.narrow({"units": (16, 32)}).table()[0]["range"]
            '16..32'
        """
        return replace(self, parameters=narrow_parameters(self.parameters, settings))

    def complete(self, partial: Mapping[str, Any], choose: Choose) -> Config:
        """Return a config with the values of `partial` (flat or nested names), the rest from `choose`.

        Raises:
            SpaceError: `partial` names an unknown or inactive parameter, or a value outside its range.
        """
        fixed = flatten(partial)
        used = set()

        def fixed_or_chosen(name: str, parameter: Leaf) -> Scalar:
            if name not in fixed:
                return choose(name, parameter)
            used.add(name)
            _check_value(name, parameter, fixed[name])
            value: Scalar = canonical(parameter, fixed[name])
            return value

        config = self.walk(fixed_or_chosen)
        for name in fixed.keys() - used:
            if name not in self.leaves():
                raise UnknownNameError(f"parameter of space {self.name!r}", str(name), self.leaves())
            raise SpaceError(f"parameter {name!r} is not active in {dict(partial)!r}: see its 'when' (automl spaces)")
        return config

    def validate(self, config: Mapping[str, Any]) -> None:
        """Check that `config` is a point of this space.

        Raises:
            SpaceError: A parameter is missing, unknown, inactive or outside its range; the message says which.
        """

        def missing(name: str, parameter: Leaf) -> Scalar:
            raise SpaceError(f"config of space {self.name!r} lacks {name!r} ({parameter.range_text()})")

        self.complete(config, missing)

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Return True when `config` is a point of this space."""
        try:
            self.validate(config)
        except SpaceError:
            return False
        return True

    def fingerprint(self) -> str:
        """Return a hash of parameters, ranges and conditions: equal for equal spaces, in every process.

        Defaults and the builder's code are not in it: they do not change what a config means to the study.
        """
        text = json.dumps([_as_json(parameter) for parameter in self.parameters], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def table(self) -> list[dict[str, str]]:
        """Return one row a parameter for people: `name`, `range`, `default`, `when`."""
        rows = []
        for parameter in self.parameters:
            rows.append(_row(parameter.name, parameter))
            if isinstance(parameter, Repeat):
                rows += [_row(f"{parameter.name}.{nested.name}", nested) for nested in parameter.parameters]
        return rows


def flatten(config: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return a config by flat names; a list appears as its number of items, before its items' values.

    Example:
        >>> flatten({"hidden": [{"units": 8}], "activation": "relu"})
        {'hidden': 1, 'hidden.0.units': 8, 'activation': 'relu'}
    """
    flat: dict[str, Scalar] = {}
    for name, value in config.items():
        if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
            flat[name] = value
            continue
        flat[name] = len(value)
        for index, item in enumerate(value):
            flat |= {f"{name}.{index}.{nested}": one for nested, one in item.items()}
    return flat


def config_key(config: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal configs."""
    return json.dumps(config, sort_keys=True)


def grid_values(parameter: Leaf) -> tuple[Scalar, ...]:
    """Return the values that a grid takes of a parameter: all of a few, or five spread over its scale."""
    if isinstance(parameter, Choice):
        return tuple(parameter.values)
    count = _cardinality(parameter)
    is_every_integer = isinstance(parameter, Int) and parameter.step == 1
    if count <= _GRID_POINTS or (count < math.inf and not is_every_integer):
        return tuple(_stepped(parameter, index) for index in range(int(count)))
    spread = [_at_fraction(parameter, index / (_GRID_POINTS - 1)) for index in range(_GRID_POINTS)]
    return tuple(dict.fromkeys(spread))


def _cardinality(parameter: Leaf) -> float:
    if isinstance(parameter, Choice):
        return len(parameter.values)
    if parameter.low == parameter.high:
        return 1
    return math.inf if parameter.step is None else round((parameter.high - parameter.low) / parameter.step) + 1


def _whole(parameter: Parameter) -> Parameter:
    """Return a finite parameter as one whose grid holds all its values."""
    if isinstance(parameter, Repeat):
        nested = [_whole_leaf(one) for one in parameter.parameters]
        return Repeat(parameter.name, parameter.low, parameter.high, nested, when=parameter.when)
    return _whole_leaf(parameter)


def _whole_leaf(parameter: Leaf) -> Leaf:
    if isinstance(parameter, Choice):
        return parameter
    values = [_stepped(parameter, index) for index in range(int(_cardinality(parameter)))]
    return Choice(parameter.name, values, when=parameter.when)


def _stepped(parameter: Int | Float, index: int) -> int | float:
    if isinstance(parameter, Int):
        return parameter.low + index * parameter.step
    return on_grid(parameter.low, index, parameter.step or 0.0)


def _at_fraction(parameter: Int | Float, fraction: float) -> int | float:
    """Return the value at a fraction of the way through the range, on the parameter's own scale and grid."""
    low, high = parameter.low, parameter.high
    if fraction == 1.0:
        return high  # as it was written, without the dust of the way there
    value = low * (high / low) ** fraction if parameter.log else low + (high - low) * fraction
    if parameter.step is not None:
        value = on_grid(low, math.floor((value - low) / parameter.step + 0.5), parameter.step)
    return round(value) if isinstance(parameter, Int) else min(max(value, low), high)


def _draw(parameter: Leaf, generator: random.Random) -> Scalar:
    if isinstance(parameter, Choice):
        return generator.choice(list(parameter.values))
    if isinstance(parameter, Int) and not parameter.log:
        return generator.randrange(parameter.low, parameter.high + 1, parameter.step)
    return _at_fraction(parameter, generator.random())


def _check_value(name: str, parameter: Leaf, value: object) -> None:
    if not parameter.contains(value):
        raise SpaceError(f"{name!r} takes {parameter.range_text()}, received {value!r}")


def _with_checked_when(parameter: Parameter, known: Mapping[str, Parameter]) -> Parameter:
    """Return a parameter whose conditions can hold, their values in the form that configs carry."""
    when: dict[str, list[Scalar]] = {}
    for name, values in parameter.when.items():
        if name not in known:
            before = ", ".join(known) or "nothing"
            raise SpaceError(
                f"{parameter.name!r} depends on {name!r}, which is not defined before it; before it: {before}"
            )
        controller = known[name]
        leaf = controller.count if isinstance(controller, Repeat) else controller
        for value in values:
            _check_value(f"{parameter.name}: when {name}", leaf, value)
        when[name] = [canonical(leaf, value) for value in values]
    return replace(parameter, when=when) if when else parameter


def _with_checked_items(repeat: Repeat, known: Mapping[str, Parameter]) -> Repeat:
    items: dict[str, Parameter] = {}
    for nested in repeat.parameters:
        items[nested.name] = _with_checked_when(nested, {**known, **items})
    return replace(repeat, parameters=list(items.values()))  # type: ignore[arg-type]


def _as_json(parameter: Parameter) -> dict[str, Any]:
    values: dict[str, Any] = {"kind": type(parameter).__name__}
    for one in fields(parameter):
        value = getattr(parameter, one.name)
        if one.name == "parameters":
            value = [_as_json(nested) for nested in value]
        if one.name != "default":
            values[one.name] = value
    return values


def _row(name: str, parameter: Parameter) -> dict[str, str]:
    when = " and ".join(f"{key} = {' | '.join(map(str, values))}" for key, values in parameter.when.items())
    default = parameter.default
    text = f"{default:.4g}" if isinstance(default, float) else str(default)
    return {"name": name, "range": parameter.range_text(), "default": text, "when": when}
