"""KerasTuner's hypermodels in one form: an object whose `build(hp)` makes a model, and maybe `fit` trains it.

Needs keras_tuner, and so keras: nothing of it is imported before it is called.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from automl.errors import SpaceError, UnknownNameError
from automl.importing import import_file, import_module, one_line

_log = logging.getLogger(__name__)

_DUPLICATE = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")  # the override gives it by itself


@dataclass(frozen=True)
class _FunctionModel:
    """A function `build(hp)` as a hypermodel."""

    build: Callable[[Any], Any]


def hypermodel_of(value: Any) -> Any:
    """Return a hypermodel: an instance as it is, a class called, a function `build(hp)` wrapped.

    Raises:
        SpaceError: It is none of these, or the class cannot be called without arguments.
    """
    import keras_tuner

    if isinstance(value, keras_tuner.HyperModel):
        return value
    if isinstance(value, type) and issubclass(value, keras_tuner.HyperModel):
        try:
            return value()
        except Exception as error:
            raise SpaceError(
                f"{value.__name__} cannot be made without arguments ({one_line(error)}): give an instance of it"
            ) from error
    if callable(value) and not isinstance(value, type) and is_build_of_one(value):
        return _FunctionModel(value)
    raise SpaceError(
        f"expected a keras_tuner.HyperModel, a subclass of it or a function build(hp), received {_described(value)}"
    )


def is_build_of_one(function: Callable[..., Any]) -> bool:
    """Return True for a function that takes a single argument, as KerasTuner's `build(hp)` does."""
    parameters = list(inspect.signature(function).parameters.values())
    return len(parameters) == 1 and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )


def _described(value: Any) -> str:
    if inspect.isfunction(value):
        return f"{value.__name__}{inspect.signature(value)}; a build(config, spec) needs a SearchSpace with parameters"
    return f"a {type(value).__name__}" if not isinstance(value, type) else f"the class {value.__name__}"


@functools.cache
def load(reference: str) -> Any:
    """Return what `module:attribute` or `file.py:attribute` names.

    Raises:
        SpaceError: The module or file cannot be imported.
        UnknownNameError: It has no such attribute.
    """
    head, _, attribute = reference.rpartition(":")
    module = import_file(Path(head)) if head.endswith(".py") else import_module(head)
    if not hasattr(module, attribute):
        known = {
            name for name, value in vars(module).items() if callable(value) and value.__module__ == module.__name__
        }
        raise UnknownNameError(f"search space in {head}", attribute, known)
    return getattr(module, attribute)


def overrides_fit(hypermodel: Any) -> bool:
    """Return True where a hypermodel trains its models itself."""
    import keras_tuner

    return isinstance(hypermodel, keras_tuner.HyperModel) and type(hypermodel).fit is not keras_tuner.HyperModel.fit


def accepted(fit: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those keyword arguments that an override of `fit` takes."""
    parameters = inspect.signature(fit).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return dict(arguments)
    names = {one.name for one in parameters}
    return {name: value for name, value in arguments.items() if name in names}


class FitProbe:
    """Calls an override of `fit` with models that do not train, to see which hyperparameters it asks for."""

    def __init__(self, hypermodel: Any) -> None:
        """Remember the hypermodel."""
        self._hypermodel = hypermodel
        self.withheld: set[str] = set()

    def fit(self, hp: Any, model: Any) -> bool:
        """Call the override with two rows of zeros and a model whose `fit` does nothing.

        A loop of one's own does train on them. Which targets it takes is not known: they are tried in turn, and where
        all fail, what it would have asked for afterwards stays unknown.

        Returns:
            Whether the override came to its end.
        """
        import keras
        import numpy as np

        if not isinstance(model, keras.Model) or not model.built:
            return False  # no trial can train it either
        history = keras.callbacks.History()
        history.history = defaultdict(lambda: [0.0])
        model.fit = _taking_arguments_of(model.fit, history)
        sizes = [tensor.shape[-1] for tensor in model.outputs]
        indices, vectors = [np.zeros(2, "int32") for _ in sizes], [np.zeros((2, size), "float32") for size in sizes]
        for y in (_bare(indices), _bare(vectors)):
            try:
                self._call(hp, model, y)
            except Exception as error:  # noqa: BLE001 - real rows may do: then the trial says what is wrong
                _log.info("fit does not come to its end: %s", one_line(error))
            else:
                return True
        return False

    def _call(self, hp: Any, model: Any, y: Any) -> None:
        """Call the override; arguments that it also gives to `model.fit` itself are withheld from then on."""
        import numpy as np

        x = _bare([np.zeros((2, *(size or 1 for size in one.shape[1:])), "float32") for one in model.inputs])
        arguments = {"validation_data": (x, y), "epochs": 1, "batch_size": 2, "callbacks": [], "verbose": 0}
        while True:
            given = {name: value for name, value in arguments.items() if name not in self.withheld}
            try:
                self._hypermodel.fit(hp, model, x, y, **accepted(self._hypermodel.fit, given))
            except TypeError as error:
                twice = _DUPLICATE.search(str(error))
                if twice is None or twice[1] not in given:
                    raise
                self.withheld.add(twice[1])
            else:
                return


def _taking_arguments_of(fit: Callable[..., Any], history: Any) -> Callable[..., Any]:
    signature = inspect.signature(fit)

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)  # a wrong call is as wrong here
        return history

    return stand_in


def _bare(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else arrays
