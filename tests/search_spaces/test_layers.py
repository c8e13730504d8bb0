from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl import SpaceError, Task, UnknownNameError, find_space
from automl.layers import Scaling, embed_categories, input_layers, input_tensors, output_layers, scale_input, text_bag
from automl.testing import (
    array_input,
    categorical_input,
    check_config,
    example_spec,
    image_input,
    make_output,
    make_spec,
    numeric_input,
    text_input,
)

RAW = np.array([[2.0, 10.0], [4.0, 30.0], [6.0, 20.0]])
NUMBERS = replace(numeric_input(2), mean=(4.0, 20.0), deviation=(2.0, 10.0), low=(2.0, 10.0), high=(6.0, 30.0))
BINARY = (make_output(Task.BINARY),)


def apply(one: Any, make: Any, rows: Any) -> Any:
    """Return what layers make of rows of one input."""
    import keras

    inputs, (x,) = input_tensors(make_spec(one, outputs=BINARY))
    return keras.Model(inputs, make(x))(rows).numpy()


@pytest.mark.parametrize("column", ["price/m2", "dense", "two words", "été", "", "input"])
def test_any_column_can_be_the_target_or_an_input(column: str, tmp_path: Path) -> None:
    space = find_space("mlp")
    for spec in (
        make_spec(numeric_input(4), outputs=(make_output(Task.REGRESSION, name=column),)),
        make_spec(text_input(4, name=column), numeric_input(2, name=column + " "), outputs=BINARY),
    ):
        check_config(space, space.default_config(), spec, tmp_path)


def test_names_that_become_one_are_told_apart(tmp_path: Path) -> None:
    outputs = tuple(make_output(Task.BINARY, name=name) for name in ("a/b", "a b", "a_b"))
    inputs = (numeric_input(2, name="x/y"), numeric_input(2, name="x y"))
    space = find_space("linear")
    check_config(space, space.default_config(), make_spec(*inputs, outputs=outputs), tmp_path)


def test_several_inputs_become_one_tensor_and_several_outputs_a_list() -> None:
    image, table = image_input(8, 8, 1, name="image"), example_spec("table").inputs
    spec = make_spec(
        image, *table, outputs=(make_output(Task.MULTICLASS, units=10), make_output(Task.BINARY, name="b"))
    )
    inputs, x = input_layers(spec, text_units=5)
    assert [tuple(one.shape) for one in inputs] == [(None, 8, 8, 1), (None, 3), (None, 2), (None, 6)]
    assert [one.dtype for one in inputs] == ["float32", "float32", "int32", "int32"]
    assert tuple(x.shape) == (None, 64 + 3 + (3 + 20) + 5)  # 90 categories are embedded in 20 values
    heads = output_layers(x, spec, kernel_initializer="zeros")
    assert [tuple(one.shape) for one in heads] == [(None, 10), (None, 1)]


@pytest.mark.parametrize("one", [image_input(8, 8, 1), array_input(4, 3), numeric_input(5)])
def test_a_single_input_of_numbers_keeps_its_shape_and_values(one: Any) -> None:
    spec = make_spec(one, outputs=BINARY)
    inputs, x = input_layers(spec)
    assert x is inputs
    assert tuple(x.shape) == (None, *one.shape)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("standard", [[-1, -1], [0, 1], [1, 0]]),
        ("unit", [[0, 0], [0.5, 1], [1, 0.5]]),
        ("symmetric", [[-1, -1], [0, 1], [1, 0]]),
        ("centred", [[-0.5, -0.5], [0, 0.5], [0.5, 0]]),
        ("none", RAW),
    ],
)
def test_numbers_are_scaled_by_the_statistics_of_their_raw_values(how: str, expected: Any) -> None:
    encoded = ((RAW - [4, 20]) / [2, 10]).astype("float32")
    np.testing.assert_allclose(apply(NUMBERS, lambda x: scale_input(x, NUMBERS, how), encoded), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("standard", (255 - 99) / 50),
        ("unit", 1.0),
        ("symmetric", 1.0),
        ("centred", 1 - 99 / 255),
        ("none", 255.0),
    ],
)
def test_the_brightest_pixel_is_where_its_scale_says(how: str, expected: float) -> None:
    one = image_input(1, 1, 1)
    scaled = apply(one, lambda x: scale_input(x, one, how), np.ones((1, 1, 1, 1), "float32"))
    np.testing.assert_allclose(scaled.item(), expected, rtol=1e-6)


def test_nothing_is_added_where_nothing_changes() -> None:
    for one, how in [(numeric_input(3), "standard"), (image_input(2, 2, 1), "unit"), (array_input(2), "standard")]:
        _, (x,) = input_tensors(make_spec(one, outputs=BINARY))
        assert scale_input(x, one, how) is x


def test_a_column_of_equal_values_can_be_scaled_in_every_way() -> None:
    one = replace(numeric_input(1), mean=(3.0,), deviation=(1.0,), low=(3.0,), high=(3.0,))
    for how in Scaling:
        assert np.isfinite(apply(one, lambda x, how=how: scale_input(x, one, how), np.zeros((1, 1), "float32"))).all()


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown input scaling 'units'; did you mean 'unit'"):
        scale_input(None, numeric_input(1), "units")
    with pytest.raises(SpaceError, match="holds text codes, which cannot be scaled"):
        scale_input(None, text_input(3), "unit")
    with pytest.raises(SpaceError, match="has no statistics to scale by"):
        scale_input(None, replace(numeric_input(1), mean=()), "unit")


def test_few_categories_are_one_hot_and_many_embedded() -> None:
    one = categorical_input(3, 2)
    vectors = apply(one, lambda x: embed_categories(x, one), np.array([[2, 0], [0, 1]], "int32"))
    np.testing.assert_array_equal(vectors, [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]])
    embedded = apply(one, lambda x: embed_categories(x, one, one_hot_limit=0), np.array([[2, 0], [0, 1]], "int32"))
    assert embedded.shape == (2, 3 + 3)


def test_a_bag_is_the_dense_layer_of_the_tf_idf_vector() -> None:
    one = text_input(5, vocabulary=4)
    tokens = np.array([[2, 3, 2, 0, 0], [0, 0, 0, 0, 0]], "int32")
    bag = apply(one, lambda x: text_bag(x, one, units=3, embeddings_initializer="ones"), tokens)
    weights = np.array([one.token_weights[2], one.token_weights[3]])
    np.testing.assert_allclose(bag[0], np.full(3, weights.sum() / np.linalg.norm(weights)), rtol=1e-5)
    np.testing.assert_array_equal(bag[1], 0)


def test_bigrams_know_the_order_of_words() -> None:
    one = text_input(3, vocabulary=9)
    tokens = np.array([[2, 3, 4], [4, 3, 2], [2, 3, 4]], "int32")
    single = apply(one, lambda x: text_bag(x, one, units=3), tokens)
    pairs = apply(one, lambda x: text_bag(x, one, units=3, bigram_buckets=64), tokens)
    np.testing.assert_allclose(single[0], single[1], rtol=1e-5)
    assert not np.allclose(pairs[0], pairs[1])
    np.testing.assert_allclose(pairs[0], pairs[2])


def test_the_weights_of_words_are_not_trained() -> None:
    import keras

    inputs, x = input_layers(example_spec("text"))
    model = keras.Model(inputs, output_layers(x, example_spec("text")))
    assert [tuple(variable.shape) for variable in model.non_trainable_variables] == [(20, 1)]
