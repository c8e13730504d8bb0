"""References to hypermodels: found in a child process, so that no driver imports keras."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

from automl.dataset_spec import Task
from automl.errors import SpaceError, UnknownNameError
from automl.space_sources import find_space
from automl.testing import check_config, example_spec, make_output, make_spec, numeric_input

ROOT = Path(__file__).parents[2]

_BUILD = """
import keras

print("chatter on standard output")

def build(hp):
    x = inputs = keras.Input((5,))
    x = keras.layers.Dense(hp.Int("units", 4, 8))(x)
    model = keras.Model(inputs, keras.layers.Dense(4, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(hp.Float("rate", 0.01, 0.1)), "sparse_categorical_crossentropy")
    return model

def build_of_two(config, spec):
    return None
"""

_CLASS = """
import keras_tuner

class Needs(keras_tuner.HyperModel):
    def __init__(self, classes):
        super().__init__()

    def build(self, hp):
        raise RuntimeError("several\\nlines")

class Broken(Needs):
    def __init__(self):
        super().__init__(3)

number = 3
"""


def test_the_example_has_the_parameters_and_conditions_that_it_asks_for() -> None:
    space = find_space(str(ROOT / "examples" / "keras_tuner_space.py") + ":DigitsHyperModel")
    assert {one.name: (one.range_text(), one.when) for one in space.parameters} == {
        "layers": ("1..3", {}),
        "units_0": ("16..128 step 16", {}),
        "units_1": ("16..128 step 16", {"layers": [2, 3]}),
        "units_2": ("16..128 step 16", {"layers": [3]}),
        "dropout": ("False | True", {}),
        "dropout_rate": ("0.1..0.5", {"dropout": [True]}),
        "learning_rate": ("0.0001..0.1 log", {}),
        "optimizer": ("adam | sgd", {}),
        "momentum": ("0..0.9", {"optimizer": ["sgd"]}),
        "stall_epochs": ("2..5", {}),
        "batch_size": ("32 | 64 | 128", {}),
    }
    assert space.source.endswith("keras_tuner_space.py:DigitsHyperModel")
    assert space.name == "DigitsHyperModel"
    assert space.build.names["dropout_rate"] == "dropout/rate"
    assert space.build.withheld == ("batch_size",)
    assert callable(space.build.fit)


def test_the_example_builds_models_that_keep_the_contract(tmp_path: Path) -> None:
    space = find_space(str(ROOT / "examples" / "keras_tuner_space.py") + ":DigitsHyperModel")
    spec = make_spec(numeric_input(64), outputs=(make_output(Task.MULTICLASS, units=10),))
    check_config(space, space.default_config(), spec, tmp_path)


_DRIVER = """
import json, sys
from automl.space_sources import find_space
space = find_space(sys.argv[1])
print(json.dumps([[row["name"] for row in space.table()], sorted({name.split(".")[0] for name in sys.modules})]))
"""


def test_a_driver_finds_a_file_s_function_without_importing_keras(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(_BUILD)
    done = subprocess.run(
        [sys.executable, "-c", _DRIVER, f"{file}:build"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    names, modules = json.loads(done.stdout.splitlines()[-1])
    assert names == ["units", "rate"]
    assert not {"keras", "tensorflow", "keras_tuner"} & set(modules)


def test_what_a_worker_is_sent_imports_the_file_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(_BUILD)
    space = find_space(f"{file}:build")
    build = cloudpickle.loads(cloudpickle.dumps(space.build))
    model = build({"units": 6, "rate": 0.05}, example_spec("numbers"))
    assert model.layers[1].units == 6
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        (_BUILD, "build_of_two", "is a function, not a SearchSpace"),
        (_CLASS, "Needs", "Needs cannot be made without arguments .*give an instance of it"),
        (_CLASS, "Broken", "build fails for its defaults: RuntimeError: several lines"),
        (_CLASS, "number", r"or a function build\(hp\), received a int"),
        (_CLASS, "Neds", "unknown search space in .* 'Neds'; did you mean 'Needs'"),
        ("import keras_tuner\nimport no_such_module", "build", "cannot import .*No module named 'no_such_module'"),
        ("import keras_tuner\nraise SystemExit(3)", "build", "cannot import .*SystemExit: 3"),
        ("import keras_tuner, os\nos._exit(3)", "build", "discovery ended with exit code 3"),
        ("import keras_tuner\ndef build(hp:", "build", "SyntaxError"),
    ],
)
def test_a_reference_that_is_no_space_gives_one_clear_line(
    text: str, attribute: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises((SpaceError, UnknownNameError), match=message) as caught:
        find_space(f"{file}:{attribute}")
    assert "\n" not in str(caught.value)


def test_a_space_beside_keras_tuner_is_still_a_space(tmp_path: Path) -> None:
    file = tmp_path / "both.py"
    file.write_text(
        "import keras_tuner\nfrom automl import Int, SearchSpace\nspace = SearchSpace('mine', [Int('units', 1, 2)], print)"
    )
    assert find_space(str(file)).name == "mine"


def test_a_module_of_keras_tuner_is_read_in_a_child() -> None:
    with pytest.raises(SpaceError, match="HyperResNet cannot be made without arguments"):
        find_space("keras_tuner.applications:HyperResNet")
