"""A contract of models cannot be checked without keras."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _keras(keras_here: None) -> None:
    """Every test here builds models."""
