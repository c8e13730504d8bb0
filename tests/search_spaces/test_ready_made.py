from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import automl
from automl import SearchSpace, SpaceError, Task, find_space, input_layers, output_layers
from automl.dataset_spec import DatasetSpec
from automl.records import FailureReason
from automl.standard_parameters import OPTIMIZERS, SCHEDULES, TRAINING_NAMES, training_parameters
from automl.testing import (
    check_config,
    check_seed,
    every_choice,
    example_spec,
    image_input,
    make_output,
    make_spec,
    numeric_input,
    probes,
    text_input,
)
from automl.training.assemble import assemble
from automl.training.failures import TrialFailure

DIGITS = make_spec(numeric_input(64), outputs=(make_output(Task.MULTICLASS, units=10),))
IMAGE = example_spec("image")
TINY_IMAGE = make_spec(image_input(3, 1, 3), outputs=(make_output(Task.MULTICLASS, units=4),))
LARGE_IMAGE = make_spec(image_input(70, 90, 1), outputs=(make_output(Task.BINARY),))
MULTILABEL_IMAGE = make_spec(image_input(6, 5, 3, pixel_scale=None), outputs=(make_output(Task.MULTILABEL, units=3),))
TWO_TARGETS = make_spec(image_input(8, 8, 1), outputs=(make_output(Task.REGRESSION, units=2),))
IMAGE_AND_TABLE = replace(
    IMAGE, inputs=(*example_spec("table").inputs, image_input(8, 8, 1, name="photo")), outputs=TWO_TARGETS.outputs
)
EMPTY_WORD = make_spec(text_input(1), outputs=(make_output(Task.MULTICLASS, units=3),))

HOME_SPEC = {
    "linear": DIGITS,
    "mlp": DIGITS,
    "cnn": IMAGE,
    "resnet": IMAGE,
    "tabular": example_spec("table"),
    "text": example_spec("text"),
}
OTHER_SPECS = {
    "linear": [IMAGE, example_spec("array"), example_spec("text"), example_spec("two outputs"), TWO_TARGETS],
    "mlp": [IMAGE, example_spec("array"), example_spec("text"), example_spec("two outputs"), IMAGE_AND_TABLE],
    "cnn": [TINY_IMAGE, LARGE_IMAGE, MULTILABEL_IMAGE, TWO_TARGETS, IMAGE_AND_TABLE],
    "resnet": [TINY_IMAGE, MULTILABEL_IMAGE],
    "tabular": [DIGITS, example_spec("array"), example_spec("text"), example_spec("two outputs"), IMAGE_AND_TABLE],
    "text": [example_spec("table"), example_spec("two outputs"), EMPTY_WORD],
}


@pytest.mark.parametrize(("name", "probe"), [(name, probe) for name in HOME_SPEC for probe in probes(find_space(name))])
def test_every_corner_builds_trains_saves_and_loads(name: str, probe: str, tmp_path: Path) -> None:
    space = find_space(name)
    check_config(space, probes(space)[probe], HOME_SPEC[name], tmp_path)


@pytest.mark.parametrize(
    ("name", "spec"),
    [(name, spec) for name, specs in OTHER_SPECS.items() for spec in specs],
    ids=lambda value: "-".join(one.name for one in value.inputs) if isinstance(value, DatasetSpec) else value,
)
def test_the_default_suits_every_kind_of_data(name: str, spec: DatasetSpec, tmp_path: Path) -> None:
    space = find_space(name)
    check_config(space, space.default_config(), spec, tmp_path)


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn", "tabular"])
def test_the_highest_corner_fits_the_smallest_data(name: str, tmp_path: Path) -> None:
    space = find_space(name)
    small = make_spec(image_input(1, 1, 1), outputs=(make_output(Task.BINARY),))
    check_config(space, probes(space)["highs"], small, tmp_path)


@pytest.mark.parametrize("name", HOME_SPEC)
def test_weights_come_from_the_seed(name: str) -> None:
    check_seed(find_space(name), HOME_SPEC[name])


@pytest.mark.parametrize("name", HOME_SPEC)
def test_every_value_of_every_choice_builds(name: str) -> None:
    space = find_space(name)
    for config in every_choice(space.narrow({"learning_rate_schedule": "constant"})):
        assemble(space.build, config, HOME_SPEC[name], total_steps=4)


@pytest.mark.parametrize("encoder", ["bag", "embedding", "convolution", "recurrent", "transformer"])
def test_every_encoder_of_text_ignores_padding_and_takes_texts_without_words(encoder: str, tmp_path: Path) -> None:
    space = find_space("text").narrow({"encoder": encoder})
    for spec in (example_spec("text"), EMPTY_WORD):
        check_config(space, space.default_config(), spec, tmp_path)


@pytest.mark.parametrize("encoder", ["bag", "embedding"])
def test_more_padding_does_not_change_what_is_said_of_a_text(encoder: str) -> None:
    import numpy as np

    space = find_space("text").narrow({"encoder": encoder})
    outputs = []
    for tokens in (4, 9):
        spec = make_spec(text_input(tokens), outputs=(make_output(Task.BINARY),))
        model = assemble(space.build, space.default_config(), spec, total_steps=1)
        outputs.append((model, np.pad([[5, 3, 5, 2]], [[0, 0], [0, tokens - 4]]).astype("int32")))
    (first, short), (second, long) = outputs
    second.set_weights(first.get_weights())
    np.testing.assert_allclose(first(short), second(long), rtol=1e-5)


@pytest.mark.parametrize("architecture", ["mlp", "residual", "wide_deep"])
def test_every_architecture_of_tables_builds_trains_saves_and_loads(architecture: str, tmp_path: Path) -> None:
    space = find_space("tabular").narrow({"architecture": architecture, "one_hot_limit": 16})
    check_config(space, space.default_config(), example_spec("two outputs"), tmp_path)


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


def test_training_parameters_have_the_names_that_the_trainer_reads() -> None:
    assert {parameter.name for parameter in training_parameters()} <= TRAINING_NAMES


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn", "tabular"])
def test_a_ready_made_space_searches_what_it_promises(name: str) -> None:
    names = {parameter.name for parameter in find_space(name).parameters}
    promised = {"batch_normalization", "initializer", "penalty", "l1", "l2", "scaling"}
    promised |= {parameter.name for parameter in training_parameters()}
    assert promised | ({"activation"} if name != "linear" else set()) <= names


@pytest.mark.parametrize(("penalty", "expected"), [("none", (0, 0)), ("l1", (1, 0)), ("l2", (0, 1)), ("l1_l2", (1, 1))])
@pytest.mark.parametrize("name", ["linear", "mlp", "cnn", "tabular"])
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


@pytest.mark.parametrize(("variant", "blocks"), [("post_activation", 1), ("pre_activation", 2)])
def test_a_resnet_has_the_blocks_of_its_config(variant: str, blocks: int) -> None:
    import keras

    space = find_space("resnet").narrow({"variant": variant, "blocks_per_stage": blocks, "stages": 2})
    model = assemble(space.build, space.default_config(), IMAGE, total_steps=4)
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 2 * blocks
    widths = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert set(widths) == {16, 32}


def test_augmentation_is_for_training_only() -> None:
    import numpy as np

    for how in ("none", "shift", "flip_shift", "strong"):
        space = find_space("cnn").narrow({"augmentation": how, "dense_dropout": 0.0, "blocks.dropout": 0.0})
        space = space.narrow({"batch_normalization": False})
        model = assemble(space.build, space.default_config(), IMAGE, total_steps=4)
        x = np.random.default_rng(0).random((4, 8, 8, 1), dtype="float32")
        np.testing.assert_array_equal(model(x, training=False), model(x, training=False))
        assert np.allclose(model(x, training=True), model(x, training=False), atol=1e-7) == (how == "none")


@pytest.mark.parametrize("name", ["cnn", "resnet", "transfer"])
def test_a_space_of_images_refuses_rows_that_are_no_images_with_a_typed_failure(name: str) -> None:
    space = find_space(name)
    with pytest.raises(SpaceError, match=f"space {name} needs images") as error:
        space.build(space.default_config(), DIGITS)
    assert "numeric of shape (64,)" in str(error.value)
    with pytest.raises(TrialFailure, match=f"space {name} needs images") as caught:
        assemble(space.build, space.default_config(), DIGITS, total_steps=4)
    assert caught.value.reason is FailureReason.INVALID_MODEL


def test_a_space_of_text_refuses_data_without_text() -> None:
    space = find_space("text")
    with pytest.raises(SpaceError, match="space text needs text, received numeric"):
        space.build(space.default_config(), DIGITS)


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
