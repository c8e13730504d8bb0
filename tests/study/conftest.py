"""Studies on a conditional space."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked_studies import SPACE
from digits_spec import SPEC

from automl.objective import Objective
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.study import Study

_ACCURACY = Objective("val_accuracy", "max")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "digits-conditional-001"
    path.mkdir()
    return path


@pytest.fixture
def create(folder: Path) -> Callable[..., Study]:
    """Return a function that starts a study; settings are its keyword arguments."""

    def make(
        space: SearchSpace = SPACE,
        *,
        place: Path = folder,
        storage: str | None = None,
        enqueue: Any = (),
        objective: Objective = _ACCURACY,
        **settings: Any,
    ) -> Study:
        values = {"trials": 50, "seconds": None, "scheduler": "none"} | settings
        return Study.create(
            place,
            storage=storage,
            space=space,
            spec=SPEC,
            objective=objective,
            settings=SearchSettings(**values),
            enqueue=enqueue,
            origin={"dataset": "digits"},
        )

    return make
