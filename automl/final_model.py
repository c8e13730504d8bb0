"""The final model: raw rows in, encodings as Keras layers, the searched model, the target's units out.

Runs in a worker, which owns keras. Only standard layers and `keras.ops` are used, so that the saved file loads
anywhere, in safe mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from automl.data import (
    ArrayEncoding,
    CategoriesEncoding,
    Encoding,
    EncodingKind,
    NumbersEncoding,
    PreparedDataset,
    TextEncoding,
)
from automl.data.encoding import UNKNOWN_CODE
from automl.dataset_spec import OutputSpec, Task
from automl.layers import output_keys, unique_names

_NOTHING = " "  # Keras takes no empty vocabulary, which a column has that is missing in every training row


def final_model(model: Any, prepared: PreparedDataset) -> Any:
    """Return a model of raw rows.

    Args:
        model: A trained model of encoded rows.
        prepared: The dataset whose encodings it was trained on.

    Returns:
        A `keras.Model`. It takes one tensor where the dataset has one raw input, otherwise a dict by name of raw input;
        it gives one tensor where there is one output, otherwise a dict by `output_keys`.
    """
    import keras

    spec = prepared.spec
    inputs = {one.name: keras.Input(one.shape, name=one.name, dtype=one.dtype) for one in spec.raw_inputs}
    by_column = {column.name: inputs[one.name] for column, one in zip(spec.columns, spec.raw_inputs, strict=False)}
    names = _Names(inputs)
    encoded = [_encode(encoding, inputs, by_column, names) for encoding in prepared.encodings]
    # The layers alone, without optimizer, loss and a class of the user's own: the file loads anywhere and silently.
    searched = keras.Model(model.inputs, model.outputs, name=names.free(model.name))
    decoded = [_decode(one, output, names) for one, output in zip(searched(encoded), spec.outputs, strict=True)]
    return keras.Model(
        inputs if len(inputs) > 1 else next(iter(inputs.values())),
        dict(zip(output_keys(spec), decoded, strict=True)) if len(decoded) > 1 else decoded[0],
        name="final_model",
    )


class _Names:
    """Names of layers that no raw input has: a column may be called "normalization", and Keras takes each name once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = list(taken)

    def free(self, wanted: str) -> str:
        """Return the wanted name, numbered where it is taken, and take it."""
        self._taken = unique_names([*self._taken, wanted])
        return self._taken[-1]


def _encode(encoding: Encoding, inputs: Mapping[str, Any], by_column: Mapping[str, Any], names: _Names) -> Any:
    match encoding:
        case ArrayEncoding():
            return _encode_array(next(iter(inputs.values())), encoding, names)
        case NumbersEncoding():
            return _encode_numbers(by_column, encoding, names)
        case CategoriesEncoding():
            return _encode_categories(by_column, encoding, names)
        case TextEncoding():
            return _encode_text(by_column[encoding.column], encoding, names)


def _encode_array(x: Any, encoding: ArrayEncoding, names: _Names) -> Any:
    import keras

    if encoding.shape != encoding.raw_shape:
        x = keras.layers.Reshape(encoding.shape)(x)
    if encoding.kind is EncodingKind.RESCALE:
        return keras.layers.Rescaling(1 / encoding.pixel_scale, name=names.free("rescaling"))(x)
    if len(encoding.mean) == 1:
        mean, variance = encoding.mean[0], encoding.variance[0]
        return keras.layers.Normalization(axis=None, mean=mean, variance=variance, name=names.free("normalization"))(x)
    return _normalization(encoding, names)(x)


def _normalization(encoding: ArrayEncoding | NumbersEncoding, names: _Names) -> Any:
    import keras

    mean, variance = list(encoding.mean), list(encoding.variance)
    return keras.layers.Normalization(axis=-1, mean=mean, variance=variance, name=names.free("normalization"))


def _encode_numbers(columns: Mapping[str, Any], encoding: NumbersEncoding, names: _Names) -> Any:
    """Standardise; put the mean, which is 0 by then, where numbers are missing; flag the columns that had some."""
    import keras

    raw = _side_by_side([columns[name] for name in encoding.columns], names)
    x = keras.ops.nan_to_num(_normalization(encoding, names)(raw), nan=0.0)
    flags = [keras.ops.cast(keras.ops.isnan(columns[name]), "float32") for name in encoding.flagged]
    return _side_by_side([x, *flags], names)


def _encode_categories(columns: Mapping[str, Any], encoding: CategoriesEncoding, names: _Names) -> Any:
    import keras

    codes = [
        _codes(columns[name], vocabulary, names)
        for name, vocabulary in zip(encoding.columns, encoding.vocabularies, strict=True)
    ]
    return keras.ops.cast(_side_by_side(codes, names), "int32")


def _codes(text: Any, vocabulary: Sequence[str], names: _Names) -> Any:
    import keras

    lookup = keras.layers.StringLookup(
        vocabulary=list(vocabulary) or [_NOTHING], mask_token="", num_oov_indices=1, name=names.free("string_lookup")
    )
    return lookup(text) if vocabulary else keras.ops.minimum(lookup(text), UNKNOWN_CODE)


def _encode_text(text: Any, encoding: TextEncoding, names: _Names) -> Any:
    import keras

    vectors = keras.layers.TextVectorization(
        vocabulary=list(encoding.vocabulary) or [_NOTHING],
        output_mode="int",
        output_sequence_length=encoding.length,
        name=names.free("text_vectorization"),
    )
    return keras.ops.cast(vectors(text), "int32")


def _side_by_side(parts: list[Any], names: _Names) -> Any:
    import keras

    return parts[0] if len(parts) == 1 else keras.layers.Concatenate(name=names.free("concatenate"))(parts)


def _decode(y: Any, output: OutputSpec, names: _Names) -> Any:
    import keras

    if output.task is not Task.REGRESSION:
        return y
    return keras.layers.Rescaling(list(output.scale), offset=list(output.offset), name=names.free("target_units"))(y)
