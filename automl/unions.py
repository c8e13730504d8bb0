"""Unions of search spaces: one choice of a family, and each family's parameters under names of its own.

The parameters that the trainer reads keep their names and are shared; all others get their family's name in front, as
in `cnn_kernel_size`, and are active where that family is chosen. `SearchSpace.union` is the public door.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from automl.errors import SpaceError
from automl.parameters import Choice, Parameter, Repeat, same
from automl.records import Config
from automl.standard_parameters import TRAINING_NAMES

FAMILY = "family"
"""Name of the parameter that chooses."""


def union_parameters(families: Mapping[str, Sequence[Parameter]]) -> list[Parameter]:
    """Return the parameters of a union of families, given each family's own.

    Raises:
        SpaceError: Two families give one parameter of training different ranges or conditions, or one's parameter gets
            the name of another's.
    """
    merged: dict[str, Parameter] = {FAMILY: Choice(FAMILY, list(families))}
    owners: dict[str, list[str]] = {}
    for family, parameters in families.items():
        for parameter in parameters:
            renamed = _renamed(parameter, family, parameters)
            first = merged.setdefault(renamed.name, renamed)
            if renamed.name in owners and renamed.name not in TRAINING_NAMES:
                raise SpaceError(f"families {owners[renamed.name][0]!r} and {family!r} both have a {renamed.name!r}")
            if not _same_range(first, renamed):
                raise SpaceError(
                    f"families {owners[renamed.name][0]!r} and {family!r} give {renamed.name!r} different ranges or "
                    f"conditions ({first.range_text()} and {renamed.range_text()}): parameters of training are shared"
                )
            owners.setdefault(renamed.name, []).append(family)
    return [
        replace(one, when={FAMILY: owners[name], **one.when})
        if len(owners.get(name, families)) < len(families)
        else one
        for name, one in merged.items()
    ]


def family_config(config: Mapping[str, Any], family: str, parameters: Sequence[Parameter]) -> Config:
    """Return the config of one family, out of one of the union."""
    names = {parameter.name: _union_name(parameter.name, family) for parameter in parameters}
    return {name: config[union_name] for name, union_name in names.items() if union_name in config}


@dataclass(frozen=True)
class UnionBuild:
    """The builder of a union: hands each config to its family's builder.

    Attributes:
        families: By name, a family's parameters and its builder.
    """

    families: Mapping[str, tuple[Sequence[Parameter], Any]]

    def __call__(self, config: Config, spec: Any) -> Any:
        """Return the model that the chosen family builds."""
        parameters, build = self.families[config[FAMILY]]
        return build(family_config(config, config[FAMILY], parameters), spec)

    def fit_for(self, config: Config) -> Callable[..., Any] | None:
        """Return the chosen family's own training, if it has one."""
        parameters, build = self.families[config[FAMILY]]
        return own_fit(build, family_config(config, config[FAMILY], parameters))


def own_fit(build: Any, config: Config) -> Callable[..., Any] | None:
    """Return the training that a builder brings for a config's model, `fit(model, x, y, **arguments)`, if it does.

    A builder brings one by a method `fit_for(config)` that returns it, or None.
    """
    fit_for = getattr(build, "fit_for", None)
    return None if fit_for is None else fit_for(config)


def _union_name(name: str, family: str) -> str:
    return name if name in TRAINING_NAMES else f"{family.replace('-', '_')}_{name}"


def _renamed(parameter: Parameter, family: str, siblings: Sequence[Parameter]) -> Parameter:
    """Return a parameter as the union knows it; names inside a `Repeat` stay, since they have its name in front."""
    names = {one.name: _union_name(one.name, family) for one in siblings}
    when = {names[name]: values for name, values in parameter.when.items()}
    if not isinstance(parameter, Repeat):
        return replace(parameter, name=names[parameter.name], when=when)
    own = {one.name for one in parameter.parameters}
    nested = [
        replace(one, when={name if name in own else names[name]: values for name, values in one.when.items()})
        for one in parameter.parameters
    ]
    return replace(parameter, name=names[parameter.name], when=when, parameters=nested)


def _same_range(left: Parameter, right: Parameter) -> bool:
    """Return True when two parameters of one name differ at most in their defaults."""
    if type(left) is not type(right) or left == right:
        return left == right
    if isinstance(left, Choice) and isinstance(right, Choice):
        equal = len(left.values) == len(right.values) and all(map(same, left.values, right.values))
        return equal and left.when == right.when
    return left == replace(right, default=left.default)  # type: ignore[arg-type]
