"""The first and the last layers of a searched model, so that a builder need not know the dataset's inputs and tasks.

Only layers and operations that Keras has are used, so that a saved model loads without any code of this package.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, Task
from automl.errors import SpaceError, UnknownNameError

_CODES = (InputKind.CATEGORICAL, InputKind.TEXT)
_ONE_HOT_LIMIT = 64  # a wider one-hot vector gives the next layer more weights than an embedding needs
_LARGEST_EMBEDDING = 64
_BIGRAM_MULTIPLIER = 7919  # a prime: (a, b) and (b, a) fall into different buckets
_EPSILON = 1e-6

_ACTIVATIONS = {
    Task.REGRESSION: "linear",
    Task.BINARY: "sigmoid",
    Task.MULTICLASS: "softmax",
    Task.MULTILABEL: "sigmoid",
}


class Scaling(StrEnum):
    """How numbers may be scaled.

    `STANDARD`: mean 0 and deviation 1; `UNIT`: [0, 1]; `SYMMETRIC`: [-1, 1]; `CENTRED`: `UNIT` less its mean; `NONE`:
    the raw values. Rows beyond the range of the training rows go beyond these bounds.
    """

    STANDARD = "standard"
    UNIT = "unit"
    SYMMETRIC = "symmetric"
    CENTRED = "centred"
    NONE = "none"


def input_tensors(spec: DatasetSpec) -> tuple[Any, list[Any]]:
    """Return the model's input as Keras wants it, and the encoded inputs one by one.

    Args:
        spec: The dataset.

    Returns:
        What `keras.Model` takes as its inputs (a list where the dataset has several), and a list of one tensor an
        input, in the order of `spec.inputs`: shape (batch, *shape), int32 for categories and text, otherwise float32.

    Example:
        ```python
        inputs, tensors = input_tensors(spec)
        parts = [as_floats(x, one) for x, one in zip(tensors, spec.inputs)]
        ```
    """
    import keras

    tensors = [
        keras.Input(one.shape, dtype="int32" if one.kind in _CODES else "float32", name=name)
        for one, name in zip(spec.inputs, _input_names(spec), strict=True)
    ]
    return (tensors[0] if len(tensors) == 1 else tensors), tensors  # with a list of one, Keras would warn at each call


def input_layers(spec: DatasetSpec, *, scaling: str | None = None, text_units: int = 64) -> tuple[Any, Any]:
    """Return the model's input (a list where the dataset has several), and one float32 tensor that holds them all.

    Categories become one-hot vectors (embeddings where there are many), text becomes an embedded bag of words.

    Args:
        spec: The dataset.
        scaling: How numbers are scaled, as for `scale_input`; None leaves them as they are encoded.
        text_units: Width of what becomes of a text; see `text_bag`.

    Returns:
        What `keras.Model` takes as its inputs, and the tensor: shape (batch, *shape) where there is one input of
        numbers, pixels or an array; otherwise all values side by side, shape (batch, features).

    Raises:
        SpaceError: See `scale_input`.

    Example:
        ```python
        inputs, x = input_layers(spec)
        x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
        return keras.Model(inputs, output_layers(x, spec))
        ```
    """
    inputs, tensors = input_tensors(spec)
    parts = [
        as_floats(x, one, scaling=scaling, text_units=text_units) for x, one in zip(tensors, spec.inputs, strict=True)
    ]
    return inputs, parts[0] if len(parts) == 1 else side_by_side(parts)


def as_floats(x: Any, one: InputSpec, *, scaling: str | None = None, text_units: int = 64) -> Any:
    """Return one encoded input as floats.

    Args:
        x: The input, shape (batch, *one.shape).
        one: What it holds.
        scaling: How numbers are scaled, as for `scale_input`; None leaves them as they are encoded.
        text_units: Width of what becomes of a text; see `text_bag`.

    Returns:
        Shape (batch, *one.shape) for numbers, pixels and arrays, otherwise (batch, features); float32.

    Example:
        ```python
        inputs, tensors = input_tensors(spec)
        numbers = as_floats(tensors[0], spec.inputs[0], scaling="unit")
        ```
    """
    if one.kind is InputKind.CATEGORICAL:
        return embed_categories(x, one)
    if one.kind is InputKind.TEXT:
        return text_bag(x, one, units=text_units)
    return x if scaling is None else scale_input(x, one, scaling)


def side_by_side(parts: Sequence[Any]) -> Any:
    """Return tensors flattened and joined.

    Args:
        parts: Tensors, each of shape (batch, ...).

    Returns:
        Shape (batch, features).

    Example:
        ```python
        x = side_by_side([keras.layers.GlobalAveragePooling2D()(image), numbers])
        ```
    """
    import keras

    flat = [part if len(part.shape) == 2 else keras.layers.Flatten()(part) for part in parts]
    return flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)


def scale_input(x: Any, one: InputSpec, how: str) -> Any:
    """Return numbers on another scale, by the statistics of the training rows.

    Args:
        x: An input of kind `NUMERIC`, `IMAGE` or `ARRAY`, as it is encoded.
        one: What it holds.
        how: A `Scaling`, or its value.

    Returns:
        The tensor itself where nothing changes; otherwise a `Rescaling` of it.

    Raises:
        UnknownNameError: There is no such way to scale.
        SpaceError: The input holds no numbers, or comes without statistics.

    Example:
        ```python
        x = scale_input(x, spec.inputs[0], config["scaling"])
        ```
    """
    import keras

    _check_scaling(one, how)
    if how == (Scaling.STANDARD if one.pixel_scale is None else Scaling.UNIT):
        return x  # as it is encoded
    scale, offset = _scaling(one, how)
    if np.allclose(scale, 1.0, rtol=1e-6) and np.allclose(offset, 0.0, atol=1e-7):
        return x
    return keras.layers.Rescaling(_plain(scale), _plain(offset))(x)


def embed_categories(
    x: Any, one: InputSpec, *, one_hot_limit: int = _ONE_HOT_LIMIT, factor: float = 1.6, **arguments: Any
) -> Any:
    """Return columns of category codes as one-hot vectors, or as learned embeddings where there are many codes.

    Args:
        x: An input of kind `CATEGORICAL`, shape (batch, columns).
        one: What it holds.
        one_hot_limit: Columns of at most so many codes become one-hot vectors.
        factor: An embedding of n codes has `factor * n ** 0.56` values (the rule of fastai), at most 64.
        **arguments: Further arguments of each `keras.layers.Embedding`.

    Returns:
        All vectors side by side, shape (batch, features), float32.

    Example:
        ```python
        x = embed_categories(x, spec.inputs[0], one_hot_limit=16)
        ```
    """
    import keras

    columns = keras.ops.split(x, len(one.sizes), axis=-1) if len(one.sizes) > 1 else [x]
    vectors = []
    for codes, size in zip(columns, one.sizes, strict=True):
        width = min(_LARGEST_EMBEDDING, math.ceil(factor * size**0.56))
        if size <= one_hot_limit:
            vectors.append(keras.ops.one_hot(codes, size, dtype="float32"))
        else:
            vectors.append(keras.layers.Embedding(size, width, **arguments)(codes))
    return side_by_side(vectors)


def text_bag(x: Any, one: InputSpec, *, units: int, bigram_buckets: int = 0, **arguments: Any) -> Any:
    """Return what a dense layer makes of the TF-IDF vector of each text.

    A word counts once a text, however often it is said (for sentiment that is the better choice: Pang, Lee and
    Vaithyanathan, 2002, section 6.1), with its inverse document frequency, and texts have length 1. The dense layer is
    a sum of embeddings, so that the long vector is never made.

    Args:
        x: An input of kind `TEXT`, shape (batch, tokens).
        one: What it holds.
        units: Width of the dense layer.
        bigram_buckets: Pairs of neighbours, hashed into so many buckets, are added to `units` values (Joulin et al.,
            2017, section 2.3); 0 for none.
        **arguments: Further arguments of the `keras.layers.Embedding`s.

    Returns:
        Shape (batch, units), float32.

    Example:
        ```python
        x = text_bag(x, spec.inputs[0], units=64, bigram_buckets=2**15)
        ```
    """
    import keras

    words = keras.ops.sort(x, axis=-1)
    weights = _unit_length(_first_of_each(words) * _token_weights(words, one))
    bag = _weighted_sum(weights, keras.layers.Embedding(one.sizes[0], units, **arguments)(words))
    if not bigram_buckets or one.shape[0] < 2:
        return bag
    pairs = keras.ops.sort(_bigrams(x, bigram_buckets), axis=-1)
    weights = _unit_length(_first_of_each(pairs))
    return bag + _weighted_sum(weights, keras.layers.Embedding(bigram_buckets + 1, units, **arguments)(pairs))


def output_layers(x: Any, spec: DatasetSpec, **arguments: Any) -> Any:
    """Return the model's output (a list where the dataset has several): a dense layer that fits each task.

    Args:
        x: Features, shape (batch, features), that all outputs share; or a list of such, one an output.
        spec: The dataset.
        **arguments: Further arguments of each `keras.layers.Dense`, such as `kernel_regularizer`. They compute in
            single precision, whatever the other layers do.

    Returns:
        Probabilities of shape (batch, classes) for multiclass (softmax), (batch, 1) for binary and (batch, labels) for
        multilabel (sigmoid); scaled values of shape (batch, units) for regression (linear).

    Example:
        ```python
        return keras.Model(inputs, output_layers(x, spec))
        ```
    """
    features = x if isinstance(x, list) else [x] * len(spec.outputs)
    parts = zip(spec.outputs, _output_names(spec), features, strict=True)
    heads = [_head(output, name, arguments)(one) for output, name, one in parts]
    return heads[0] if len(heads) == 1 else heads


def _head(output: OutputSpec, name: str, arguments: dict[str, Any]) -> Any:
    import keras

    return keras.layers.Dense(
        output.units, activation=_ACTIVATIONS[output.task], name=name, **{"dtype": "float32", **arguments}
    )


def _input_names(spec: DatasetSpec) -> list[str]:
    # A column may be called "price/m2", which Keras refuses, or "dense", which is the name of another layer.
    return unique_names(one.name if one.name == "input" else f"{one.name}_input" for one in spec.inputs)


def _output_names(spec: DatasetSpec) -> list[str]:
    inputs = _input_names(spec)
    return unique_names([*inputs, *(f"{one.name}_output" for one in spec.outputs)])[len(inputs) :]


def output_keys(spec: DatasetSpec) -> list[str]:
    """Return what the outputs of a final model are called, where it has several."""
    return unique_names(one.name for one in spec.outputs)


def unique_names(names: Iterable[str]) -> list[str]:
    """Return names that Keras takes, close to the given ones and each once."""
    unique: dict[str, None] = {}
    for name in names:
        plain = candidate = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        number = 1
        while candidate in unique:
            number += 1
            candidate = f"{plain}_{number}"
        unique[candidate] = None
    return list(unique)


def _check_scaling(one: InputSpec, how: str) -> None:
    known = [scaling.value for scaling in Scaling]
    if how not in known:
        raise UnknownNameError("input scaling", how, known)
    if one.kind in _CODES:
        raise SpaceError(f"input {one.name!r} holds {one.kind.value} codes, which cannot be scaled: embed them")


def _scaling(one: InputSpec, how: str) -> tuple[Any, Any]:
    """Return (scale, offset): what an encoded value is multiplied by, and what is then added."""
    if not (one.mean and one.deviation and one.low and one.high):
        raise SpaceError(f"input {one.name!r} has no statistics to scale by: prepare the dataset again")
    mean, deviation, low, high = map(np.asarray, (one.mean, one.deviation, one.low, one.high))
    spread = np.where(high > low, high - low, 1.0)
    start, unit = {  # the raw value that becomes 0, and the raw distance that becomes 1
        "standard": (mean, deviation),
        "unit": (low, spread),
        "symmetric": ((low + high) / 2, spread / 2),
        "centred": (mean, spread),
        "none": (np.zeros_like(mean), np.ones_like(mean)),
    }[how]
    if one.pixel_scale is not None:
        start, unit = _pixel_scaling(one, how, start, unit)
        return one.pixel_scale / unit, -start / unit
    return deviation / unit, (mean - start) / unit


def _pixel_scaling(one: InputSpec, how: str, start: Any, unit: Any) -> tuple[Any, Any]:
    """Return the same for pixels, whose range is known: it is the same in every dataset."""
    brightest = np.full_like(start, one.pixel_scale or 1.0)
    if how == "symmetric":
        return brightest / 2, brightest / 2
    return start, brightest if how == "centred" else unit


def _plain(values: Any) -> Any:
    """Return one number where all are equal, otherwise a list: both can be saved with a layer."""
    numbers = [float(value) for value in np.ravel(values)]
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _first_of_each(words: Any) -> Any:
    """Return 1.0 where a token of sorted texts differs from the one before it and is no padding, else 0.0."""
    import keras

    before = keras.ops.pad(words[:, :-1], [[0, 0], [1, 0]])
    return keras.ops.cast(keras.ops.not_equal(words, before), "float32")  # padding (0) comes first and equals the pad


def _token_weights(words: Any, one: InputSpec) -> Any:
    import keras

    if not one.token_weights:
        return 1.0
    lookup = keras.layers.Embedding(one.sizes[0], 1, trainable=False)
    lookup.build()
    lookup.set_weights([np.asarray(one.token_weights, "float32").reshape(-1, 1)])
    return keras.ops.squeeze(lookup(words), axis=-1)


def _unit_length(weights: Any) -> Any:
    import keras

    length = keras.ops.sqrt(keras.ops.sum(weights * weights, axis=-1, keepdims=True))
    return weights / keras.ops.maximum(length, _EPSILON)


def _weighted_sum(weights: Any, vectors: Any) -> Any:
    """Return the sum over tokens: weights (batch, tokens), vectors (batch, tokens, units)."""
    import keras

    return keras.ops.squeeze(keras.ops.matmul(keras.ops.expand_dims(weights, 1), vectors), axis=1)


def _bigrams(x: Any, buckets: int) -> Any:
    """Return a bucket, from 1, of each pair of neighbours; 0 where one of them is padding."""
    import keras

    first, second = x[:, :-1], x[:, 1:]
    hashed = (first * _BIGRAM_MULTIPLIER + second) % buckets + 1
    return keras.ops.where(keras.ops.equal(first * second, 0), 0, hashed)
