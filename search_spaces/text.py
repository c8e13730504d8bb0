"""`text`: from bags of words to small transformers. Every encoder but `bag` reads words in their order."""

from __future__ import annotations

from typing import Any

from automl import (
    Choice,
    DatasetSpec,
    Float,
    InputKind,
    InputSpec,
    Int,
    Repeat,
    SearchSpace,
    SpaceError,
    as_floats,
    input_tensors,
    output_layers,
    side_by_side,
    text_bag,
    training_parameters,
)
from search_spaces.blocks import ACTIVATIONS, drop

_BIGRAM_BUCKETS = 2**15
_ORDERED = ["embedding", "convolution", "recurrent", "transformer"]
_FAR_BELOW = 1e3  # taken off where there is padding, so that it is never the largest
_SLOW = ["convolution", "recurrent", "transformer"]


def build(config: dict[str, Any], spec: DatasetSpec) -> Any:
    """Return an encoder of each text, then dense layers; inputs that are no text go straight to the dense layers.

    Raises:
        SpaceError: The dataset has no text.
    """
    import keras

    if all(one.kind is not InputKind.TEXT for one in spec.inputs):
        raise SpaceError(f"space text needs text, received {', '.join(one.kind.value for one in spec.inputs)}")
    inputs, tensors = input_tensors(spec)
    x = side_by_side(
        [
            _encoded(x, one, config) if one.kind is InputKind.TEXT else as_floats(x, one)
            for x, one in zip(tensors, spec.inputs, strict=True)
        ]
    )
    x = drop(x, config["dropout"])
    for layer in config["hidden"]:
        x = keras.layers.Dense(layer["units"], activation=config["activation"])(x)
        x = drop(x, config["dropout"])
    return keras.Model(inputs, output_layers(x, spec))


def _encoded(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    if config["encoder"] == "bag":
        return _bag(x, one, config)
    x = x[:, : min(one.shape[0], config.get("sequence_length", one.shape[0]))]
    encoders = {"embedding": _pooled, "convolution": _convolution, "recurrent": _recurrent, "transformer": _transformer}
    return encoders[config["encoder"]](x, one, config)


def _bag(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    import keras

    buckets = _BIGRAM_BUCKETS if config["ngrams"] == 2 else 0
    x = text_bag(x, one, units=config["embedding_units"], bigram_buckets=buckets)
    return keras.layers.Activation(config["activation"])(x)


def _words(x: Any, one: InputSpec, config: dict[str, Any]) -> tuple[Any, Any]:
    """Return embedded tokens, zero where there is padding, and a mask (batch, tokens, 1) that is 1 elsewhere."""
    import keras

    mask = keras.ops.expand_dims(keras.ops.cast(keras.ops.not_equal(x, 0), "float32"), -1)
    words = keras.layers.Embedding(one.sizes[0], config["embedding_units"])(x)
    return keras.layers.SpatialDropout1D(config["embedding_dropout"])(words) * mask, mask


def _pool(x: Any, mask: Any, how: str) -> Any:
    """Return the largest or the mean value over the tokens that are no padding; 0 where there are none."""
    import keras

    count = keras.ops.sum(mask, axis=1)
    if how == "max":
        return keras.ops.max(x + (mask - 1.0) * _FAR_BELOW, axis=1) * keras.ops.minimum(count, 1.0)
    return keras.ops.sum(x * mask, axis=1) / keras.ops.maximum(count, 1.0)


def _pooled(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    words, mask = _words(x, one, config)
    return _pool(words, mask, config["pooling"])


def _convolution(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    """Return convolutions over windows of several widths, pooled over the text (Kim, 2014, section 2)."""
    import keras

    words, mask = _words(x, one, config)
    windows = [
        keras.layers.Conv1D(config["filters"], width, padding="same", activation=config["activation"])(words)
        for width in range(3, 3 + config["windows"])
    ]
    return side_by_side([_pool(window, mask, config["pooling"]) for window in windows])


def _recurrent(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    import keras

    words, mask = _words(x, one, config)
    cell = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[config["cell"]]
    layer = cell(config["recurrent_units"], return_sequences=True)
    layer = keras.layers.Bidirectional(layer) if config["bidirectional"] else layer
    return _pool(layer(words), mask, config["pooling"])


def _transformer(x: Any, one: InputSpec, config: dict[str, Any]) -> Any:
    """Return one or two encoder blocks (Vaswani et al., 2017, section 3), normalised first, with learned positions."""
    import keras

    words, mask = _words(x, one, config)
    positions = keras.layers.Embedding(words.shape[1], config["embedding_units"])
    y = words + positions(keras.ops.cumsum(keras.ops.ones_like(x), axis=1) - 1)
    seen = keras.ops.squeeze(keras.ops.cast(mask, "bool"), -1)
    for _ in range(config["transformer_blocks"] if x.shape[1] > 1 else 0):  # one word has nothing to attend to
        y = _attended(y, seen, config)
    return _pool(keras.layers.LayerNormalization()(y), mask, config["pooling"])


def _attended(x: Any, seen: Any, config: dict[str, Any]) -> Any:
    import keras

    units, heads = config["embedding_units"], config["heads"]
    y = keras.layers.LayerNormalization()(x)
    attention = keras.layers.MultiHeadAttention(heads, max(1, units // heads), dropout=config["embedding_dropout"])
    x = x + attention(y, y, attention_mask=keras.ops.expand_dims(seen, 1))
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.Dense(2 * units, activation=config["activation"])(y)
    return x + drop(keras.layers.Dense(units)(y), config["embedding_dropout"])


space = SearchSpace(
    "text",
    [
        Choice("encoder", ["bag", *_ORDERED]),
        Int("embedding_units", 16, 256, log=True, default=64),
        Choice("ngrams", [1, 2], when={"encoder": ["bag"]}),
        Float("embedding_dropout", 0.0, 0.6, step=0.05, default=0.2, when={"encoder": _ORDERED}),
        Choice("pooling", ["max", "average"], when={"encoder": _ORDERED}),
        Choice("sequence_length", [100, 200, 400], default=200, when={"encoder": _SLOW}),
        Int("filters", 16, 128, log=True, default=64, when={"encoder": ["convolution"]}),
        Int("windows", 1, 3, default=3, when={"encoder": ["convolution"]}),
        Choice("cell", ["gru", "lstm"], when={"encoder": ["recurrent"]}),
        Int("recurrent_units", 16, 128, log=True, default=32, when={"encoder": ["recurrent"]}),
        Choice("bidirectional", [True, False], when={"encoder": ["recurrent"]}),
        Int("transformer_blocks", 1, 2, default=1, when={"encoder": ["transformer"]}),
        Choice("heads", [1, 2, 4], default=2, when={"encoder": ["transformer"]}),
        Repeat("hidden", 0, 2, [Int("units", 16, 256, log=True, default=64)], default=0),
        Float("dropout", 0.0, 0.7, step=0.05, default=0.5),
        Choice("activation", ACTIVATIONS),
        *training_parameters(learning_rate=3e-3, batch_size=32),
    ],
    build,
)
