from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from automl.data import RawDataset, raw_from_arrays


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "datasets"


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = os.environ.get("AUTOML_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("AUTOML_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture
def numbered() -> Callable[..., RawDataset]:
    """Make datasets whose only feature is the row's number, so that rows can be followed through a split."""

    def make(y: np.ndarray, *, validation_rows: int = 0, test_rows: int = 0, seed: int = 0) -> RawDataset:
        x = np.arange(len(y), dtype=np.float64)[:, None]
        sizes = {"validation": validation_rows, "test": test_rows}
        given = {split: (x[:rows] + 0.5, y[:rows]) for split, rows in sizes.items() if rows}
        return raw_from_arrays(f"numbered{seed}", x, y, given=given, columns=("row",))

    return make
