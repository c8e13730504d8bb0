from __future__ import annotations

import random
from typing import Any

import pytest

from automl.errors import SpaceError, UnknownNameError
from automl.narrowing import parse_setting
from automl.parameters import Choice, Float, Int, Repeat, same
from automl.search_space import SearchSpace
from automl.space_sources import find_space

SPACE = SearchSpace(
    "wide",
    [
        Choice("optimizer", ["adam", "sgd"]),
        Float("momentum", 0.0, 0.9, when={"optimizer": ["sgd"]}),
        Choice("nesterov", [False, True], when={"optimizer": ["sgd"]}),
        Float("rate", 1e-4, 1e-1, log=True, default=1e-3),
        Float("noise", 0.0, 0.6, step=0.05),
        Float("whole", 0.0, 9.0, step=1.0),
        Int("batch", 10, 40, step=10),
        Choice("size", [32, 64, 128], default=64),
        Choice("penalty", [None, "l1", "1"]),
        Repeat("hidden", 1, 4, [Int("units", 16, 512, log=True), Float("dropout", 0.0, 0.5)], default=2),
        Repeat("tail", 0, 2, [Float("dropout", 0.0, 0.5), Int("width", 1, 8)]),
    ],
    print,
)


@pytest.mark.parametrize(
    ("text", "name", "setting"),
    [
        ("units=64", "units", 64),
        ("units=64..256", "units", (64, 256)),
        (" units = 64 .. 256 ", "units", (64, 256)),
        ("rate=1e-4..1e-2", "rate", (1e-4, 1e-2)),
        ("dropout=0...5", "dropout", (0, 0.5)),
        ("x=-2..-1", "x", (-2, -1)),
        ("optimizer=adam", "optimizer", "adam"),
        ("optimizer=adam,sgd", "optimizer", ["adam", "sgd"]),
        ("activation=relu, selu", "activation", ["relu", "selu"]),
        ("size=32,64", "size", [32, 64]),
        ("nesterov=true", "nesterov", True),
        ("nesterov=False", "nesterov", False),
        ("penalty=null", "penalty", None),
        ("rate=1e2", "rate", 100.0),
        ("name=a=b", "name", "a=b"),
        ("switch=off", "switch", "off"),
        ("version=1:30", "version", "1:30"),
        ("units=010", "units", 10),
        ("odd=[", "odd", "["),
        ("odd=@{: ", "odd", "@{:"),
    ],
)
def test_a_setting_is_read_from_the_command_line(text: str, name: str, setting: Any) -> None:
    read = parse_setting(text)
    assert read == (name, setting)
    assert type(read[1]) is type(setting)


@pytest.mark.parametrize(
    "text", ["", "units", "units=", "=64", "units=a..b", "units=1..", "x=true..false", "x=1..2..3"]
)
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="--set"):
        parse_setting(text)


def _parameter(space: SearchSpace, name: str) -> Any:
    return space.leaves()[name]


@pytest.mark.parametrize(
    ("setting", "name", "expected"),
    [
        ({"rate": 0.01}, "rate", [0.01]),
        ({"rate": (1e-3, 1e-2)}, "rate", (1e-3, 1e-2)),
        ({"batch": (10, 30)}, "batch", (10, 30)),
        ({"batch": 20.0}, "batch", [20]),
        ({"noise": (0.12, 0.33)}, "noise", (0.15, 0.3)),
        ({"noise": 0.30000000000000004}, "noise", [0.3]),
        ({"noise": 0}, "noise", [0.0]),
        ({"whole": (0.5, 3.5)}, "whole", (1.0, 3.0)),
        ({"whole": 3}, "whole", [3.0]),
        ({"size": (60, 200)}, "size", [64, 128]),
        ({"size": "32"}, "size", [32]),
        ({"penalty": 1}, "penalty", ["1"]),
        ({"penalty": [None, "l1"]}, "penalty", [None, "l1"]),
        ({"penalty": "None"}, "penalty", [None]),
        ({"nesterov": "true", "optimizer": "sgd"}, "nesterov", [True]),
        ({"hidden": 3}, "hidden", [3]),
        ({"hidden": (2, 3)}, "hidden", (2, 3)),
        ({"hidden.units": (64, 128)}, "hidden.0.units", (64, 128)),
        ({"units": [64, 128]}, "hidden.1.units", [64, 128]),
        ({"tail.dropout": 0.25, "tail": 1}, "tail.0.dropout", [0.25]),
    ],
)
def test_narrowing(setting: dict[str, Any], name: str, expected: Any) -> None:
    parameter = _parameter(SPACE.narrow(setting), name)
    if isinstance(expected, tuple):
        assert (parameter.low, parameter.high) == expected
    elif isinstance(parameter, Choice):
        assert all(same(one, other) for one, other in zip(parameter.values, expected, strict=True))
    else:
        assert [parameter.low, parameter.high] == expected * 2
        assert same(parameter.default, expected[0])


def test_narrowing_keeps_the_scale_and_a_default_that_is_still_inside() -> None:
    rate = _parameter(SPACE.narrow({"rate": (5e-4, 1e-2)}), "rate")
    assert (rate.log, rate.default) == (True, 1e-3)
    assert _parameter(SPACE.narrow({"size": [32, 64]}), "size").default == 64
    assert _parameter(SPACE.narrow({"size": [32, 128]}), "size").default == 32
    assert _parameter(SPACE.narrow({"hidden": (3, 4)}), "hidden").default == 3
    assert _parameter(SPACE.narrow({"hidden": (1, 3)}), "hidden").default == 2


def test_an_optimizer_takes_its_own_parameters_with_it() -> None:
    narrowed = SPACE.narrow({"optimizer": "adam"})
    assert "momentum" not in narrowed.leaves()
    assert "nesterov" not in narrowed.leaves()
    assert "momentum" in SPACE.narrow({"optimizer": "sgd"}).default_config()
    assert "momentum" in SPACE.leaves()


def test_a_condition_on_what_was_left_out_falls_too() -> None:
    chain = SearchSpace(
        "chain",
        [
            Int("a", 1, 3),
            Choice("b", ["x", "y"], when={"a": [2, 3]}),
            Int("c", 1, 2, when={"b": ["x"]}),
            Repeat("r", 0, 2, [Int("d", 1, 2, when={"a": [3]}), Int("e", 1, 2, when={"d": [1]})]),
            Int("f", 1, 2, when={"r": [2]}),
        ],
        print,
    )
    assert list(chain.narrow({"a": 1}).leaves()) == ["a", "r", "f"]
    assert chain.narrow({"a": 1}).size() == 4  # no item, one item, and two items with each `f`
    assert list(chain.narrow({"a": 2, "r": (0, 1)}).leaves()) == ["a", "b", "c", "r"]


def test_a_setting_that_another_one_rules_out_is_refused() -> None:
    with pytest.raises(SpaceError, match="'momentum' is set, but can never be active: it needs optimizer = sgd"):
        SPACE.narrow({"momentum": 0.5, "optimizer": "adam"})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"rate": 1.0}, "'rate' takes 0.0001..0.1 log, received 1.0"),
        ({"rate": (1e-5, 1e-2)}, "'rate' takes 0.0001..0.1 log, received 1e-05..0.01"),
        ({"rate": (1e-2, 1e-3)}, "received 0.01..0.001"),
        ({"rate": (1e-3, float("nan"))}, "received 0.001..nan"),
        ({"rate": "fast"}, "received 'fast'"),
        ({"rate": ("a", "b")}, "a range is two numbers (low, high), received ('a', 'b'); values go in a list"),
        ({"rate": (False, True)}, "a range is two numbers"),
        ({"rate": (1, 2, 3)}, "a range is two numbers"),
        ({"batch": (11, 19)}, "none of it lies in 11..19"),
        ({"batch": 15}, "'batch' takes 10..40 step 10, received 15"),
        ({"noise": 0.07}, "received 0.07"),
        ({"optimizer": "sdg"}, "'optimizer' takes adam | sgd, received 'sdg'"),
        ({"optimizer": ["adam", "adam"]}, "lists a value twice"),
        ({"optimizer": []}, "at least one value"),
        ({"size": (1, 16)}, "none of it lies in 1..16"),
        ({"size": True}, "received True"),
        ({"nesterov": 1, "optimizer": "sgd"}, "'nesterov' takes False | True, received 1"),
        ({"hidden": [1, 3]}, "'hidden' is a number of items: set it to N or LOW..HIGH"),
        ({"hidden": 5}, "'hidden' takes 1..4, received 5"),
        ({"hidden.units": (8, 64)}, "'hidden.units' takes 16..512 log, received 8..64"),
        ({"dropout": 0.1}, "'dropout' is not unique: say hidden.dropout or tail.dropout"),
        ({"units": 32, "hidden.units": 64}, "'hidden.units' is set twice"),
    ],
)
def test_an_impossible_setting_is_refused_in_one_line(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(SpaceError) as caught:
        SPACE.narrow(setting)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown parameter 'unts'; did you mean 'units'\? known: batch, dropout, hidden"
    ):
        SPACE.narrow({"unts": 64})
    with pytest.raises(UnknownNameError, match=r"did you mean 'hidden\.units'"):
        SPACE.narrow({"hidden.unit": 64})
    with pytest.raises(UnknownNameError, match="did you mean 'optimizer'"):
        SPACE.narrow({"optimiser": "adam"})


@pytest.mark.parametrize(
    "setting",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": (0.25, 0.5)},
        {"noise": (0.12, 0.33), "batch": (15, 39), "whole": (0.5, 2.5)},
        {"hidden": (2, 3), "units": (17, 333), "tail": 2, "tail.dropout": [0.1, 0.2]},
        {"rate": (2e-4, 3e-4), "size": (60, 200), "penalty": "l1"},
    ],
)
def test_narrowing_never_widens(setting: dict[str, Any]) -> None:
    generator = random.Random(0)
    narrowed = SPACE.narrow(setting)
    assert narrowed.fingerprint() != SPACE.fingerprint()
    for config in [narrowed.default_config(), *(narrowed.random_config(generator) for _ in range(50))]:
        narrowed.validate(config)
        SPACE.validate(config)


def test_narrowing_by_nothing_changes_nothing() -> None:
    assert SPACE.narrow({}).fingerprint() == SPACE.fingerprint()
    assert SPACE.narrow({}) == SPACE


def test_narrowing_twice_is_narrowing_once() -> None:
    twice = SPACE.narrow({"batch": (15, 40)}).narrow({"batch": (20, 35)})
    assert twice.fingerprint() == SPACE.narrow({"batch": (20, 35)}).fingerprint()


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn"])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adagrad"])
def test_a_ready_made_space_can_be_held_to_any_optimizer(name: str, optimizer: str) -> None:
    space = find_space(name).narrow({"optimizer": optimizer})
    assert space.default_config()["optimizer"] == optimizer
    assert ("momentum" in space.leaves()) == (optimizer == "sgd")
    assert ("weight_decay" in space.leaves()) == (optimizer == "adamw")
