"""A dataset so small that training is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automl.data import prepare, raw_from_arrays


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    raw = raw_from_arrays("tiny", random.normal(size=(200, 64)), np.arange(200) % 10)
    return prepare(raw, task=None, split_seed=0, cache=tmp_path_factory.mktemp("datasets")).folder
