from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from automl.errors import SpaceError
from automl.parameters import Choice, Float, Int, Parameter, Repeat, canonical, is_active, on_grid, same


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [(1, 1, True), ("a", "a", True), (True, 1, False), (1, 1.0, False), (0, False, False), (None, None, True)],
)
def test_same_looks_at_the_type_too(left: object, right: object, expected: bool) -> None:
    assert same(left, right) is expected


def test_bounds_are_inclusive_on_both_sides() -> None:
    assert [n for n in range(-2, 12) if Int("n", 1, 9).contains(n)] == list(range(1, 10))
    assert Float("x", 0.1, 0.6).contains(0.1)
    assert Float("x", 0.1, 0.6).contains(0.6)
    assert not Float("x", 0.1, 0.6).contains(0.6000001)
    assert Repeat("layers", 0, 2, [Int("n", 1, 2)]).count.contains(2)


@pytest.mark.parametrize("value", [True, 2.0, "2", None, float("nan")])
def test_an_int_is_no_other_type(value: object) -> None:
    assert not Int("n", 1, 9).contains(value)


@pytest.mark.parametrize("value", [True, "0.2", None, math.nan, math.inf])
def test_a_float_is_a_finite_number(value: object) -> None:
    assert not Float("x", 0.0, 1.0).contains(value)


def test_a_float_takes_whole_numbers_and_numpy_numbers() -> None:
    assert Float("x", 0.0, 1.0).contains(1)
    assert Float("x", 0.0, 1.0).contains(np.float64(0.5))


def test_a_step_makes_a_grid_that_starts_at_low() -> None:
    n = Int("n", 3, 12, step=4)
    assert [value for value in range(15) if n.contains(value)] == [3, 7, 11]
    assert n.high == 11
    x = Float("x", 0.1, 0.75, step=0.2)
    assert x.high == 0.7
    assert [value for value in (0.1, 0.2, 0.3, 0.5, 0.7, 0.75) if x.contains(value)] == [0.1, 0.3, 0.5, 0.7]


@pytest.mark.parametrize(
    ("low", "step", "points"), [(0.0, 0.05, 13), (0.1, 0.1, 10), (1e-14, 1e-14, 10), (-0.3, 0.1, 7)]
)
def test_grids_hold_no_binary_dust(low: float, step: float, points: int) -> None:
    values = [on_grid(low, index, step) for index in range(points)]
    assert all(len(repr(value)) <= len("0.05") + 2 for value in values), values
    assert all(Float("x", low, values[-1], step=step).contains(value) for value in values)
    assert len(set(values)) == points


def test_a_grid_of_thirds_ends_on_its_own_last_point() -> None:
    thirds = Float("x", 0.0, 1.0, step=1 / 3)
    assert thirds.contains(thirds.high)
    assert math.isclose(thirds.high, 1.0)


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (Float("x", 0.0, 0.6, step=0.1), 0.30000000000000004, 0.3),
        (Float("x", 0.0, 2.0), 1, 1.0),
        (Float("x", 0.0, 2.0, step=0.5), 1, 1.0),
        (Float("x", 0.0, 1.0), 0.1 + 0.2, 0.1 + 0.2),
        (Int("n", 0, 2), 1, 1),
        (Choice("c", [1, 2.0]), 1, 1),
    ],
)
def test_a_value_has_one_canonical_form(parameter: Int | Float | Choice, value: Any, expected: Any) -> None:
    assert same(canonical(parameter, value), expected)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        (Int("n", 1, 9), 5),
        (Int("n", 4, 256, log=True), 32),
        (Int("n", 0, 10, step=4), 4),
        (Int("n", 1, 9, default=2), 2),
        (Float("x", 1e-4, 1e-2, log=True), 1e-3),
        (Float("x", 0.0, 0.6, step=0.05), 0.3),
        (Float("x", 0.0, 0.6, step=0.1, default=0.30000000000000004), 0.3),
        (Choice("c", ["relu", "tanh"]), "relu"),
        (Choice("c", ["relu", None], default=None), None),
        (Repeat("layers", 2, 4, [Int("n", 1, 2)]), 2),
        (Repeat("layers", 2, 4, [Int("n", 1, 2)], default=4), 4),
        (Choice("optimizer", ["sgd", "rmsprop", "adam"]), "adam"),
        (Choice("optimizer", ["sgd", "rmsprop"]), "sgd"),
        (Choice("optimizer", ["sgd", "adam"], default="sgd"), "sgd"),
        (Choice("batch_size", [32, 64, 128]), 64),
        (Choice("batch_size", [32, 128]), 32),
        (Float("learning_rate", 1e-5, 1e-1, log=True), 1e-3),
        (Float("learning_rate", 0.25, 0.75), 0.5),
        (Int("batch_size", 16, 256, step=16), 64),
    ],
)
def test_defaults(parameter: Parameter, expected: object) -> None:
    assert parameter.default == pytest.approx(expected) if isinstance(expected, float) else True
    assert type(parameter.default) is type(expected)
    assert parameter.default == expected


@pytest.mark.parametrize("low", [1, 2, 7, 16])
@pytest.mark.parametrize("width", [0, 1, 5, 100])
@pytest.mark.parametrize("options", [{}, {"log": True}, {"step": 3}])
def test_a_computed_default_lies_inside(low: int, width: int, options: dict[str, Any]) -> None:
    n = Int("n", low, low + width, **options)
    assert n.contains(n.default)
    x = Float("x", low / 10, (low + width) / 10, **options)
    assert x.contains(x.default)


def test_ranges_read_well() -> None:
    assert Int("n", 16, 512, log=True).range_text() == "16..512 log"
    assert Int("n", 0, 10, step=5).range_text() == "0..10 step 5"
    assert Float("x", 1e-4, 0.1, log=True).range_text() == "0.0001..0.1 log"
    assert Float("x", 0.0, 0.6, step=0.05).range_text() == "0..0.6 step 0.05"
    assert Choice("c", ["a", None, False]).range_text() == "a | None | False"
    assert Repeat("layers", 1, 4, [Int("n", 1, 2)]).range_text() == "1..4 times"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Int("two words", 1, 2), "a parameter's name is an identifier"),
        (lambda: Int(3, 1, 2), "a parameter's name is an identifier"),  # type: ignore[arg-type]
        (lambda: Int("n", 3, 2), "low must be at most high, received 3 and 2"),
        (lambda: Int("n", 1.0, 2), "low is a whole number, not 1.0"),  # type: ignore[arg-type]
        (lambda: Int("n", True, 2), "low is a whole number, not True"),
        (lambda: Int("n", 0, 2, log=True), "log=True needs low above 0, received 0"),
        (lambda: Int("n", 1, 9, log=True, step=2), "give log=True or step=, not both"),
        (lambda: Int("n", 1, 9, step=0), "step must be above 0, received 0"),
        (lambda: Int("n", 1, 9, default=10), "default 10 lies outside 1..9"),
        (lambda: Int("n", 1, 9, step=2, default=2), "default 2 lies outside 1..9 step 2"),
        (lambda: Float("x", "1e-4", 1.0), "low is a number, not '1e-4'"),  # type: ignore[arg-type]
        (lambda: Float("x", 0.0, math.inf), "low must be at most high"),
        (lambda: Float("x", math.nan, 1.0), "low must be at most high"),
        (lambda: Float("x", 0.0, 1.0, step=-0.1), "step must be above 0"),
        (lambda: Float("x", 0.1, 1.0, step=0.1, log=True), "not both"),
        (lambda: Float("x", 0.0, 1.0, default=2.0), "default 2.0 lies outside 0..1"),
        (lambda: Float("x", 0.0, 1.0, default="mid"), "default is a number, not 'mid'"),  # type: ignore[arg-type]
        (lambda: Choice("c", []), "takes a list of at least one value"),
        (lambda: Choice("c", "relu"), "takes a list of at least one value, not 'relu'"),
        (lambda: Choice("c", ["a", "a"]), "lists a value twice"),
        (lambda: Choice("c", [1, True]), "lists a value twice"),
        (lambda: Choice("c", [[1, 2]]), "a value is a string, number, boolean or None"),  # type: ignore[list-item]
        (lambda: Choice("c", [np.float64(0.1)]), "a value is a string, number, boolean or None"),
        (lambda: Choice("c", ["a"], default="b"), "default 'b' is not among ['a']"),
        (lambda: Choice("c", ["a"], default=None), "default None is not among ['a']"),
        (lambda: Repeat("r", -1, 2, [Int("n", 1, 2)]), "needs 0 <= low <= high, received -1 and 2"),
        (lambda: Repeat("r", 1, 2.0, [Int("n", 1, 2)]), "needs 0 <= low <= high"),  # type: ignore[arg-type]
        (lambda: Repeat("r", 1, 2, 5), "takes a list of Int, Float and Choice, not 5"),  # type: ignore[arg-type]
        (lambda: Repeat("r", 1, 2, [Repeat("s", 1, 2, [])]), "takes a list of"),  # type: ignore[list-item]
        (lambda: Repeat("r", 1, 2, [Int("n", 1, 2), Float("n", 1, 2)]), "uses a name twice"),
        (lambda: Repeat("r", 1, 2, [], default=3), "default 3 lies outside 1..2"),
        (lambda: Repeat("r", 1, 2, [], default="1"), "default '1' lies outside 1..2"),  # type: ignore[arg-type]
        (lambda: Repeat("r", 1, 2, [], default=1.0), "default 1.0 lies outside 1..2"),  # type: ignore[arg-type]
        (lambda: Int("n", 1, 2, when={"c": "sgd"}), "takes a list of values such as ['sgd'], not 'sgd'"),
        (lambda: Int("n", 1, 2, when={"c": []}), "takes a list of values"),
        (lambda: Int("n", 1, 2, when=["c"]), "when takes a dict"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make: Callable[[], object], says: str) -> None:
    with pytest.raises(SpaceError) as caught:
        make()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_conditions() -> None:
    momentum = Float("momentum", 0.0, 1.0, when={"optimizer": ["sgd", "rmsprop"], "fast": [True]})
    assert is_active(momentum, {"optimizer": "sgd", "fast": True})
    assert not is_active(momentum, {"optimizer": "adam", "fast": True})
    assert not is_active(momentum, {"optimizer": "sgd", "fast": False})
    assert not is_active(momentum, {"optimizer": "sgd", "fast": 1})
    assert not is_active(momentum, {"optimizer": "sgd"})  # `fast` is itself inactive
    assert is_active(Int("n", 1, 2), {})


def test_conditions_look_at_the_innermost_scope_first_and_count_the_items_of_a_repeat() -> None:
    units = Int("units", 1, 2, when={"kind": ["dense"], "hidden": [2]})
    assert is_active(units, {"kind": "dense"}, {"kind": "none", "hidden": [{}, {}]})
    assert not is_active(units, {"kind": "none"}, {"kind": "dense", "hidden": [{}, {}]})
    assert not is_active(units, {"kind": "dense"}, {"hidden": [{}]})
