"""KerasTuner hypermodels as search spaces: what is found, what it is called, what its models are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from automl.dataset_spec import Task
from automl.errors import SpaceError
from automl.keras_tuner_discovery import discover
from automl.parameters import Choice, Float, Int
from automl.search_space import SearchSpace
from automl.testing import check_config, example_spec, image_input, make_output, make_spec, probes
from automl.training.failures import TrialFailure


def _model(width: int = 4, *, inputs: int = 5, classes: int = 4) -> Any:
    import keras

    return keras.Sequential(
        [keras.Input((inputs,)), keras.layers.Dense(width), keras.layers.Dense(classes, activation="softmax")]
    )


def _layers(hp: Any) -> Any:
    import keras

    x = inputs = keras.Input((5,))
    for layer in range(hp.Int("layers", 1, 3)):
        x = keras.layers.Dense(hp.Int(f"units_{layer}", 8, 64, step=8), activation="relu")(x)
    if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd":
        optimizer = keras.optimizers.SGD(0.1, momentum=hp.Float("momentum", 0.0, 0.9))
    else:
        optimizer = keras.optimizers.Adam(hp.Float("rate", 1e-4, 1e-2, sampling="log", default=1e-3))
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def test_loops_and_branches_are_entered() -> None:
    space = SearchSpace.from_keras_tuner(_layers, name="layers")
    assert {one.name: (type(one), one.when) for one in space.parameters} == {
        "layers": (Int, {}),
        "units_0": (Int, {}),
        "optimizer": (Choice, {}),
        "rate": (Float, {"optimizer": ["adam"]}),
        "units_1": (Int, {"layers": [2, 3]}),
        "units_2": (Int, {"layers": [3]}),
        "momentum": (Float, {"optimizer": ["sgd"]}),
    }
    assert space.default_config() == {"layers": 1, "units_0": 8, "optimizer": "adam", "rate": 1e-3}


def test_every_config_keeps_the_contract(tmp_path: Path) -> None:
    space = SearchSpace.from_keras_tuner(_layers, name="layers")
    for config in probes(space, random_configs=1).values():
        check_config(space, config, example_spec("numbers"), tmp_path)


def test_a_config_is_what_the_model_is_built_of() -> None:
    build = SearchSpace.from_keras_tuner(_layers, name="layers").build
    config = {"layers": 2, "units_0": 24, "units_1": 40, "optimizer": "sgd", "momentum": 0.3}
    model = build(config, example_spec("numbers"))
    assert [layer.units for layer in model.layers[1:]] == [24, 40, 4]
    assert model.optimizer.momentum == 0.3


def _every_kind(hp: Any) -> Any:
    hp.Int("int", 3, 10, step=3, default=6)
    hp.Int("int_log", 1, 100, sampling="log", default=10)
    hp.Int("int_doubled", 2, 40, step=2, sampling="log")
    hp.Int("int_mirrored", 1, 8, step=2, sampling="reverse_log")
    hp.Int("alone", 5, 5, sampling="log")
    hp.Float("float", 0.0, 0.5, default=0.2)
    hp.Float("float_step", 0.0, 0.5, step=0.1, default=0.3)
    hp.Float("off_the_grid", 0.0, 0.5, step=0.1, default=0.24)
    hp.Float("float_log", 1e-4, 1e-1, sampling="log")
    hp.Float("float_tens", 0.001, 10, step=10, sampling="log", default=0.1)
    hp.Float("float_mirrored", 0.9, 0.99, sampling="reverse_log")
    hp.Choice("choice", ["a", "b", "a"], default="b")
    hp.Choice("numbers", [16, 32], default=32)
    hp.Boolean("flag", default=True)
    hp.Fixed("fixed", 7)


def test_every_kind_keeps_its_range_scale_and_default() -> None:
    found = {leaf.name: leaf for leaf in discover(_every_kind).leaves}
    mirrored = found.pop("float_mirrored")
    assert list(found.values()) == [
        Int("int", 3, 9, step=3, default=6),
        Int("int_log", 1, 100, log=True, default=10),
        Choice("int_doubled", [2, 4, 8, 16, 32]),
        Choice("int_mirrored", [1, 5, 7, 8]),
        Int("alone", 5, 5),
        Float("float", 0.0, 0.5, default=0.2),
        Float("float_step", 0.0, 0.5, step=0.1, default=0.3),
        Float("off_the_grid", 0.0, 0.5, step=0.1, default=0.2),
        Float("float_log", 1e-4, 1e-1, log=True, default=1e-4),
        Choice("float_tens", [0.001, 0.01, 0.1, 1.0, 10.0], default=0.1),
        Choice("choice", ["a", "b"], default="b"),
        Choice("numbers", [16, 32], default=32),
        Choice("flag", [False, True], default=True),
        Choice("fixed", [7]),
    ]
    assert isinstance(mirrored, Choice)
    assert (mirrored.values[0], mirrored.values[-1], mirrored.default) == (0.9, 0.99, 0.9)


def _scoped(hp: Any) -> Any:
    hp.Choice("kind", ["flat", "deep", "wide"])
    with hp.conditional_scope("kind", ["deep", "wide"]):
        hp.Int("depth", 1, 5)
        with hp.conditional_scope("depth", [3]):
            hp.Boolean("extra")
    hp.Float("drop", 0.0, 0.5, parent_name="kind", parent_values=["flat"])


def test_declared_conditions_are_kept() -> None:
    space = SearchSpace.from_keras_tuner(_scoped, name="scoped")
    assert {one.name: one.when for one in space.parameters} == {
        "kind": {},
        "depth": {"kind": ["deep", "wide"]},
        "extra": {"depth": [3]},
        "drop": {"kind": ["flat"]},
    }


def _twice(hp: Any) -> Any:
    small = hp.Choice("size", ["small", "large"]) == "small"
    return _model(hp.Int("units", 1, 4) if small else hp.Int("units", 16, 64))


def test_one_name_with_two_ranges_is_two_parameters() -> None:
    space = SearchSpace.from_keras_tuner(_twice, name="twice")
    assert [(one.name, one.range_text(), one.when) for one in space.parameters[1:]] == [
        ("units", "1..4", {"size": ["small"]}),
        ("units_2", "16..64", {"size": ["large"]}),
    ]
    model = space.build({"size": "large", "units_2": 20}, example_spec("numbers"))
    assert model.layers[0].units == 20


def _either(hp: Any) -> Any:
    if hp.Boolean("one") or hp.Boolean("other"):
        hp.Float("drop", 0.0, 0.5)


def test_a_hyperparameter_that_either_of_two_brings_is_never_missed() -> None:
    space = SearchSpace.from_keras_tuner(_either, name="either")
    for config in space.grid():
        space.build(config, example_spec("numbers"))  # a hyperparameter that is not in the config would raise


def _both(hp: Any) -> Any:
    one, other = hp.Boolean("one"), hp.Boolean("other")
    if one:
        hp.Int("first", 1, 2)
    if other:
        hp.Int("second", 1, 2)
    if one and other:
        hp.Int("third", 1, 2)


def test_a_hyperparameter_that_needs_two_others_is_found() -> None:
    whens = {one.name: one.when for one in SearchSpace.from_keras_tuner(_both, name="both").parameters}
    assert whens["third"] == {"one": [True], "other": [True]}


def _named(hp: Any) -> Any:
    with hp.name_scope("conv"):
        hp.Int("filters", 1, 4)
    hp.Int("conv_filters", 10, 14)
    hp.Int("a b", 1, 2)
    hp.Choice("1st", ["x", "y"])


def test_names_become_identifiers_and_come_back() -> None:
    found = discover(_named)
    assert dict(found.names) == {
        "conv_filters_2": "conv/filters",
        "conv_filters": "conv_filters",
        "a_b": "a b",
        "_1st": "1st",
    }


def _endless(hp: Any) -> Any:
    for layer in range(hp.Int("layers", 1, 200)):
        hp.Boolean(f"flag_{layer}")


def _late(hp: Any) -> Any:
    if hp.Float("drop", 0.0, 0.5) > 0.2:
        hp.Boolean("wide")
    return _model()


def _function_of_two(config: Any, spec: Any) -> Any:
    raise AssertionError


def _broken(hp: Any) -> Any:
    return hp.Int("units", 1, 2) / 0


@pytest.mark.parametrize(
    ("hypermodel", "message"),
    [
        (_endless, "still asks for new hyperparameters after 100 builds"),
        (_function_of_two, r"received _function_of_two\(config.*, spec.*a build\(config, spec\) needs a SearchSpace"),
        (3, r"expected a keras_tuner.HyperModel, a subclass of it or a function build\(hp\), received a int"),
        (dict, "received the class dict"),
        (_broken, "build fails for its defaults: ZeroDivisionError"),
    ],
)
def test_what_is_no_space_gives_one_clear_line(hypermodel: Any, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        SearchSpace.from_keras_tuner(hypermodel)
    assert "\n" not in str(caught.value)


def test_a_hyperparameter_that_discovery_missed_is_an_invalid_model() -> None:
    from automl.training.assemble import build_model

    space = SearchSpace.from_keras_tuner(_late, name="late")
    with pytest.raises(TrialFailure, match="asks for the hyperparameter 'wide'") as caught:
        build_model(space.build, {"drop": 0.4}, 0, example_spec("numbers"), 1)
    assert caught.value.reason.value == "invalid_model"


def _fails_when_deep(hp: Any) -> Any:
    if hp.Int("depth", 1, 3) == 3:
        raise ValueError("too deep")
    hp.Boolean("after")


def test_builds_that_fail_away_from_the_default_hide_nothing() -> None:
    space = SearchSpace.from_keras_tuner(_fails_when_deep, name="deep")
    assert [(one.name, one.when) for one in space.parameters] == [("depth", {}), ("after", {})]


def _one_hot(loss: Any) -> Any:
    def build(hp: Any) -> Any:
        model = _model(hp.Int("units", 4, 8))
        model.compile("adam", loss, metrics=["accuracy"])
        return model

    return build


@pytest.mark.parametrize("kind", ["name", "object"])
def test_losses_of_one_hot_targets_take_class_indices(kind: str, tmp_path: Path) -> None:
    import keras

    loss = "categorical_crossentropy" if kind == "name" else keras.losses.CategoricalCrossentropy()
    space = SearchSpace.from_keras_tuner(_one_hot(loss), name="one-hot")
    check_config(space, space.default_config(), example_spec("numbers"), tmp_path)


def test_label_smoothing_has_no_counterpart() -> None:
    import keras

    space = SearchSpace.from_keras_tuner(
        _one_hot(keras.losses.CategoricalCrossentropy(label_smoothing=0.1)), name="smooth"
    )
    with pytest.raises(SpaceError, match="label_smoothing"):
        space.build(space.default_config(), example_spec("numbers"))


def test_a_space_is_sent_to_workers() -> None:
    space = SearchSpace.from_keras_tuner(_layers, name="layers")
    build = cloudpickle.loads(cloudpickle.dumps(space.build))
    assert build(space.default_config(), example_spec("numbers")).count_params() > 0


def test_an_application_of_keras_tuner_keeps_the_contract(tmp_path: Path) -> None:
    """The largest one and random configs: benchmarks/keras_tuner_applications.py."""
    from keras_tuner.applications import HyperXception

    space = SearchSpace.from_keras_tuner(HyperXception(input_shape=(32, 32, 3), classes=4), name="xception")
    assert [one.name for one in space.parameters if one.when] == []
    assert len(space.parameters) == 11
    spec = make_spec(image_input(32, 32, 3), outputs=(make_output(Task.MULTICLASS, units=4),))
    check_config(space, space.default_config(), spec, tmp_path)


def _wide(hp: Any) -> None:
    if hp.Int("units", 1, 10**9) > 500:
        hp.Boolean("norm")


def test_a_long_range_is_only_built_where_something_changes() -> None:
    with pytest.raises(SpaceError, match="others depend on 'units', which has 1000000000 values: give it a step"):
        discover(_wide)
