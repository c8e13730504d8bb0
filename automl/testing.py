"""The contract of search spaces: whatever config a space can propose becomes a model that trains, saves and loads.

Run it over a space of your own, on data like yours; it needs keras:

```python
for config in probes(space).values():
    check_config(space, config, example_spec("table"), tmp_path)
```
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from automl.data.raw import Array
from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.errors import UnknownNameError
from automl.parameters import Choice, Leaf
from automl.records import Config
from automl.search_space import SearchSpace
from automl.training.assemble import build_model

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
    """Return configs that together hold every value of every top-level choice that is always active."""
    choices = [parameter for parameter in space.parameters if isinstance(parameter, Choice)]
    longest = max((len(choice.values) for choice in choices), default=0)

    def at(index: int) -> Config:
        return space.walk(
            lambda _, leaf: leaf.values[index % len(leaf.values)] if isinstance(leaf, Choice) else leaf.default
        )

    return [at(index) for index in range(longest)]


def numeric_input(columns: int, *, name: str = "input") -> InputSpec:
    """Return an input of standardised columns."""
    return InputSpec(
        name=name,
        kind=InputKind.NUMERIC,
        shape=(columns,),
        mean=tuple(range(columns)),
        deviation=(2.0,) * columns,
        low=(-5.0,) * columns,
        high=(50.0,) * columns,
    )


def image_input(*shape: int, name: str = "input", pixel_scale: float | None = 255.0) -> InputSpec:
    """Return an input of images (height, width, channels)."""
    statistics: dict[str, Any] = {"mean": (99.0,), "deviation": (50.0,), "low": (0.0,), "high": (240.0,)}
    return InputSpec(name=name, kind=InputKind.IMAGE, shape=shape, pixel_scale=pixel_scale, **statistics)


def array_input(*shape: int, name: str = "input") -> InputSpec:
    """Return an input of arrays of any shape."""
    statistics: dict[str, Any] = {"mean": (1.0,), "deviation": (2.0,), "low": (-5.0,), "high": (5.0,)}
    return InputSpec(name=name, kind=InputKind.ARRAY, shape=shape, **statistics)


def categorical_input(*sizes: int, name: str = "categories") -> InputSpec:
    """Return an input of columns with so many codes each."""
    return InputSpec(name=name, kind=InputKind.CATEGORICAL, shape=(len(sizes),), sizes=sizes)


def text_input(tokens: int, *, vocabulary: int = 20, name: str = "text") -> InputSpec:
    """Return an input of texts."""
    weights = (0.0, *(1.0 + index / vocabulary for index in range(1, vocabulary)))
    return InputSpec(name=name, kind=InputKind.TEXT, shape=(tokens,), sizes=(vocabulary,), token_weights=weights)


def make_output(task: Task, *, units: int = 1, name: str = "target") -> OutputSpec:
    """Return an output of a task."""
    scales = (1.0,) * units if task is Task.REGRESSION else ()
    return OutputSpec(name=name, task=task, units=units, offset=scales, scale=scales)


def make_spec(*inputs: InputSpec, outputs: tuple[OutputSpec, ...]) -> DatasetSpec:
    """Return the spec of a small dataset."""
    return DatasetSpec(
        name="contract",
        raw_inputs=tuple(RawInput(name=one.name, dtype="float32", shape=one.shape) for one in inputs),
        inputs=inputs,
        outputs=outputs,
        train_rows=100,
        validation_rows=20,
        test_rows=20,
        fingerprint="contract",
    )


def example_spec(kind: str) -> DatasetSpec:
    """Return the spec of a small dataset of a kind: `numbers`, `image`, `array`, `table`, `text` or `two outputs`.

    Raises:
        UnknownNameError: There is no such kind.
    """
    classes, binary = make_output(Task.MULTICLASS, units=4), make_output(Task.BINARY)
    table = (numeric_input(3, name="numbers"), categorical_input(3, 90), text_input(6))
    both = (make_output(Task.REGRESSION, name="price"), make_output(Task.BINARY, name="sold"))
    specs = {
        "numbers": make_spec(numeric_input(5), outputs=(classes,)),
        "image": make_spec(image_input(8, 8, 1), outputs=(classes,)),
        "array": make_spec(array_input(4, 3), outputs=(classes,)),
        "table": make_spec(*table, outputs=(binary,)),
        "text": make_spec(text_input(7), outputs=(binary,)),
        "two outputs": make_spec(*table, outputs=both),
    }
    if kind not in specs:
        raise UnknownNameError("kind of data", kind, specs)
    return specs[kind]


def rows_of(spec: DatasetSpec) -> tuple[list[Array], list[Array]]:
    """Return eight rows as a prepared dataset would hold them: an array an input, and one an output."""
    generator = np.random.default_rng(0)
    return [_input_rows(one, generator) for one in spec.inputs], [_targets(one, generator) for one in spec.outputs]


def check_config(space: SearchSpace, config: Config, spec: DatasetSpec, folder: Path) -> None:
    """Check that a config builds, fits the dataset, trains one step, and predicts the same once saved and loaded.

    Args:
        space: The space.
        config: One of its points.
        spec: The dataset.
        folder: Where the model is saved.

    Raises:
        AssertionError: The contract is broken; the message says how.
        TrialFailure: The model cannot be built, or does not fit the dataset.
    """
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
    loaded = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    inputs, _ = rows_of(spec)
    for again, first in zip(_predict(loaded, inputs), _predict(model, inputs), strict=True):
        np.testing.assert_allclose(again, first, rtol=1e-5, atol=1e-6)


def check_seed(space: SearchSpace, spec: DatasetSpec) -> None:
    """Check that a model's weights come from the seed and from nothing else."""
    config = space.default_config()
    first, again, other = (build_model(space.build, config, seed, spec, 2).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def _input_rows(one: InputSpec, generator: np.random.Generator) -> Array:
    if one.kind is InputKind.CATEGORICAL:
        return np.stack([generator.integers(0, size, _ROWS) for size in one.sizes], axis=1).astype("int32")
    if one.kind is InputKind.TEXT:
        rows = generator.integers(1, one.sizes[0], size=(_ROWS, *one.shape)).astype("int32")
        rows[0] = 0  # an empty text
        rows[1, one.shape[0] // 2 :] = 0
        return rows
    values = generator.normal(size=(_ROWS, *one.shape)).astype("float32")
    return np.clip(np.abs(values), 0, 1) if one.pixel_scale is not None else values


def _targets(one: OutputSpec, generator: np.random.Generator) -> Array:
    if one.task is Task.MULTICLASS:
        classes = (np.arange(_ROWS) % one.units).astype("int32")
        classes[-1] = 0  # not one like the other, else nothing pulls at a bias
        return classes
    if one.task is Task.REGRESSION:
        return generator.normal(size=(_ROWS, one.units)).astype("float32")
    return generator.integers(0, 2, size=(_ROWS, one.units)).astype("float32")


def _bare(values: list[Array]) -> Any:
    return values[0] if len(values) == 1 else values


def _predict(model: Any, inputs: list[Array]) -> list[Array]:
    predicted = model(_bare(inputs), training=False)
    return [one.numpy() for one in (predicted if isinstance(predicted, list | tuple) else [predicted])]


def _check_predictions(model: Any, spec: DatasetSpec) -> None:
    for predicted, output in zip(_predict(model, rows_of(spec)[0]), spec.outputs, strict=True):
        assert predicted.shape == (_ROWS, output.units)
        assert np.isfinite(predicted).all()
        if output.task is not Task.REGRESSION:
            assert ((predicted >= 0) & (predicted <= 1)).all()
        if output.task is Task.MULTICLASS:
            np.testing.assert_allclose(predicted.sum(axis=1), 1.0, rtol=1e-4)


def _check_training(model: Any, spec: DatasetSpec) -> None:
    inputs, targets = rows_of(spec)
    before = [variable.numpy() for variable in model.trainable_variables]
    assert before, "a model has something to train"
    model.optimizer.build(model.trainable_variables)
    loss = float(model.train_step((_bare(inputs), _bare(targets)))["loss"])  # eager: tracing takes ten times as long
    after = [variable.numpy() for variable in model.trainable_variables]
    assert np.isfinite(loss)
    assert all(np.isfinite(one).all() for one in after)
    assert any(not np.array_equal(one, two) for one, two in zip(before, after, strict=True)), "a step changes weights"
