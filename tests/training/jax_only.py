"""What only JAX can get wrong; `test_jax.py` runs this where Keras runs on JAX."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumed_trials import curve, dense, make_job
from sklearn.datasets import load_digits
from whole_trials import Ran, run

from automl import Choice
from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.objective import Objective
from automl.space_sources import find_space
from automl.testing import example_spec, rows_of
from automl.training import checkpoint
from automl.training.assemble import build_model
from automl.training.job import TrialJob
from automl.training.loop import Evaluator, TrainingLoop
from automl.training.rows import ResidentRows
from automl.training.weights import load_weights, save_weights


@pytest.fixture
def digits(tmp_path: Path) -> PreparedDataset:
    x, y = load_digits(return_X_y=True)
    return prepare(raw_from_arrays("digits", x[:300], y[:300]), task=None, split_seed=0, cache=tmp_path)


def _trained(data: PreparedDataset, build: Any, config: dict[str, Any]) -> Ran:
    job = TrialJob(number=0, config=config, seed=5, epochs=2, patience=0, objective=Objective("val_accuracy", "max"))
    return run(job, build, data)


def test_the_same_seed_gives_the_same_curves(digits: PreparedDataset) -> None:
    space = find_space("mlp")
    first, second = (_trained(digits, space.build, space.default_config())[0] for _ in range(2))
    assert len(first) == 2
    assert [one.metrics for one in first] == [one.metrics for one in second]
    assert first[0].metrics["learning_rate"] > 0


def test_another_learning_rate_finds_the_compiled_code(digits: PreparedDataset) -> None:
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    space = find_space("mlp")
    kept = []
    for rate in (0.001, 0.002):
        config = {**space.default_config(), "learning_rate": rate, "learning_rate_schedule": "constant"}
        assert _trained(digits, space.build, config)[1].reason == "epochs"
        kept.append({one.name for one in cache.glob("*-cache")})
    assert kept[0]
    assert kept[1] == kept[0]


def test_a_killed_trial_goes_on_as_if_it_had_not_been(
    digits: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dense` normalises batches, drops out and adds noise; one checkpoint is due, after the first of two epochs."""
    monkeypatch.setattr(checkpoint, "_LOST_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_COST_SHARE", float("inf"))
    job = make_job(epochs=2, checkpoint_folder=tmp_path / "000000")
    whole, ended = run(job, dense, digits)
    assert ended.reason == "epochs", ended.message
    resumed, _ = run(job, dense, digits)
    assert resumed[0] == whole[0]  # reported as it was, not trained again
    assert resumed[1] != whole[1]
    assert curve(resumed)[1] == pytest.approx(curve(whole)[1], abs=1e-6)


def test_a_train_step_for_tensorflow_is_a_typed_failure(digits: PreparedDataset) -> None:
    def build(config: object, spec: Any) -> Any:
        import keras

        class OfTensorflow(keras.Model):
            def train_step(self, data: Any) -> Any:
                return super().train_step(data)

        inputs = keras.Input(spec.input_shape)
        return OfTensorflow(inputs, keras.layers.Dense(10, activation="softmax")(inputs))

    reports, result = _trained(digits, build, {"batch_size": 64})
    assert not reports
    assert result.reason == "crashed"
    assert "train_step" in result.message


def test_training_leaves_the_memory_that_others_read_alone(set_seed: Callable[[int], None], tmp_path: Path) -> None:
    """Rows are shared with a memory mapping, and the state is given away at every call: neither may be written to."""
    import keras

    set_seed(1)
    x = np.random.default_rng(0).normal(size=(70, 8)).astype("float32")
    y = (np.arange(70) % 3).astype("int32")
    inputs = keras.Input((8,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dropout(0.2)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    rows = ResidentRows([x], [y])
    loop, evaluator = TrainingLoop(model, rows, batch_size=32, seed=0), Evaluator(model, rows)
    loop.train_epoch(1)
    before, mapped = [keras.ops.convert_to_numpy(one) for one in model.variables], x.copy()
    copies = [one.copy() for one in before]
    evaluated = evaluator.evaluate()
    save_weights(model, tmp_path / "weights.npz")
    loop.train_epoch(2)
    for one, copy in zip(before, copies, strict=True):
        np.testing.assert_array_equal(one, copy)
    np.testing.assert_array_equal(x, mapped)
    load_weights(model, tmp_path / "weights.npz")
    assert evaluator.evaluate().loss == evaluated.loss
    loop.train_epoch(3)


def _numpy(variable: Any) -> Any:
    import keras

    return keras.ops.convert_to_numpy(variable)


_SPACES = {
    "linear": "array",
    "mlp": "two outputs",
    "cnn": "image",
    "resnet": "image",
    "tabular": "table",
    "text": "text",
}


@pytest.mark.parametrize("name", _SPACES)
def test_ready_made_spaces_train(name: str) -> None:
    space, spec = find_space(name), example_spec(_SPACES[name])
    config = space.walk(lambda _, leaf: leaf.values[-1] if isinstance(leaf, Choice) else leaf.low)
    model = build_model(space.build, config, 0, spec, 2)
    rows = ResidentRows(*rows_of(spec))
    before = [one.copy() for one in map(_numpy, model.trainable_variables)]
    sweep = TrainingLoop(model, rows, batch_size=64, seed=0).train_epoch(1)
    assert np.isfinite(sweep.loss)
    after = map(_numpy, model.trainable_variables)
    assert any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))
