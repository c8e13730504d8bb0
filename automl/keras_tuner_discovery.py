"""Finds every hyperparameter of a KerasTuner hypermodel, and the conditions on it, without training.

KerasTuner's own discovery does not enter an `if` or a loop over a hyperparameter. Here every whole number, choice and
boolean is varied by itself, from the build in which it was first seen, until no build asks for anything new; what
changes between the builds of one variation are the conditions. Of a long range only the ends, the default and the
places where something changes are built.

Needs keras: a driver runs it in a child process (`python -m automl.keras_tuner_discovery REFERENCE`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from automl.errors import RequestError, SpaceError
from automl.importing import one_line
from automl.keras_tuner_hypermodels import FitProbe, hypermodel_of, load, overrides_fit
from automl.keras_tuner_parameters import identifiers, leaf_to_json, to_leaf, values_of
from automl.parameters import Choice, Float, Leaf, Scalar

MOST_BUILDS = 100
"""Builds after which discovery gives up."""

_INTERACTION_BUILDS = 40  # up to so many, hyperparameters that others depend on are varied once more where those are
_QUIET_BUILDS = 80  # looking at random ends here, before discovery gives up
_RANDOM_BUILDS = 12  # points at random in a row that bring nothing new, before all counts as found
_MOST_CONDITION_VALUES = 1000  # of a whole number on which something depends

Key = str
Point = dict[str, Scalar]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """What a hypermodel may ask for.

    Attributes:
        leaves: The parameters, parents first.
        names: KerasTuner's name of each parameter, by ours.
        has_fit: Whether it trains its models itself.
        withheld: Arguments that its `fit` gives by itself or does not take, such as `batch_size`.
    """

    leaves: tuple[Leaf, ...]
    names: Mapping[str, str]
    has_fit: bool = False
    withheld: tuple[str, ...] = ()


def discover(hypermodel: Any) -> Discovered:
    """Find the parameters of a hypermodel by building models of it.

    Args:
        hypermodel: A `keras_tuner.HyperModel`, a subclass of it, or a function `build(hp)`.

    Raises:
        SpaceError: It is none of these, its default model cannot be built, a hyperparameter has no counterpart, or it
            still asks for something new after `MOST_BUILDS` builds.
    """
    hypermodel = hypermodel_of(hypermodel)
    probe = FitProbe(hypermodel) if overrides_fit(hypermodel) else None
    search = _Search(hypermodel, probe)
    search.run()
    leaves, names = search.parameters()
    return Discovered(
        leaves=leaves, names=names, has_fit=probe is not None, withheld=tuple(sorted(probe.withheld)) if probe else ()
    )


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A hyperparameter as the builds ask for it: those of one name may have several ranges."""

    name: str
    leaf: Leaf
    declared: tuple[tuple[Key, tuple[Any, ...]], ...]


@dataclass(frozen=True)
class _Seen:
    """What one build asked for, and the values that it got; `complete` unless it failed on the way."""

    asked: Mapping[Key, Scalar]
    complete: bool = True


class _Search:
    """Varies hyperparameters until nothing new appears."""

    def __init__(self, hypermodel: Any, probe: FitProbe | None) -> None:
        self._hypermodel = hypermodel
        self._probe = probe
        self._known: dict[Key, _Known] = {}
        self._builds: dict[str, _Seen] = {}
        self._sweeps: dict[tuple[Key, str], dict[Scalar, _Seen]] = {}
        self._first: dict[Key, Point] = {}  # where a hyperparameter was first active

    def run(self) -> None:
        """Find all hyperparameters."""
        self._observe({})
        self._sweep_new()
        for key, point in self._interactions():
            if len(self._builds) + len(self._places(key)) > _INTERACTION_BUILDS:
                break
            self._sweep(key, point)
        self._sweep_new()
        self._look_at_random()

    def _look_at_random(self) -> None:
        """Build at points at random: what needs certain values of two others shows in no variation of a single one."""
        generator = random.Random(0)
        nothing_new = 0
        while nothing_new < _RANDOM_BUILDS and len(self._builds) < _QUIET_BUILDS:
            known = len(self._first)
            point = self._random_point(generator)
            seen = self._observe(point)
            nothing_new = 0 if len(self._first) > known else nothing_new + 1
            if not nothing_new:
                self._sweep_new()
                for key in seen.asked:
                    self._sweep(key, point)

    def _random_point(self, generator: random.Random) -> Point:
        """Return a value for everything known that can be varied."""
        varied = [one for one in self._known.values() if not isinstance(one.leaf, Float)]
        return {one.name: generator.choice(values_of(one.leaf)) for one in varied}

    def parameters(self) -> tuple[tuple[Leaf, ...], dict[str, str]]:
        """Return the leaves with their conditions, and KerasTuner's names by ours."""
        names = dict(zip(self._known, identifiers(known.name for known in self._known.values()), strict=True))
        whens = {key: self._when(key) for key in self._known}
        leaves: dict[Key, Leaf] = {}
        for key, known in self._known.items():
            when = _without_implied(whens[key], whens)
            if all(values and parent in leaves for parent, values in when.items()):  # else it is never active
                renamed = {names[parent]: values for parent, values in when.items()}
                leaves[key] = replace(known.leaf, name=names[key], when=renamed)
        return tuple(leaves.values()), {names[key]: known.name for key, known in self._known.items()}

    def _sweep_new(self) -> None:
        """Vary each hyperparameter where it was first seen; those that appear meanwhile too."""
        while new := [key for key in self._first if all(swept != key for swept, _ in self._sweeps)]:
            self._sweep(new[0], self._first[new[0]])

    def _observe(self, point: Point) -> _Seen:
        """Build at a point, or remember that build; hyperparameters that the point does not name are at their default.

        Raises:
            SpaceError: There have been too many builds, or the default cannot be built.
        """
        text = json.dumps(point, sort_keys=True)
        if text not in self._builds:
            if len(self._builds) >= MOST_BUILDS:
                raise SpaceError(
                    f"the hypermodel still asks for new hyperparameters after {MOST_BUILDS} builds "
                    f"({len(self._known)} so far): give fewer, or shorter ranges to those that others depend on"
                )
            self._builds[text] = self._build(point)
        return self._builds[text]

    def _build(self, point: Point) -> _Seen:
        import keras_tuner

        hp = keras_tuner.HyperParameters()
        hp.values = dict(point)
        complete = True
        try:
            model = self._hypermodel.build(hp)
        except Exception as error:
            if not point:
                raise SpaceError(f"the hypermodel's build fails for its defaults: {one_line(error)}") from error
            complete = False  # such trials will fail too, each with its reason; here it only hides what comes after
            _log.info("no model at %s: %s", point, one_line(error))
        else:
            complete = self._probe is None or self._probe.fit(hp, model)
        return _Seen(self._register(hp, point), complete)

    def _register(self, hp: Any, point: Point) -> dict[Key, Scalar]:
        """Remember the hyperparameters of a build; return the active ones with their values."""
        asked: dict[Key, Scalar] = {}
        latest: dict[str, Key] = {}  # of several hyperparameters of one name, the one that conditions mean
        for one in hp.space:
            key = _key(one)
            if key not in self._known:
                declared = tuple((latest[condition.name], tuple(condition.values)) for condition in one.conditions)
                self._known[key] = _Known(name=one.name, leaf=to_leaf(one, "_"), declared=declared)
            is_active = all(condition.is_active(hp.values) for condition in one.conditions)
            if is_active or one.name not in latest:
                latest[one.name] = key
            if is_active:
                asked[key] = hp.values[one.name]
                self._first.setdefault(key, dict(point))
        return asked

    def _sweep(self, key: Key, base: Point) -> None:
        """Vary one hyperparameter from a point: all values of a choice, of a range only where something changes."""
        known = self._known[key]
        sweep = self._sweeps.setdefault((key, json.dumps(base, sort_keys=True)), {})
        if isinstance(known.leaf, Float):
            return
        values = values_of(known.leaf)

        def look(index: int) -> _Seen:
            return self._observe({**base, known.name: values[index]})

        places = self._places(key)
        found = {index: look(index) for index in places}
        for left, right in itertools.pairwise(places):
            _bisect(left, right, found, look)
        last = found[0]
        changes = len({frozenset(seen.asked) for seen in found.values()}) > 1
        if changes and len(values) > _MOST_CONDITION_VALUES:
            raise SpaceError(f"others depend on {known.name!r}, which has {len(values)} values: give it a step")
        for index, value in enumerate(values if changes else values[:1]):
            last = found.get(index, last)
            sweep[value] = last

    def _places(self, key: Key) -> list[int]:
        """Return the indices of the values to try first: all of a choice, and those that conditions name."""
        leaf = self._known[key].leaf
        values = values_of(leaf)
        if isinstance(leaf, Choice):
            return list(range(len(values)))
        named = [
            one for known in self._known.values() for parent, some in known.declared if parent == key for one in some
        ]
        wanted = [leaf.default, *(value for value in named if leaf.contains(value))]
        edges = [index for value in wanted for index in (values.index(value), values.index(value) + 1)]
        return sorted({0, len(values) - 1, *(index for index in edges if index < len(values))})

    def _interactions(self) -> list[tuple[Key, Point]]:
        """Return what others depend on, each with the other points at which something first appeared."""
        structural = [key for key in self._first if self._matters(key)]
        return [
            (key, point)
            for point in self._first.values()
            for key in structural
            if key in self._observe(point).asked and self._known[key].name not in point
        ]

    def _matters(self, key: Key) -> bool:
        sweeps = (sweep for (swept, _), sweep in self._sweeps.items() if swept == key)
        return any(len({frozenset(seen.asked) for seen in sweep.values()}) > 1 for sweep in sweeps)

    def _when(self, key: Key) -> dict[Key, list[Scalar]]:
        """Return the conditions on a hyperparameter: those declared, and those that the builds show."""
        known = self._known[key]
        when: dict[Key, list[Scalar]] = {}
        for parent, values in known.declared:
            leaf = self._known[parent].leaf
            every = list(values) if isinstance(leaf, Float) else values_of(leaf)
            when[parent] = [value for value in when.get(parent, every) if value in values]
        for parent in self._known:
            if parent == key:
                break
            if parent not in when and (allowed := self._allowed(key, parent)):
                when[parent] = allowed
        return when

    def _allowed(self, key: Key, parent: Key) -> list[Scalar]:
        """Return the values of `parent` with which a hyperparameter is asked for; empty where it does not depend."""
        sweeps = [sweep for (swept, _), sweep in self._sweeps.items() if swept == parent]
        shown = [sweep for sweep in sweeps if any(key in seen.asked for seen in sweep.values())]
        if not shown:
            return []
        every = list(shown[0])
        allowed = [
            v for v in every if any(key in sweep[v].asked or not sweep[v].complete for sweep in shown if v in sweep)
        ]
        holds = all(seen.asked.get(parent) in allowed for seen in self._builds.values() if key in seen.asked)
        return allowed if holds and len(allowed) < len(every) else []


def _bisect(left: int, right: int, found: dict[int, _Seen], look: Callable[[int], _Seen]) -> None:
    """Find where between two indices the asked hyperparameters change."""
    if right - left < 2 or found[left].asked.keys() == found[right].asked.keys():
        return
    middle = (left + right) // 2
    found[middle] = look(middle)
    _bisect(left, middle, found, look)
    _bisect(middle, right, found, look)


def _without_implied(
    when: Mapping[Key, list[Scalar]], whens: Mapping[Key, Mapping[Key, list[Scalar]]]
) -> dict[Key, list[Scalar]]:
    """Return the conditions without those that another condition's parameter has itself."""

    def implied(parent: Key) -> bool:
        theirs = (whens[other].get(parent) for other in when if other != parent)
        return any(values is not None and all(value in when[parent] for value in values) for values in theirs)

    return {parent: values for parent, values in when.items() if not implied(parent)}


def _key(hyperparameter: Any) -> Key:
    """Return what tells hyperparameters apart: name, range and declared conditions, not the default."""
    config = {name: value for name, value in hyperparameter.get_config().items() if name != "default"}
    return json.dumps([type(hyperparameter).__name__, config], sort_keys=True, default=str)


def to_json(found: Discovered) -> dict[str, Any]:
    """Return what was found as JSON values."""
    return {**vars(found), "leaves": [leaf_to_json(leaf) for leaf in found.leaves]}


def main(reference: str) -> None:
    """Print what a reference's hypermodel asks for as one line of JSON, and nothing that its own code prints."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = load(reference)
            # Known by name: this floor lies below that of spaces.
            is_space = type(found).__name__ == "SearchSpace"
            answer = {"is_space": True} if is_space else to_json(discover(found))
    except RequestError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))  # noqa: T201 - the answer to the parent process


if __name__ == "__main__":
    main(sys.argv[1])
