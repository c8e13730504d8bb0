from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cloudpickle
import pytest

from automl.errors import SpaceError, UnknownNameError
from automl.parameters import Choice, Float, Int, Parameter, Repeat
from automl.records import Config
from automl.search_space import SearchSpace, config_key, flatten, grid_values
from automl.space_sources import find_space


def space_of(*parameters: Parameter) -> SearchSpace:
    return SearchSpace("space", parameters, print)


def default(_: str, parameter: Any) -> Any:
    return parameter.default


READY_MADE = ("linear", "mlp", "cnn", "resnet", "tabular", "text", "transfer", "cnn+resnet+mlp", "tabular+linear")

EVERYTHING = space_of(
    Choice("optimizer", ["adam", "sgd"]),
    Float("momentum", 0.0, 0.9, when={"optimizer": ["sgd"]}),
    Repeat(
        "hidden",
        0,
        3,
        [
            Int("units", 8, 64, log=True),
            Choice("norm", [False, True]),
            Float("decay", 0.0, 1.0, step=0.25, when={"norm": [True], "optimizer": ["sgd"]}),
        ],
        default=1,
    ),
    Int("bonus", 1, 9, step=2, when={"hidden": [0, 3]}),
)

FINITE = {
    "flat": (space_of(Int("a", 1, 3), Choice("b", ["x", "y"])), 6),
    "one point": (space_of(Int("a", 2, 2), Float("b", 1 / 3, 1 / 3), Choice("c", [None])), 1),
    "nothing": (space_of(), 1),
    "long range": (space_of(Int("a", 1, 100)), 100),
    "steps": (space_of(Float("a", 0.0, 0.6, step=0.05), Int("b", 0, 9, step=4)), 13 * 3),
    "whole steps": (space_of(Float("a", 0.0, 9.0, step=1.0)), 10),
    "condition": (space_of(Choice("a", ["x", "y"]), Int("b", 1, 3, when={"a": ["y"]})), 1 + 3),
    "condition first": (space_of(Choice("a", ["y", "x"]), Int("b", 1, 3, when={"a": ["y"]}), Int("c", 1, 2)), 6 + 2),
    "chain": (
        space_of(Int("a", 1, 2), Int("b", 1, 2, when={"a": [2]}), Int("c", 1, 2, when={"b": [2]})),
        1 + 1 + 2,
    ),
    "repeat": (space_of(Repeat("r", 0, 2, [Int("a", 1, 3)])), 1 + 3 + 9),
    "repeat of nothing": (space_of(Repeat("r", 0, 2, [])), 3),
    "condition in repeat": (
        space_of(Repeat("r", 1, 2, [Choice("a", [1, 2]), Int("b", 1, 3, when={"a": [2]})])),
        4 + 16,
    ),
    "condition on outside": (
        space_of(Choice("o", ["x", "y"]), Repeat("r", 1, 2, [Int("b", 1, 3, when={"o": ["y"]})])),
        2 + 3 + 9,
    ),
    "condition on how many": (space_of(Repeat("r", 1, 2, [Int("b", 1, 3, when={"r": [2]})])), 1 + 9),
    "condition on repeat": (space_of(Repeat("r", 0, 2, [Int("a", 1, 2)]), Int("b", 1, 3, when={"r": [1]})), 1 + 6 + 4),
    "conditional repeat": (
        space_of(Choice("o", ["x", "y"]), Repeat("r", 0, 2, [Int("a", 1, 2)], when={"o": ["y"]})),
        1 + 7,
    ),
    "condition on a float": (space_of(Float("f", 0.0, 2.0, step=1.0), Int("b", 1, 2, when={"f": [1]})), 4),
}


@pytest.mark.parametrize("name", FINITE)
def test_a_finite_space_knows_its_size_and_yields_every_config_once(name: str) -> None:
    space, count = FINITE[name]
    assert space.is_finite
    assert space.size() == count
    seen: set[str] = set()
    while (config := space.unseen(lambda one: config_key(one) in seen)) is not None:
        space.validate(config)
        seen.add(config_key(config))
    assert len(seen) == count


@pytest.mark.parametrize("name", [name for name in FINITE if name != "long range"])
def test_the_grid_of_a_small_space_is_the_whole_space_each_config_once(name: str) -> None:
    space, count = FINITE[name]
    keys = [config_key(config) for config in space.grid()]
    assert len(keys) == len(set(keys)) == count


@pytest.mark.parametrize("name", [name for name, (_, count) in FINITE.items() if count < 30])
def test_random_configs_reach_every_point_of_a_small_space(name: str) -> None:
    space, count = FINITE[name]
    generator = random.Random(1)
    assert len({config_key(space.random_config(generator)) for _ in range(100 * count)}) == count


def test_size_stops_counting_at_its_limit() -> None:
    space = space_of(Int("a", 1, 10), Int("b", 1, 10))
    assert space.size(100) == 100
    assert space.size(99) == math.inf
    assert EVERYTHING.size() == math.inf
    assert not EVERYTHING.is_finite


def test_a_condition_that_cannot_hold_does_not_make_a_space_infinite() -> None:
    space = space_of(Choice("o", ["x", "y"]), Float("f", 0.0, 1.0, when={"o": ["y"]}))
    assert not space.is_finite
    assert space.narrow({"o": "x"}).size() == 1


@pytest.mark.parametrize("space", [EVERYTHING, *(find_space(name) for name in READY_MADE)])
def test_whatever_a_space_proposes_is_a_point_of_it(space: SearchSpace) -> None:
    generator = random.Random(0)
    for config in [space.default_config(), *(space.random_config(generator) for _ in range(100))]:
        space.validate(config)
        assert space.complete(config, default) == config
        assert space.complete(flatten(config), default) == config
        assert json.loads(json.dumps(config)) == config


def test_a_grid_spreads_five_values_over_a_long_range_bounds_included() -> None:
    assert grid_values(Float("x", 1e-4, 1.0, log=True)) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert grid_values(Int("n", 0, 100)) == (0, 25, 50, 75, 100)
    assert grid_values(Int("n", 16, 512, log=True)) == (16, 38, 91, 215, 512)
    assert grid_values(Float("x", 0.0, 5.0, step=1.0)) == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    assert grid_values(Float("x", 0.0, 0.3, step=0.05)) == (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
    assert grid_values(Int("n", 1, 3)) == (1, 2, 3)
    assert grid_values(Float("x", 1 / 3, 1 / 3)) == (1 / 3,)
    for low, high in [(0.2, 0.9), (1e-5, 0.5), (0.1, 0.7)]:
        for log in (False, True):
            values = grid_values(Float("x", low, high, log=log))
            assert (values[0], values[-1], len(values)) == (low, high, 5)


def test_every_point_of_an_endless_spaces_grid_is_contained_and_comes_once() -> None:
    space = EVERYTHING.narrow({"hidden": (0, 1)})
    configs = list(space.grid())
    assert all(space.contains(config) for config in configs)
    by_depth = {depth: sum(len(config["hidden"]) == depth for config in configs) for depth in (0, 1)}
    assert by_depth == {0: (1 + 5) * 5, 1: 5 * (2 + 5 * (1 + 5))}  # adam and sgd with five momentums
    assert len({config_key(config) for config in configs}) == len(configs) == sum(by_depth.values())


def test_random_floats_on_a_grid_hold_no_binary_dust() -> None:
    space = space_of(Float("dropout", 0.0, 0.6, step=0.05))
    generator = random.Random(0)
    values = {space.random_config(generator)["dropout"] for _ in range(300)}
    assert values == {index * 5 / 100 for index in range(13)}


def test_random_draws_follow_the_seed_and_the_scale() -> None:
    space = space_of(Float("rate", 1e-4, 1.0, log=True), Int("units", 1, 1024, log=True))
    draws = [space.random_config(random.Random(seed)) for seed in range(400)]
    assert draws == [space.random_config(random.Random(seed)) for seed in range(400)]
    assert 0.4 < sum(draw["rate"] < 1e-2 for draw in draws) / 400 < 0.6
    assert 0.4 < sum(draw["units"] < 32 for draw in draws) / 400 < 0.6


def test_a_walk_asks_in_order_for_what_is_active() -> None:
    asked: list[str] = []

    def choose(name: str, parameter: Any) -> Any:
        asked.append(name)
        return {"optimizer": "sgd", "hidden": 2, "hidden.1.norm": True}.get(name, parameter.default)

    config = EVERYTHING.walk(choose)
    assert asked == [
        *("optimizer", "momentum", "hidden", "hidden.0.units", "hidden.0.norm"),
        *("hidden.1.units", "hidden.1.norm", "hidden.1.decay"),
    ]
    assert config["hidden"] == [{"units": 23, "norm": False}, {"units": 23, "norm": True, "decay": 0.5}]
    assert list(flatten(config)) == asked


def test_leaves_name_everything_that_can_become_active() -> None:
    items = [f"hidden.{index}.{name}" for index in range(3) for name in ("units", "norm", "decay")]
    assert list(EVERYTHING.leaves()) == ["optimizer", "momentum", "hidden", *items, "bonus"]
    assert EVERYTHING.leaves()["hidden"].range_text() == "0..3"


@pytest.mark.parametrize(
    "partial",
    [
        {"hidden": [{"units": 16}, {"norm": True}]},
        {"hidden": 2, "hidden.0.units": 16, "hidden.1.norm": True},
        {"hidden.1.norm": True, "hidden.0.units": 16, "hidden": 2},
    ],
)
def test_a_partial_config_is_completed_by_nested_and_by_flat_names(partial: Config) -> None:
    completed = EVERYTHING.complete(partial, default)
    assert completed["hidden"] == [{"units": 16, "norm": False}, {"units": 23, "norm": True}]
    assert completed["optimizer"] == "adam"


def test_completing_gives_values_their_canonical_form() -> None:
    space = space_of(Float("rate", 0.0, 2.0), Float("dropout", 0.0, 0.6, step=0.1))
    config = space.complete({"rate": 1, "dropout": 0.30000000000000004}, default)
    assert config_key(config) == config_key({"rate": 1.0, "dropout": 0.3})
    assert EVERYTHING.complete({}, default) == EVERYTHING.default_config()


@pytest.mark.parametrize(
    ("partial", "says"),
    [
        ({"optimiser": "adam"}, "unknown parameter of space 'space' 'optimiser'; did you mean 'optimizer'?"),
        ({"hidden.0.unit": 16}, "did you mean 'hidden.0.units'?"),
        ({"hidden": [{"unit": 16}]}, "did you mean 'hidden.0.units'?"),
        ({3: 4}, "unknown parameter of space 'space' '3'"),
        ({"optimizer": "sdg"}, "'optimizer' takes adam | sgd, received 'sdg'"),
        ({"hidden": 4}, "'hidden' takes 0..3, received 4"),
        ({"hidden": [{}, {}, {}, {}]}, "'hidden' takes 0..3, received 4"),
        ({"hidden": [16]}, "'hidden' takes 0..3, received [16]"),
        ({"hidden": {"units": 16}}, "'hidden' takes 0..3, received {'units': 16}"),
        ({"hidden": [{"units": 7}]}, "'hidden.0.units' takes 8..64 log, received 7"),
        ({"optimizer": ["adam"]}, "'optimizer' takes adam | sgd, received ['adam']"),
        ({"optimizer": {"name": "adam"}}, "'optimizer' takes adam | sgd, received {'name': 'adam'}"),
        ({"momentum": 0.5}, "parameter 'momentum' is not active"),
        ({"hidden": 1, "hidden.2.units": 16}, "parameter 'hidden.2.units' is not active"),
    ],
)
def test_what_does_not_belong_into_a_partial_config_is_refused(partial: Any, says: str) -> None:
    with pytest.raises(SpaceError if "unknown" not in says and "mean" not in says else UnknownNameError) as caught:
        EVERYTHING.complete(partial, default)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_lacks_a_parameter_is_no_point_of_the_space() -> None:
    with pytest.raises(SpaceError, match=r"config of space 'space' lacks 'momentum' \(0..0.9\)"):
        EVERYTHING.validate({"optimizer": "sgd", "hidden": []})
    assert not EVERYTHING.contains({})
    assert not EVERYTHING.contains({"optimizer": "adam", "hidden": [{}]})
    assert not EVERYTHING.contains({"optimizer": "adam", "hidden": [{"units": 8, "norm": 0}]})
    assert EVERYTHING.contains({"optimizer": "adam", "hidden": [{"units": 8, "norm": False}]})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SearchSpace("", [], print), "a space's name"),
        (lambda: SearchSpace("a b", [], print), "a space's name has letters, digits, '-' and '_', received 'a b'"),
        (lambda: SearchSpace("../up", [], print), "a space's name"),
        (lambda: SearchSpace(5, [], print), "a space's name"),  # type: ignore[arg-type]
        (lambda: SearchSpace("s", [], "build"), "build is a function of (config, spec), not 'build'"),  # type: ignore[arg-type]
        (lambda: SearchSpace("s", Int("a", 1, 2), print), "takes a list of parameters"),  # type: ignore[arg-type]
        (lambda: SearchSpace("s", ["a"], print), "'a' is no Int, Float, Choice or Repeat"),  # type: ignore[list-item]
        (lambda: space_of(Int("a", 1, 2), Float("a", 1, 2)), "uses the name 'a' twice"),
        (lambda: space_of(Int("a", 1, 2, when={"b": [1]}), Int("b", 1, 2)), "depends on 'b', which is not defined bef"),
        (lambda: space_of(Int("a", 1, 2, when={"a": [1]})), "not defined before it; before it: nothing"),
        (lambda: space_of(Int("b", 1, 2), Int("a", 1, 2, when={"c": [1]})), "not defined before it; before it: b"),
        (lambda: space_of(Int("b", 1, 2), Int("a", 1, 2, when={"b": [3]})), "'a: when b' takes 1..2, received 3"),
        (lambda: space_of(Choice("b", [True]), Int("a", 1, 2, when={"b": [1]})), "'a: when b' takes True, received 1"),
        (lambda: space_of(Repeat("r", 1, 2, [Int("n", 1, 2)]), Int("a", 1, 2, when={"n": [1]})), "depends on 'n'"),
        (lambda: space_of(Repeat("r", 1, 2, [Int("n", 1, 2, when={"m": [1]}), Int("m", 1, 2)])), "depends on 'm'"),
        (
            lambda: space_of(Repeat("r", 1, 2, []), Int("a", 1, 2, when={"r": [3]})),
            "'a: when r' takes 1..2, received 3",
        ),
    ],
)
def test_a_space_that_is_not_well_formed_is_refused_in_one_line(make: Callable[[], object], says: str) -> None:
    with pytest.raises(SpaceError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


BASE = space_of(Int("a", 1, 4), Float("b", 0.0, 1.0, when={"a": [1, 2]}), Repeat("r", 1, 2, [Choice("c", ["x", "y"])]))


@pytest.mark.parametrize(
    "other",
    [
        space_of(Int("a", 1, 5), *BASE.parameters[1:]),
        space_of(Int("a", 1, 4, log=True), *BASE.parameters[1:]),
        space_of(Choice("a", [1, 2, 3, 4]), *BASE.parameters[1:]),
        space_of(BASE.parameters[0], Float("b", 0.0, 1.0), BASE.parameters[2]),
        space_of(BASE.parameters[0], Float("b", 0.0, 1.0, when={"a": [1]}), BASE.parameters[2]),
        space_of(BASE.parameters[0], Float("b", 0.0, 1.0, step=0.5, when={"a": [1, 2]}), BASE.parameters[2]),
        space_of(BASE.parameters[0], Float("bb", 0.0, 1.0, when={"a": [1, 2]}), BASE.parameters[2]),
        space_of(*BASE.parameters[:2], Repeat("r", 1, 3, [Choice("c", ["x", "y"])])),
        space_of(*BASE.parameters[:2], Repeat("r", 1, 2, [Choice("c", ["x", "z"])])),
        space_of(*BASE.parameters[:2], Repeat("r", 1, 2, [Choice("c", ["x", "y"], when={"a": [1]})])),
        space_of(*BASE.parameters[:2]),
    ],
)
def test_every_change_of_a_range_or_condition_changes_the_fingerprint(other: SearchSpace) -> None:
    assert other.fingerprint() != BASE.fingerprint()


def test_types_of_choices_are_in_the_fingerprint_and_defaults_builders_and_names_are_not() -> None:
    assert space_of(Choice("a", [1])).fingerprint() != space_of(Choice("a", ["1"])).fingerprint()
    assert space_of(Choice("a", [1])).fingerprint() != space_of(Choice("a", [True])).fingerprint()
    first = SearchSpace("one", [Int("a", 1, 9)], print, source="here")
    assert first.fingerprint() == SearchSpace("two", [Int("a", 1, 9, default=2)], repr).fingerprint()


def test_the_fingerprint_is_the_same_in_every_process() -> None:
    program = "import sys; from automl import find_space; print(*[find_space(n).fingerprint() for n in sys.argv[1:]])"
    printed = subprocess.run(
        [sys.executable, "-c", program, *READY_MADE], check=True, capture_output=True, text=True
    ).stdout
    assert printed.split() == [find_space(name).fingerprint() for name in READY_MADE]


def test_the_table_has_a_row_for_every_parameter() -> None:
    assert EVERYTHING.table() == [
        {"name": "optimizer", "range": "adam | sgd", "default": "adam", "when": ""},
        {"name": "momentum", "range": "0..0.9", "default": "0", "when": "optimizer = sgd"},
        {"name": "hidden", "range": "0..3 times", "default": "1", "when": ""},
        {"name": "hidden.units", "range": "8..64 log", "default": "23", "when": ""},
        {"name": "hidden.norm", "range": "False | True", "default": "False", "when": ""},
        {
            "name": "hidden.decay",
            "range": "0..1 step 0.25",
            "default": "0.5",
            "when": "norm = True and optimizer = sgd",
        },
        {"name": "bonus", "range": "1..9 step 2", "default": "5", "when": "hidden = 0 | 3"},
    ]


def test_keys_ignore_the_order_of_names_and_look_at_types() -> None:
    assert config_key({"a": 1, "b": [{"c": 1, "d": 2}]}) == config_key({"b": [{"d": 2, "c": 1}], "a": 1})
    assert config_key({"a": 1}) != config_key({"a": True})
    assert config_key({"a": 1}) != config_key({"a": "1"})


SGD = [Choice("optimizer", ["adam", "sgd"]), Float("momentum", 0.0, 0.9, when={"optimizer": ["sgd"]})]
DEEP = SearchSpace(
    "deep",
    [
        Choice("norm", [False, True]),
        Repeat(
            "hidden",
            0,
            2,
            [
                Choice("kind", ["a", "b"]),
                Int("units", 1, 2, when={"kind": ["b"]}),
                Choice("bias", [False, True], when={"norm": [False], "hidden": [2]}),
            ],
            when={"norm": [False]},
        ),
        *SGD,
        Choice("loss", ["huber", "mean_squared_error"], when={"norm": [True]}),
    ],
    lambda config, spec: ("deep", config, spec),
)
FLAT = SearchSpace("flat", [*SGD, Int("units", 1, 3)], lambda config, spec: ("flat", config, spec))
UNION = SearchSpace.union("union", {"deep-one": DEEP, "flat": FLAT}, source="somewhere")


def test_a_union_has_each_familys_parameters_under_its_name_and_shares_those_of_training() -> None:
    assert [(row["name"], row["when"]) for row in UNION.table()] == [
        ("family", ""),
        ("deep_one_norm", "family = deep-one"),
        ("deep_one_hidden", "family = deep-one and deep_one_norm = False"),
        ("deep_one_hidden.kind", ""),
        ("deep_one_hidden.units", "kind = b"),
        ("deep_one_hidden.bias", "deep_one_norm = False and deep_one_hidden = 2"),
        ("optimizer", ""),
        ("momentum", "optimizer = sgd"),
        ("loss", "family = deep-one and deep_one_norm = True"),
        ("flat_units", "family = flat"),
    ]
    assert (UNION.name, UNION.source) == ("union", "somewhere")


def test_every_point_of_a_union_is_a_point_of_its_family_and_each_comes_once() -> None:
    plain = replace(UNION, parameters=UNION.narrow({"optimizer": "adam"}).parameters)
    counts = {"deep": 0, "flat": 0}
    for config in plain.grid():
        family, own, spec = plain.build(config, "spec")
        (DEEP if family == "deep" else FLAT).validate(own)
        assert spec == "spec"
        counts[family] += 1
    assert counts["flat"] == FLAT.narrow({"optimizer": "adam"}).size() == 3
    assert counts["deep"] == DEEP.narrow({"optimizer": "adam"}).size() == 1 + 3 + 36 + 2


def test_a_union_is_a_space_like_any_other() -> None:
    assert UNION.default_config() == {
        "family": "deep-one",
        "deep_one_norm": False,
        "deep_one_hidden": [],
        "optimizer": "adam",
    }
    only = UNION.narrow({"family": "flat", "flat_units": (2, 3)})
    assert [parameter.name for parameter in only.parameters] == ["family", "optimizer", "momentum", "flat_units"]
    assert UNION.fingerprint() == SearchSpace.union("other", {"deep-one": DEEP, "flat": FLAT}).fingerprint()
    assert UNION.fingerprint() != SearchSpace.union("union", {"flat": FLAT, "deep-one": DEEP}).fingerprint()
    family, config, _ = cloudpickle.loads(cloudpickle.dumps(UNION.build))({"family": "flat", "flat_units": 2}, None)
    assert (family, config) == ("flat", {"units": 2})


def test_families_may_differ_in_the_defaults_of_training_and_the_first_counts() -> None:
    fast, slow = (space_of(Float("learning_rate", 0.1, 0.5, default=rate)) for rate in (0.5, 0.2))
    assert SearchSpace.union("u", {"a": fast, "b": slow}).default_config() == {"family": "a", "learning_rate": 0.5}
    sgd, adam = (space_of(Choice("optimizer", ["adam", "sgd"], default=one)) for one in ("sgd", "adam"))
    assert SearchSpace.union("u", {"a": sgd, "b": adam}).default_config() == {"family": "a", "optimizer": "sgd"}


@pytest.mark.parametrize(
    ("families", "says"),
    [
        ({}, "takes spaces by names such as 'cnn', received none"),
        ({"a b": FLAT}, "received ['a b']"),
        ({"a": FLAT, "b": space_of(Choice("optimizer", ["adam"]))}, "families 'a' and 'b' give 'optimizer' different"),
        ({"a": FLAT, "b": space_of(Int("optimizer", 1, 2))}, "families 'a' and 'b' give 'optimizer' different ranges"),
        (
            {"a": space_of(Float("learning_rate", 0.1, 0.5)), "b": space_of(Float("learning_rate", 0.1, 0.6))},
            "(0.1..0.5 and 0.1..0.6): parameters of training are shared",
        ),
        (
            {"a": space_of(Int("b_c", 1, 2)), "a_b": space_of(Int("c", 1, 2))},
            "families 'a' and 'a_b' both have a 'a_b_c'",
        ),
    ],
)
def test_families_that_do_not_fit_together_are_refused_in_one_line(families: Any, says: str) -> None:
    with pytest.raises(SpaceError) as caught:
        SearchSpace.union("u", families)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
