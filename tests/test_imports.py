"""`import automl` and `automl --help` stay light, every public name is there and documented, and its examples run."""

from __future__ import annotations

import inspect
import json
import pkgutil
import subprocess
import sys
from typing import Any

import pytest

import automl

HEAVY = ("tensorflow", "keras", "ray", "mlflow")

# What a driver imports; the rest runs in workers, or is loaded by the command that needs it.
_DRIVER = [
    *(
        "automl.run_search",
        "automl.run_study",
        "automl.search_loop",
        "automl.results",
        "automl.finalists",
        "automl.executors.local",
    ),
    *("automl.executors.child", "automl.predict", "automl.export", "automl.cli.deploy"),
    *("automl.study.study", "automl.study.distributions", "automl.layers", "automl.data", "automl.cli"),
    *("search_spaces.linear", "search_spaces.mlp", "search_spaces.cnn"),
]


def loaded_by(program: str, *arguments: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after a program."""
    program += "\nimport json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "program",
    [
        "import automl",
        "from automl.cli import cli; cli.main(['--help'], standalone_mode=False)",
        "import automl; [getattr(automl, name) for name in automl.__all__]",
        f"import importlib; [importlib.import_module(name) for name in {_DRIVER!r}]",
    ],
    ids=["import", "help", "every name", "driver"],
)
def test_what_is_light_stays_light(program: str) -> None:
    loaded = loaded_by(program)
    assert "automl" in loaded
    assert not loaded & set(HEAVY)


def test_import_alone_loads_neither_optuna_nor_numpy() -> None:
    assert not loaded_by("import automl") & {"optuna", "numpy", "pandas", "click", "yaml"}


@pytest.mark.parametrize("name", automl.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value: Any = getattr(automl, name)
    assert value.__doc__, name
    assert value.__doc__ != object.__doc__
    assert name in dir(automl)
    if inspect.isclass(value):
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{attribute}"
    if inspect.isfunction(value) or name in {"Choice", "Float", "Int", "Objective", "Repeat", "SearchSpace"}:
        assert "Example:" in value.__doc__, name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'automl' has no attribute 'serach'"):
        automl.serach  # noqa: B018


def test_the_public_names_are_sorted_and_each_there_once() -> None:
    assert list(automl.__all__) == sorted(set(automl.__all__))
    assert set(automl.__all__) == set(automl._HOME_OF)


def every_module() -> list[str]:
    return sorted(found.name for found in pkgutil.walk_packages(automl.__path__, "automl."))


_DOCTESTS = """
import doctest, importlib, json, sys
results = {}
for name in sys.argv[1:]:
    outcome = doctest.testmod(importlib.import_module(name), report=True)
    results[name] = [outcome.attempted, outcome.failed]
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "keras"})
print(json.dumps([results, heavy]))
"""


def test_the_examples_run_and_need_no_keras(tmp_path: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _DOCTESTS, *every_module()], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    results, heavy = json.loads(done.stdout.splitlines()[-1])
    assert heavy == []
    assert {name: failed for name, (_, failed) in results.items() if failed} == {}, done.stdout
    assert sum(attempted for attempted, _ in results.values()) >= 25
    for name in ("automl.parameters", "automl.search_space", "automl.narrowing", "automl.study.distributions"):
        assert results[name][0] > 0, name
