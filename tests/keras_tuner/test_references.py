"""References to hypermodels: found in a child process, so that no driver imports keras."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cloudpickle
import pytest

import automl
from automl.dataset_spec import Task
from automl.errors import SpaceError
from automl.keras_tuner_discovery import main
from automl.keras_tuner_spaces import read_reference
from automl.search_space import SearchSpace
from automl.space_sources import find_space
from automl.testing import check_config, example_spec, make_output, make_spec, numeric_input
from automl.unions import own_fit

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


@pytest.fixture(scope="module")
def example() -> SearchSpace:
    return find_space(str(ROOT / "examples" / "keras_tuner_space.py") + ":DigitsHyperModel")


def test_the_example_has_the_parameters_and_conditions_that_it_asks_for(example: SearchSpace) -> None:
    assert {one.name: (one.range_text(), one.when) for one in example.parameters} == {
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
    assert example.source.endswith("keras_tuner_space.py:DigitsHyperModel")
    assert example.name == "DigitsHyperModel"
    assert example.build.names["dropout_rate"] == "dropout/rate"
    assert example.build.withheld == ("batch_size",)
    assert own_fit(example.build, example.default_config()) is not None


def test_the_example_builds_models_that_keep_the_contract(example: SearchSpace, tmp_path: Path) -> None:
    spec = make_spec(numeric_input(64), outputs=(make_output(Task.MULTICLASS, units=10),))
    check_config(example, example.default_config(), spec, tmp_path)


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
        (_CLASS, "Broken", "build fails for its defaults: RuntimeError: several lines"),
        ("import keras_tuner, os\nos._exit(3)", "build", "discovery ended with exit code 3"),
        (_BUILD, "build_of_two", "is a function, not a SearchSpace"),
    ],
)
def test_a_reference_that_is_no_space_gives_one_clear_line(
    text: str, attribute: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    with pytest.raises(SpaceError, match=message) as caught:
        find_space(f"{file}:{attribute}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        (_CLASS, "Needs", "Needs cannot be made without arguments .*give an instance of it"),
        (_CLASS, "number", r"or a function build\(hp\), received a int"),
        (_CLASS, "Neds", "unknown search space in .* 'Neds'; did you mean 'Needs'"),
        ("import keras_tuner\nimport no_such_module", "build", "cannot import .*No module named 'no_such_module'"),
        ("import keras_tuner\nraise SystemExit(3)", "build", "cannot import .*SystemExit: 3"),
        ("import keras_tuner\ndef build(hp:", "build", "SyntaxError"),
    ],
)
def test_the_child_says_what_is_wrong(
    text: str, attribute: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(text)
    main(f"{file}:{attribute}")
    error = json.loads(capsys.readouterr().out)["error"]
    assert re.search(message, error)
    assert "\n" not in error


def test_a_space_beside_keras_tuner_is_still_a_space(tmp_path: Path) -> None:
    file = tmp_path / "both.py"
    file.write_text(
        "import keras_tuner\nfrom automl import Int, SearchSpace\n"
        "space = SearchSpace('mine', [Int('units', 1, 2)], print)\n"
    )
    assert find_space(str(file)).name == "mine"


def test_a_file_of_two_functions_is_read_by_their_arguments(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text("def build(hp):\n    pass\n\ndef other(config, spec):\n    pass\n")
    assert read_reference(f"{file}:other") is None
    assert read_reference("no_such_module:build") is None


_TRAINED_BY_ITSELF = """
import keras, keras_tuner

class Marking(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10, activation="softmax")])
        rate = hp.Float("rate", 0.001, 0.1, sampling="log")
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        return model

    def fit(self, hp, model, x, y, **kwargs):
        with open("fitted", "a") as file:
            file.write(f"{len(x)}\\n")
        return model.fit(x, y, **kwargs)
"""


def test_a_search_in_worker_processes_trains_by_the_hypermodels_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marking.py").write_text(_TRAINED_BY_ITSELF)
    result = automl.search(
        "digits", "marking.py:Marking", trials=1, epochs=2, workers=1, finalists=0, mlflow=False, home=tmp_path / "home"
    )
    assert len(result.best.epochs) == 2
    assert "1149" in (tmp_path / "fitted").read_text().split()
