"""Hypermodels cannot be read without keras."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _keras(keras_here: None) -> None:
    """Every test here builds models."""
    import keras_tuner  # noqa: F401
