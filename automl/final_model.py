"""The final model: raw rows in, encodings as Keras layers, the searched model, the target's units out.

Runs in a worker, which owns keras. Only standard layers and `keras.ops` are used, so that the saved file loads
anywhere, in safe mode.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from automl.dataset_spec import OutputSpec, Task
from automl.layers import keras_name


def final_model(model: Any, prepared: PreparedDataset) -> Any:
    """Return a model of raw rows.

    Args:
        model: A trained model of encoded rows.
        prepared: The dataset whose encodings it was trained on.

    Returns:
        A `keras.Model`. It takes one tensor where the dataset has one raw input, otherwise a dict by name of raw input;
        it gives one tensor where there is one output, otherwise a dict by name of output.
    """
    import keras

    spec = prepared.spec
    inputs = {one.name: keras.Input(one.shape, name=one.name, dtype=one.dtype) for one in spec.raw_inputs}
    by_column = {column.name: inputs[one.name] for column, one in zip(spec.columns, spec.raw_inputs, strict=False)}
    encoded = [_encode(encoding, inputs, by_column) for encoding in prepared.encodings]
    # The layers alone, without optimizer, loss and a class of the user's own: the file loads anywhere and silently.
    searched = keras.Model(model.inputs, model.outputs, name=model.name)
    decoded = [_decode(one, output) for one, output in zip(searched(encoded), spec.outputs, strict=True)]
    names = [keras_name(output.name) for output in spec.outputs]
    return keras.Model(
        inputs if len(inputs) > 1 else next(iter(inputs.values())),
        dict(zip(names, decoded, strict=True)) if len(decoded) > 1 else decoded[0],
        name="final_model",
    )


def _encode(encoding: Encoding, inputs: Mapping[str, Any], by_column: Mapping[str, Any]) -> Any:
    match encoding:
        case ArrayEncoding():
            return _encode_array(next(iter(inputs.values())), encoding)
        case NumbersEncoding():
            return _encode_numbers(by_column, encoding)
        case CategoriesEncoding():
            return _encode_categories(by_column, encoding)
        case TextEncoding():
            return _encode_text(by_column[encoding.column], encoding)


def _encode_array(x: Any, encoding: ArrayEncoding) -> Any:
    import keras

    if encoding.shape != encoding.raw_shape:
        x = keras.layers.Reshape(encoding.shape)(x)
    if encoding.kind is EncodingKind.RESCALE:
        return keras.layers.Rescaling(1 / encoding.pixel_scale)(x)
    if len(encoding.mean) == 1:
        return keras.layers.Normalization(axis=None, mean=encoding.mean[0], variance=encoding.variance[0])(x)
    return keras.layers.Normalization(axis=-1, mean=list(encoding.mean), variance=list(encoding.variance))(x)


def _encode_numbers(columns: Mapping[str, Any], encoding: NumbersEncoding) -> Any:
    """Standardise; put the mean, which is 0 by then, where numbers are missing; flag the columns that had some."""
    import keras

    raw = _side_by_side([columns[name] for name in encoding.columns])
    x = keras.layers.Normalization(axis=-1, mean=list(encoding.mean), variance=list(encoding.variance))(raw)
    x = keras.ops.nan_to_num(x, nan=0.0)
    flags = [keras.ops.cast(keras.ops.isnan(columns[name]), "float32") for name in encoding.flagged]
    return _side_by_side([x, *flags])


def _encode_categories(columns: Mapping[str, Any], encoding: CategoriesEncoding) -> Any:
    import keras

    codes = [
        keras.layers.StringLookup(vocabulary=list(vocabulary), mask_token="", num_oov_indices=1)(columns[name])
        for name, vocabulary in zip(encoding.columns, encoding.vocabularies, strict=True)
    ]
    return keras.ops.cast(_side_by_side(codes), "int32")


def _encode_text(text: Any, encoding: TextEncoding) -> Any:
    import keras

    vectors = keras.layers.TextVectorization(
        vocabulary=list(encoding.vocabulary), output_mode="int", output_sequence_length=encoding.length
    )
    return keras.ops.cast(vectors(text), "int32")


def _side_by_side(parts: list[Any]) -> Any:
    import keras

    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


def _decode(y: Any, output: OutputSpec) -> Any:
    import keras

    if output.task is not Task.REGRESSION:
        return y
    return keras.layers.Rescaling(list(output.scale), offset=list(output.offset))(y)
