from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from automl.data import raw_from_arrays
from automl.data.raw import GIVEN_SPLITS
from automl.data.targets import Target, encode_target, read_targets
from automl.dataset_spec import Task
from automl.errors import DataError

ROWS = 40
NUMBERS = np.arange(ROWS)
ONE_HOT = np.eye(3, dtype=int)[NUMBERS % 3]
LABELS = np.column_stack([NUMBERS % 2, NUMBERS % 3 == 0, NUMBERS > 7]).astype(int)


def _read(y: Any, *, task: Task | None = None, **given_targets: Any) -> Target:
    y = np.asarray(y)
    given = {split: (np.zeros((len(one), 2)), np.asarray(one)) for split, one in given_targets.items()}
    raw = raw_from_arrays("mine", np.zeros((len(y), 2)), y, given=given, target="t")
    (target,) = read_targets(raw, task=task)
    return target


@pytest.mark.parametrize(
    ("y", "task", "labels"),
    [
        (np.array(["no", "yes"])[NUMBERS % 2], Task.BINARY, ("no", "yes")),
        (np.array([b"no", b"yes"])[NUMBERS % 2], Task.BINARY, ("no", "yes")),
        (np.array(["c", "a", "b"])[NUMBERS % 3], Task.MULTICLASS, ("a", "b", "c")),
        (NUMBERS % 2 == 0, Task.BINARY, (False, True)),
        (NUMBERS % 2 * 5, Task.BINARY, (0, 5)),
        ((NUMBERS % 3).astype(np.uint8), Task.MULTICLASS, (0, 1, 2)),
        ((NUMBERS % 3).astype(np.float32), Task.MULTICLASS, (0.0, 1.0, 2.0)),
        ((NUMBERS % 2)[:, None], Task.BINARY, (0, 1)),
        (NUMBERS % 3 + 0.5, Task.REGRESSION, ()),
        (NUMBERS, Task.REGRESSION, ()),
        (NUMBERS % 20, Task.MULTICLASS, tuple(range(20))),
        (np.arange(84) % 21, Task.REGRESSION, ()),
        (np.arange(10), Task.REGRESSION, ()),
        (ONE_HOT, Task.MULTICLASS, (0, 1, 2)),
        (ONE_HOT.astype(bool), Task.MULTICLASS, (0, 1, 2)),
        (LABELS, Task.MULTILABEL, (0, 1, 2)),
        (LABELS * 0.5, Task.REGRESSION, ()),
    ],
)
def test_the_task_is_inferred_and_labels_keep_their_type(y: np.ndarray, task: Task, labels: tuple[Any, ...]) -> None:
    target = _read(y)
    assert (target.task, target.labels) == (task, labels)
    assert [type(label) for label in target.labels] == [type(label) for label in labels]


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (NUMBERS % 3, Task.REGRESSION),
        (NUMBERS % 2, Task.MULTICLASS),
        (np.eye(2)[NUMBERS % 2], Task.BINARY),
        (ONE_HOT, Task.MULTILABEL),
        (ONE_HOT, Task.REGRESSION),
        (LABELS, Task.REGRESSION),
        (NUMBERS % 4 / 2, Task.MULTICLASS),
    ],
)
def test_a_given_task_overrides(y: np.ndarray, task: Task) -> None:
    assert _read(y, task=task).task is task


@pytest.mark.parametrize(
    ("y", "task", "said"),
    [
        (NUMBERS % 3, Task.BINARY, "has 3 classes; expected two for task 'binary'"),
        (NUMBERS % 3, Task.MULTILABEL, "several columns of 0 and 1"),
        (LABELS, Task.MULTICLASS, "not one-hot"),
        (np.array(["a", "b"])[NUMBERS % 2], Task.REGRESSION, "holds 'a'; expected numbers"),
        (NUMBERS, Task.MULTICLASS, "class 0 has a single row"),
    ],
)
def test_a_task_that_does_not_fit_is_refused(y: np.ndarray, task: Task, said: str) -> None:
    with pytest.raises(DataError) as caught:
        _read(y, task=task)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (np.zeros(9), "at least 10 rows, received 9"),
        (np.zeros(ROWS), "only one value, 0.0"),
        (np.array(["a"] * ROWS), "only one value, 'a'"),
        (np.full(ROWS, np.nan), "every row"),
        (np.where(NUMBERS < 3, np.nan, NUMBERS), "3 of 40 rows"),
        (np.where(NUMBERS < 3, np.inf, NUMBERS), "3 of 40 rows"),
        (np.column_stack([LABELS, np.zeros(ROWS, int)]), "column 3 of"),
        (np.array([(1, 0)] * ROWS), "only one value, 0"),
        (np.array(["a", *["b"] * (ROWS - 1)]), "class 'a' has a single row"),
        (np.array(["a", "b", *["c"] * (ROWS - 2)]), "and 1 more such class"),
        (np.array(["a", "b"] * ROWS).reshape(ROWS, 2), "2 columns of text"),
        (np.zeros((ROWS, 2, 2)), "expected (rows,) or (rows, targets)"),
        (np.zeros(ROWS, complex), "dtype complex128"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(y: np.ndarray, said: str) -> None:
    with pytest.raises(DataError) as caught:
        _read(y)
    assert said in str(caught.value)
    assert "'t'" in str(caught.value) or "rows" in said


def test_a_class_of_one_hot_without_rows_has_no_unit() -> None:
    target = _read(np.eye(4)[NUMBERS % 2 * 3])
    assert (target.labels, target.y_train[:2].tolist()) == ((0, 3), [0, 3])


@pytest.mark.parametrize(
    ("y", "given", "said"),
    [
        (NUMBERS % 3, [0, 7], "the class 7, which no training row has; known: 0, 1, 2"),
        (NUMBERS % 3, ["0", "1"], "the class '0'"),
        (ONE_HOT, [[1, 1, 0]], "not in the {split} split"),
        (LABELS, [[1, 2, 0]], "other values than 0 and 1"),
        (NUMBERS, ["a"], "expected numbers"),
        (NUMBERS, [np.nan], "of the {split} split is missing"),
    ],
)
@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_given_targets_that_do_not_fit_are_refused(y: np.ndarray, given: list[Any], said: str, split: str) -> None:
    with pytest.raises(DataError) as caught:
        _read(y, **{split: given})
    assert said.format(split=split) in str(caught.value)
    assert f"of the {split} split" in str(caught.value) or "one-hot" in str(caught.value)


def test_classes_are_encoded_as_indices() -> None:
    target = _read(np.array(["c", "a", "b"])[NUMBERS % 3], validation=["a"], test=["b", "c"])
    spec = target.output_spec(np.arange(5))
    encoded = encode_target(target.y_train, spec)
    assert (encoded.dtype, spec.units, spec.name) == (np.int32, 3, "t")
    assert encoded[:3].tolist() == [2, 0, 1]
    assert encode_target(target.given["test"], spec).tolist() == [1, 2]
    assert encode_target(target.given["validation"], spec).tolist() == [0]


def test_two_classes_are_encoded_as_a_column_of_zero_and_one() -> None:
    target = _read(np.array(["yes", "no"])[NUMBERS % 2])
    spec = target.output_spec(np.arange(5))
    encoded = encode_target(target.y_train, spec)
    assert (encoded.dtype, encoded.shape, spec.units) == (np.float32, (ROWS, 1), 1)
    assert encoded[:2, 0].tolist() == [1.0, 0.0]


def test_labels_are_encoded_as_they_are() -> None:
    target = _read(LABELS)
    encoded = encode_target(target.y_train, target.output_spec(np.arange(5)))
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, LABELS)


@pytest.mark.parametrize("units", [1, 2])
def test_regression_is_standardised_on_training_rows_and_back(units: int) -> None:
    y = np.random.default_rng(0).normal(1000.0, 5.0, size=(ROWS, units))
    y[30:] += 1e5
    target = _read(y)
    spec = target.output_spec(np.arange(30))
    encoded = encode_target(target.y_train, spec)
    assert (encoded.dtype, encoded.shape, spec.units) == (np.float32, (ROWS, units), units)
    np.testing.assert_allclose(encoded[:30].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(encoded[:30].std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(encoded * np.array(spec.scale) + np.array(spec.offset), y, rtol=1e-6)


def test_a_target_that_is_constant_in_training_is_not_divided_by_zero() -> None:
    target = _read(np.where(NUMBERS < 30, 0.1, NUMBERS))
    assert target.output_spec(np.arange(30)).scale == (1.0,)


def _several(*, task: Any = None, test: bool = False, **targets: Any) -> tuple[Target, ...]:
    arrays = {name: np.asarray(y) for name, y in targets.items()}
    x = np.zeros((ROWS, 2))
    raw = raw_from_arrays("mine", x, arrays, given={"test": (x, arrays)} if test else {})
    return read_targets(raw, task=task)


def test_several_labels_are_one_output_of_named_labels() -> None:
    (target,) = _several(even=NUMBERS % 2 == 0, big=NUMBERS > 7, test=True)
    assert (target.name, target.task, target.labels) == ("even,big", Task.MULTILABEL, ("even", "big"))
    assert target.y_train.shape == (ROWS, 2)
    assert target.given["test"].shape == (ROWS, 2)
    spec = target.output_spec(NUMBERS)
    assert spec.units == 2
    np.testing.assert_array_equal(encode_target(target.y_train, spec)[:3], [[1, 0], [0, 0], [1, 0]])


def test_several_columns_of_a_one_hot_class_are_one_class() -> None:
    columns = {name: ONE_HOT[:, index] for index, name in enumerate(("red", "green", "blue"))}
    (target,) = _several(**columns)
    assert (target.task, target.labels) == (Task.MULTICLASS, ("blue", "green", "red"))
    assert target.y_train[:3].tolist() == ["red", "green", "blue"]


def test_several_numbers_are_one_regression() -> None:
    (target,) = _several(length=NUMBERS * 1.5, width=NUMBERS * -2.0)
    assert (target.name, target.task, target.y_train.shape) == ("length,width", Task.REGRESSION, (ROWS, 2))


def test_targets_of_different_kinds_are_outputs_of_their_own() -> None:
    income, hours = _several(income=np.array(["low", "high"])[NUMBERS % 2], hours=NUMBERS * 1.5)
    assert (income.name, income.task, income.labels) == ("income", Task.BINARY, ("high", "low"))
    assert (hours.name, hours.task) == ("hours", Task.REGRESSION)


def test_a_task_for_each_target_gives_an_output_each() -> None:
    targets = _several(even=NUMBERS % 2, big=NUMBERS % 3, task=[Task.BINARY, Task.REGRESSION])
    assert [target.task for target in targets] == [Task.BINARY, Task.REGRESSION]
    with pytest.raises(DataError, match="expected one task, or one for each of 2 targets: 'even', 'big'"):
        _several(even=NUMBERS % 2, big=NUMBERS > 7, task=[Task.BINARY] * 3)


def test_one_of_several_targets_may_not_be_constant() -> None:
    with pytest.raises(DataError, match="the target 'always' has only one value"):
        _several(even=NUMBERS % 2, always=np.ones(ROWS))
