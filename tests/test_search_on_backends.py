"""A whole search on another backend: trained there, chosen, scored and saved by TensorFlow. And in mixed precision."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import automl
from automl import Choice, Float, SearchSpace, TrialState, input_layers, output_layers


def _build(config: dict[str, Any], spec: Any) -> Any:
    import keras

    if keras.backend.backend() != config["backend"] and config["only"]:
        raise ValueError(f"works on {config['backend']} only")
    inputs, x = input_layers(spec)
    x = keras.layers.Dense(16, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = keras.layers.Dropout(0.1)(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, output_layers(x, spec))


def _space(backend: str, *, only: bool = False) -> SearchSpace:
    parameters = [Choice("backend", [backend]), Choice("only", [only]), Float("learning_rate", 1e-3, 1e-1, log=True)]
    return SearchSpace("small", parameters, _build)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_search_from_first_trial_to_prediction(backend: str, tmp_path: Path) -> None:
    _skip_without(backend)
    x, y = load_digits(return_X_y=True)
    x, y = x[:400].astype("float32"), y[:400]
    budget: dict[str, Any] = {"scheduler": "none", "epochs": 2, "workers": 1, "home": tmp_path, "mlflow": False}
    space = _space(backend)
    result = automl.search((x, y), space, backend=backend, trials=2, finalists=1, name="first", **budget)
    assert [trial.state for trial in result.trials] == [TrialState.COMPLETE] * 2
    assert result.record.settings["backend"] == backend
    assert result.record.final is not None
    predicted = result.predict(x).iloc[:, 0].astype(int)
    assert np.mean(predicted == y) == pytest.approx(result.test_score, abs=0.2)

    automl.search((x, y), space, backend=backend, trials=1, finalists=0, name="again", **budget)
    again = automl.resume("again", space=space, trials=2, home=tmp_path)
    assert again.record.settings["backend"] == backend
    for one, other in zip(result.trials, again.trials, strict=True):
        assert (other.state, other.config) == (TrialState.COMPLETE, one.config)
        assert [report.metrics for report in one.epochs] == [report.metrics for report in other.epochs]


def test_a_search_in_mixed_precision_is_resumed_so(tmp_path: Path) -> None:
    budget: dict[str, Any] = {"trials": 1, "epochs": 2, "workers": 1, "finalists": 1, "refit": False, "mlflow": False}
    automl.search("iris", "linear", dtype_policy="mixed_bfloat16", name="mixed", home=tmp_path / "home", **budget)
    automl.resume("mixed", trials=2, home=tmp_path / "home")
    result = automl.resume("mixed", space=automl.find_space("linear"), trials=3, home=tmp_path / "home")
    assert [trial.config["dtype_policy"] for trial in result.trials] == ["mixed_bfloat16"] * 3
    predicted = result.predict([[5.1, 3.5, 1.4, 0.2]]).iloc[0]
    assert predicted.iloc[1:].astype(float).sum() == pytest.approx(1.0, abs=1e-5)  # of single precision again


def test_a_space_that_chooses_the_policy_itself_is_narrowed(tmp_path: Path) -> None:
    space = SearchSpace("own", [Choice("dtype_policy", ["float32", "mixed_bfloat16"])], _build)
    with pytest.raises(automl.RequestError, match=r"--dtype-policy.*--set dtype_policy=mixed_bfloat16"):
        automl.search("iris", space, dtype_policy="mixed_bfloat16", workers=1, home=tmp_path, mlflow=False)


def test_a_space_that_gives_no_final_model_is_refused_first(tmp_path: Path) -> None:
    _skip_without("jax")
    with pytest.raises(automl.SpaceError, match="works on jax only"):
        automl.search("iris", _space("jax", only=True), backend="jax", trials=1, workers=1, home=tmp_path, mlflow=False)
    assert not list((tmp_path / "studies").iterdir())


def _skip_without(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}: the extra {backend!r}")
