"""The contract of search spaces: whatever config a space can propose becomes a model that trains, saves and loads.

Run it over a space of your own with `probes(space)` and `check_config(space, config, spec, folder)`; it needs keras.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from automl import Choice, DatasetSpec, SearchSpace, Task
from automl.dataset_spec import InputKind, InputSpec, OutputSpec
from automl.parameters import Leaf
from automl.records import Config
from automl.training.trainer import build_model

_ROWS = 8


def probes(space: SearchSpace, *, random_configs: int = 3) -> dict[str, Config]:
    """Return configs worth a try: the default, the corners of the space, and some at random."""

    def lowest(_: str, parameter: Leaf) -> Any:
        return parameter.values[0] if isinstance(parameter, Choice) else parameter.low

    def highest(_: str, parameter: Leaf) -> Any:
        return parameter.values[-1] if isinstance(parameter, Choice) else parameter.high

    drawn = {f"random {seed}": space.random_config(random.Random(seed)) for seed in range(random_configs)}
    return {"default": space.default_config(), "lows": space.walk(lowest), "highs": space.walk(highest), **drawn}


def every_choice(space: SearchSpace) -> list[Config]:
    """Return configs that together hold every value of every top-level choice, conditions included."""
    choices = [parameter for parameter in space.parameters if isinstance(parameter, Choice)]
    longest = max((len(choice.values) for choice in choices), default=0)

    def at(index: int) -> Config:
        return space.walk(
            lambda _, leaf: leaf.values[index % len(leaf.values)] if isinstance(leaf, Choice) else leaf.default
        )

    return [at(index) for index in range(longest)]


def make_spec(task: Task, shape: tuple[int, ...], *, units: int, name: str = "target") -> DatasetSpec:
    """Return the spec of a dataset of one input and one output."""
    kind = InputKind.IMAGE if len(shape) == 3 else InputKind.NUMERIC
    scales = (1.0,) * units if task is Task.REGRESSION else ()
    return DatasetSpec(
        name="contract",
        inputs=(InputSpec(name="input", kind=kind, shape=shape, raw_shape=shape),),
        outputs=(OutputSpec(name=name, task=task, units=units, offset=scales, scale=scales),),
        train_rows=100,
        validation_rows=20,
        test_rows=20,
        fingerprint="contract",
    )


def rows_of(spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and targets as a prepared dataset would hold them."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(_ROWS, *spec.input_shape)).astype("float32")
    units = spec.output.units
    if spec.task is Task.MULTICLASS:
        return x, (np.arange(_ROWS) % units).astype("int32")
    if spec.task is Task.REGRESSION:
        return x, generator.normal(size=(_ROWS, units)).astype("float32")
    return x, generator.integers(0, 2, size=(_ROWS, units)).astype("float32")


def check_config(space: SearchSpace, config: Config, spec: DatasetSpec, folder: Path) -> None:
    """Check that a config builds, fits the dataset, trains one step, and predicts the same once saved and loaded."""
    import keras

    space.validate(config)
    assert json.loads(json.dumps(config)) == config, "a config is JSON"
    before = copy.deepcopy(config)
    model = build_model(space.build, config, 0, spec, 2)
    assert config == before, "build changes nothing in its config"
    _check_predictions(model, spec)
    _check_training(model, spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # of TensorFlow with numpy 2
        model.save(folder / "model.keras")
    x, _ = rows_of(spec)
    loaded = keras.saving.load_model(folder / "model.keras")
    np.testing.assert_allclose(_predict(loaded, x), _predict(model, x), rtol=1e-5, atol=1e-6)


def check_seed(space: SearchSpace, spec: DatasetSpec) -> None:
    """Check that a model's weights come from the seed and from nothing else."""
    config = space.default_config()
    first, again, other = (build_model(space.build, config, seed, spec, 2).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def _predict(model: Any, x: np.ndarray) -> np.ndarray:
    predicted: np.ndarray = model(x, training=False).numpy()
    return predicted


def _check_predictions(model: Any, spec: DatasetSpec) -> None:
    predicted = _predict(model, rows_of(spec)[0])
    assert predicted.shape == (_ROWS, spec.output.units)
    assert np.isfinite(predicted).all()
    if spec.task is not Task.REGRESSION:
        assert ((predicted >= 0) & (predicted <= 1)).all()
    if spec.task is Task.MULTICLASS:
        np.testing.assert_allclose(predicted.sum(axis=1), 1.0, rtol=1e-4)


def _check_training(model: Any, spec: DatasetSpec) -> None:
    x, y = rows_of(spec)
    before = [variable.numpy() for variable in model.trainable_variables]
    assert before, "a model has something to train"
    model.optimizer.build(model.trainable_variables)
    loss = float(model.train_step((x, y))["loss"])  # eager: tracing would take ten times as long
    after = [variable.numpy() for variable in model.trainable_variables]
    assert np.isfinite(loss)
    assert all(np.isfinite(one).all() for one in after)
    assert any(not np.array_equal(one, two) for one, two in zip(before, after, strict=True)), "a step changes weights"
