"""automl: give it a dataset and a deadline, and it finds the best Keras architecture it can by then.

The names below load on first use, so that `import automl` is quick and loads none of tensorflow, keras, ray and mlflow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, Task
    from automl.errors import (
        AutomlError,
        DataError,
        NoUsableModelError,
        RequestError,
        SearchInterrupted,
        SpaceError,
        SurroundingsError,
        UnknownNameError,
    )
    from automl.layers import (
        Scaling,
        as_floats,
        embed_categories,
        input_layers,
        input_tensors,
        output_layers,
        scale_input,
        side_by_side,
        text_bag,
    )
    from automl.objective import Objective
    from automl.parameters import Choice, Float, Int, Repeat
    from automl.records import EpochReport, TrialRecord, TrialState
    from automl.results import Result, load_result
    from automl.run_search import resume, search
    from automl.search_space import SearchSpace
    from automl.space_sources import auto_space, find_space
    from automl.standard_parameters import training_parameters

_HOMES = {
    "automl.dataset_spec": ["DatasetSpec", "InputKind", "InputSpec", "Task"],
    "automl.errors": [
        "AutomlError",
        "DataError",
        "NoUsableModelError",
        "RequestError",
        "SearchInterrupted",
        "SpaceError",
        "SurroundingsError",
        "UnknownNameError",
    ],
    "automl.layers": [
        "Scaling",
        "as_floats",
        "embed_categories",
        "input_layers",
        "input_tensors",
        "output_layers",
        "scale_input",
        "side_by_side",
        "text_bag",
    ],
    "automl.objective": ["Objective"],
    "automl.parameters": ["Choice", "Float", "Int", "Repeat"],
    "automl.records": ["EpochReport", "TrialRecord", "TrialState"],
    "automl.results": ["Result", "load_result"],
    "automl.run_search": ["resume", "search"],
    "automl.search_space": ["SearchSpace"],
    "automl.space_sources": ["auto_space", "find_space"],
    "automl.standard_parameters": ["training_parameters"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AutomlError",
    "Choice",
    "DataError",
    "DatasetSpec",
    "EpochReport",
    "Float",
    "InputKind",
    "InputSpec",
    "Int",
    "NoUsableModelError",
    "Objective",
    "Repeat",
    "RequestError",
    "Result",
    "Scaling",
    "SearchInterrupted",
    "SearchSpace",
    "SpaceError",
    "SurroundingsError",
    "Task",
    "TrialRecord",
    "TrialState",
    "UnknownNameError",
    "as_floats",
    "auto_space",
    "embed_categories",
    "find_space",
    "input_layers",
    "input_tensors",
    "load_result",
    "output_layers",
    "resume",
    "scale_input",
    "search",
    "side_by_side",
    "text_bag",
    "training_parameters",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'automl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    """Return the public names, so that they can be completed before they are loaded."""
    return sorted({*globals(), *__all__})
