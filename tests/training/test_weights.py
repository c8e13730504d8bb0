"""Weights come back from their file as they were, whatever their type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from automl.training.weights import load_weights, save_weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_come_back_as_they_were(tmp_path: Path, dtype: str) -> None:
    import keras

    def model() -> keras.Model:
        layers = [keras.Input((3,)), keras.layers.Dense(2, dtype=dtype), keras.layers.Dropout(0.5, dtype=dtype)]
        return keras.Sequential(layers)

    saved, loaded = model(), model()
    save_weights(saved, tmp_path / "weights.npz")
    load_weights(loaded, tmp_path / "weights.npz")
    for one, other in zip(saved.variables, loaded.variables, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one).astype("float64"), np.asarray(other).astype("float64"))
