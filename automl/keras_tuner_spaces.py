"""KerasTuner hypermodels as search spaces: the builder that workers call, and how a driver finds out the parameters.

A driver does not import keras: a module or file that imports keras_tuner is read in a child process.
"""

from __future__ import annotations

import ast
import importlib.machinery
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from automl.errors import SpaceError
from automl.importing import see_working_directory
from automl.keras_tuner_parameters import leaf_from_json
from automl.parameters import Leaf
from automl.records import Config

_LIBRARIES = {"keras_tuner", "kerastuner"}
_CHILD_ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "-1",  # nothing is trained, and the workers want the devices
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
_CHILD_SECONDS = 600.0  # for discovery; models that take longer to build cannot be searched anyway


@dataclass(frozen=True, kw_only=True)
class KerasTunerBuild:
    """Builds the models of a hypermodel, as a `SearchSpace` wants it.

    Attributes:
        names: KerasTuner's name of each parameter, by ours.
        hypermodel: The hypermodel; None where a reference names it.
        reference: `module:attribute` or `file.py:attribute`, imported in the worker.
        has_fit: Whether the hypermodel trains its models itself.
        withheld: Arguments that its `fit` gives by itself.
    """

    names: Mapping[str, str]
    hypermodel: Any = field(default=None, compare=False)
    reference: str = ""
    has_fit: bool = False
    withheld: tuple[str, ...] = ()

    def __call__(self, config: Config, spec: Any) -> Any:
        """Return the model of a config, compiled as the hypermodel compiles it.

        Where the dataset's targets are class indices, a loss of one-hot targets becomes its sparse counterpart.

        Raises:
            SpaceError: The hypermodel asks for a hyperparameter that the space has not.
        """
        from automl.keras_tuner_models import with_sparse_targets

        return with_sparse_targets(self._hypermodel().build(self._values(config)), spec)

    def fit_for(self, config: Config) -> Callable[..., Any] | None:
        """Return the hypermodel's own training of a config's model, `fit(model, x, y, **arguments)`, if it has one."""
        return partial(self._fit, config) if self.has_fit else None

    def _fit(self, config: Config, model: Any, *args: Any, **kwargs: Any) -> Any:
        from automl.keras_tuner_hypermodels import accepted

        hypermodel = self._hypermodel()
        if "sample_weight" in kwargs and not accepted(hypermodel.fit, {"sample_weight": None}):
            raise SpaceError(
                "the dataset has weights, which the hypermodel's fit does not take: let it take sample_weight"
            )
        given = {name: value for name, value in kwargs.items() if name not in self.withheld}
        return hypermodel.fit(self._values(config), model, *args, **accepted(hypermodel.fit, given))

    def _hypermodel(self) -> Any:
        from automl.keras_tuner_hypermodels import hypermodel_of, load

        return hypermodel_of(load(self.reference) if self.reference else self.hypermodel)

    def _values(self, config: Config) -> Any:
        import keras_tuner

        hp = keras_tuner.HyperParameters()
        hp.values = _Given({self.names[name]: value for name, value in config.items() if name in self.names})
        return hp


class _Given(dict[str, Any]):
    """Values of hyperparameters; KerasTuner writes the default of one that is not there."""

    def __setitem__(self, name: str, value: Any) -> None:
        raise SpaceError(
            f"the hypermodel asks for the hyperparameter {name!r}, which no build of its discovery asked for: "
            "let it be asked for whatever the others' values, or only where a single one has certain values"
        )


def read_hypermodel(hypermodel: Any) -> tuple[tuple[Leaf, ...], KerasTunerBuild]:
    """Return the parameters of a hypermodel and its builder; needs keras.

    Raises:
        SpaceError: See `automl.keras_tuner_discovery.discover`.
    """
    from automl.keras_tuner_discovery import discover

    found = discover(hypermodel)
    build = KerasTunerBuild(names=found.names, hypermodel=hypermodel, has_fit=found.has_fit, withheld=found.withheld)
    return found.leaves, build


def read_reference(reference: str) -> tuple[tuple[Leaf, ...], KerasTunerBuild] | None:
    """Return the parameters and builder of the hypermodel that a reference names, found out in a child process.

    Args:
        reference: `module:attribute` or `file.py:attribute`.

    Returns:
        None where the reference has nothing to do with KerasTuner, or names a `SearchSpace` all the same.

    Raises:
        SpaceError: The reference cannot be imported, names no hypermodel, or see `discover`.
    """
    head, _, attribute = reference.rpartition(":")
    path = Path(head) if head.endswith(".py") else _module_file(head)
    if path is None or not path.is_file() or not _concerns_keras_tuner(path, attribute):
        return None
    answer = _ask_child(reference)
    if "error" in answer:
        raise SpaceError(f"{reference}: {answer['error']}")
    if "is_space" in answer:
        return None
    leaves = tuple(map(leaf_from_json, answer["leaves"]))
    build = KerasTunerBuild(
        names=answer["names"], reference=reference, has_fit=answer["has_fit"], withheld=tuple(answer["withheld"])
    )
    return leaves, build


def _module_file(name: str) -> Path | None:
    """Return a module's file without importing it or the packages around it."""
    see_working_directory()
    folders, spec = None, None
    full_name = ""
    for part in name.split("."):
        full_name = f"{full_name}.{part}" if full_name else part
        spec = importlib.machinery.PathFinder.find_spec(full_name, folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin else None


def _concerns_keras_tuner(path: Path, attribute: str) -> bool:
    """Return True where an attribute may be a hypermodel: a function of one argument, or made with KerasTuner's help.

    A function of another number of arguments is a builder of ours, whatever its file imports.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False  # importing it says what is wrong
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == attribute]
    if functions:
        return _takes_one_argument(functions[-1].args)
    return any(map(_imports_keras_tuner, ast.walk(tree)))


def _imports_keras_tuner(node: ast.AST) -> bool:
    names: list[str] = []
    if isinstance(node, ast.Import):
        names = [one.name for one in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    return any(name.partition(".")[0] in _LIBRARIES for name in names)


def _takes_one_argument(arguments: ast.arguments) -> bool:
    others = arguments.kwonlyargs or arguments.vararg or arguments.kwarg
    return len([*arguments.posonlyargs, *arguments.args]) == 1 and not others


def _ask_child(reference: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "automl.keras_tuner_discovery", reference]
    environment = {**os.environ, **_CHILD_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_CHILD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SpaceError(f"{reference}: its models were not all built within {_CHILD_SECONDS:g} s") from error
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SpaceError(f"{reference}: discovery ended with exit code {done.returncode}: {reason}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer
