from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from space_contract import check_config, check_seed, every_choice, make_spec, probes

import automl
from automl import SearchSpace, SpaceError, Task, find_space, input_layers, output_layers
from automl.dataset_spec import DatasetSpec
from automl.records import FailureReason
from automl.standard_parameters import OPTIMIZERS, SCHEDULES, training_parameters
from automl.training.assemble import assemble
from automl.training.failures import TrialFailure

DIGITS = make_spec(Task.MULTICLASS, (64,), units=10)
IMAGE = make_spec(Task.MULTICLASS, (8, 8, 1), units=10)
TINY_IMAGE = make_spec(Task.MULTICLASS, (3, 1, 3), units=4)
BINARY = make_spec(Task.BINARY, (5,), units=1)
BINARY_IMAGE = make_spec(Task.BINARY, (8, 8, 1), units=1)
MULTILABEL = make_spec(Task.MULTILABEL, (5,), units=3)
MULTILABEL_IMAGE = make_spec(Task.MULTILABEL, (6, 5, 3), units=3)
REGRESSION = make_spec(Task.REGRESSION, (5,), units=1)
TWO_TARGETS = make_spec(Task.REGRESSION, (8, 8, 1), units=2)

HOME_SPEC = {"linear": DIGITS, "mlp": DIGITS, "cnn": IMAGE}
OTHER_SPECS = {
    "linear": [IMAGE, BINARY, MULTILABEL, REGRESSION, TWO_TARGETS],
    "mlp": [IMAGE, BINARY, MULTILABEL, REGRESSION, TWO_TARGETS],
    "cnn": [TINY_IMAGE, BINARY_IMAGE, MULTILABEL_IMAGE, TWO_TARGETS],
}


@pytest.mark.parametrize(("name", "probe"), [(name, probe) for name in HOME_SPEC for probe in probes(find_space(name))])
def test_every_corner_builds_trains_saves_and_loads(name: str, probe: str, tmp_path: Path) -> None:
    space = find_space(name)
    check_config(space, probes(space)[probe], HOME_SPEC[name], tmp_path)


@pytest.mark.parametrize(
    ("name", "spec"),
    [(name, spec) for name, specs in OTHER_SPECS.items() for spec in specs],
    ids=lambda value: f"{value.task}-{value.input_shape}" if isinstance(value, DatasetSpec) else value,
)
def test_the_default_suits_every_kind_of_data(name: str, spec: DatasetSpec, tmp_path: Path) -> None:
    space = find_space(name)
    check_config(space, space.default_config(), spec, tmp_path)


@pytest.mark.parametrize("name", HOME_SPEC)
def test_the_highest_corner_fits_the_smallest_data(name: str, tmp_path: Path) -> None:
    space = find_space(name)
    small = make_spec(Task.BINARY, (1, 1, 1), units=1)
    check_config(space, probes(space)["highs"], small, tmp_path)


@pytest.mark.parametrize("name", HOME_SPEC)
def test_weights_come_from_the_seed(name: str) -> None:
    check_seed(find_space(name), HOME_SPEC[name])


@pytest.mark.parametrize("name", HOME_SPEC)
def test_every_value_of_every_choice_builds(name: str) -> None:
    space = find_space(name)
    for config in every_choice(space):
        assemble(space.build, config, HOME_SPEC[name], total_steps=4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_trainer_knows_every_training_parameter(optimizer: str, schedule: str) -> None:
    space = SearchSpace("training", training_parameters(), _dense).narrow(
        {"optimizer": optimizer, "learning_rate_schedule": schedule}
    )
    model = assemble(space.build, space.default_config(), DIGITS, total_steps=10)
    assert type(model.optimizer).__name__.lower() == optimizer
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-3)
    if optimizer == "sgd":
        assert (model.optimizer.momentum, model.optimizer.nesterov) == (0.9, True)
    assert bool(model.optimizer.weight_decay) == (optimizer == "adamw")


@pytest.mark.parametrize("name", HOME_SPEC)
def test_a_ready_made_space_searches_what_it_promises(name: str) -> None:
    names = {parameter.name for parameter in find_space(name).parameters}
    promised = {"batch_normalization", "initializer", "penalty", "l1", "l2", *(p.name for p in training_parameters())}
    assert promised | ({"activation"} if name != "linear" else set()) <= names


@pytest.mark.parametrize(("penalty", "expected"), [("none", (0, 0)), ("l1", (1, 0)), ("l2", (0, 1)), ("l1_l2", (1, 1))])
@pytest.mark.parametrize("name", HOME_SPEC)
def test_penalties_reach_the_layers(name: str, penalty: str, expected: tuple[int, int]) -> None:
    space = find_space(name)
    config = space.complete({"penalty": penalty}, lambda _, parameter: parameter.default)
    model = assemble(space.build, config, HOME_SPEC[name], total_steps=4)
    found = {
        (float(one.l1) > 0, float(one.l2) > 0)
        for layer in model.layers
        if (one := getattr(layer, "kernel_regularizer", None)) is not None
    }
    assert found == (set() if penalty == "none" else {tuple(map(bool, expected))})


def test_the_depth_and_width_of_an_mlp_are_those_of_its_config() -> None:
    space = find_space("mlp")
    partial: dict[str, Any] = {"hidden": [{"units": 16, "dropout": 0.0}, {"units": 32, "dropout": 0.5}]}
    config = space.complete(partial, lambda _, parameter: parameter.default)
    layers = assemble(space.build, config, DIGITS, total_steps=4).layers
    assert [layer.units for layer in layers if hasattr(layer, "units")] == [16, 32, 10]
    assert [layer.rate for layer in layers if hasattr(layer, "rate")] == [0.5]


def test_a_cnn_refuses_rows_that_are_no_images_with_a_typed_failure() -> None:
    space = find_space("cnn")
    with pytest.raises(SpaceError, match="space cnn needs images"):
        space.build(space.default_config(), DIGITS)
    with pytest.raises(TrialFailure, match="space cnn needs images") as caught:
        assemble(space.build, space.default_config(), DIGITS, total_steps=4)
    assert caught.value.reason is FailureReason.INVALID_MODEL


def test_ready_made_spaces_import_only_public_names() -> None:
    for path in Path(str(find_space.__globals__["__file__"])).parents[1].glob("search_spaces/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "automl":
                assert node.module == "automl", path.name
                assert {alias.name for alias in node.names} <= set(automl.__all__), path.name


def _dense(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    return keras.Model(inputs, output_layers(keras.layers.Flatten()(x), spec))


def _raises(config: Any, spec: Any) -> Any:
    raise ZeroDivisionError("units must not be zero")


def _no_model(config: Any, spec: Any) -> Any:
    return None


def _wrong_width(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    return keras.Model(inputs, keras.layers.Dense(spec.output.units + 1)(x))


def _wrong_input(config: Any, spec: Any) -> Any:
    import keras

    inputs = keras.Input((spec.input_shape[0] + 1,))
    return keras.Model(inputs, output_layers(inputs, spec))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (_raises, "ZeroDivisionError: units must not be zero"),
        (_no_model, "build returned a NoneType, not a keras.Model"),
        (_wrong_width, r"output shapes are \[\(11,\)\], the dataset needs \[\(10,\)\]: use output_layers"),
        (_wrong_input, r"input shapes are \[\(65,\)\], the dataset needs \[\(64,\)\]: use input_layers"),
    ],
)
def test_a_space_that_builds_no_usable_model_fails_with_a_type(build: Any, says: str) -> None:
    with pytest.raises(TrialFailure, match=says) as caught:
        assemble(build, {}, DIGITS, total_steps=4)
    assert caught.value.reason is FailureReason.INVALID_MODEL


@pytest.mark.parametrize("column", ["price/m2", "dense", "two words", "été", "", "input"])
def test_any_column_can_be_the_target(column: str, tmp_path: Path) -> None:
    check_config(
        find_space("mlp"),
        find_space("mlp").default_config(),
        make_spec(Task.REGRESSION, (4,), units=1, name=column),
        tmp_path,
    )


def test_several_inputs_become_one_tensor_and_several_outputs_a_list() -> None:
    first, second = IMAGE.inputs[0], replace(DIGITS.inputs[0], name="more")
    spec = replace(IMAGE, inputs=(first, second), outputs=(IMAGE.output, replace(BINARY.output, name="yes")))
    inputs, x = input_layers(spec)
    assert [tuple(one.shape) for one in inputs] == [(None, 8, 8, 1), (None, 64)]
    assert tuple(x.shape) == (None, 128)
    heads = output_layers(x, spec, kernel_initializer="zeros")
    assert [tuple(one.shape) for one in heads] == [(None, 10), (None, 1)]
    only, tensor = input_layers(IMAGE)
    assert tensor is only
    assert tuple(output_layers(tensor, IMAGE).shape) == (None, 8, 8, 10)
