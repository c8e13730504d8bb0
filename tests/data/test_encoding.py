from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automl.data.encoding import Encoding, EncodingKind, chunks, fit_encoding, input_kind
from automl.dataset_spec import InputKind
from automl.errors import DataError

RNG = np.random.default_rng(0)
TABLE = RNG.normal([5.0, -1000.0, 0.0], [2.0, 30.0, 1e-3], size=(60, 3))
ARRAYS = RNG.normal(4.0, 3.0, size=(60, 5, 2))
GREY = RNG.integers(0, 256, size=(60, 6, 4), dtype=np.uint8)
COLOUR = RNG.normal(100.0, 9.0, size=(60, 6, 4, 3)).astype(np.float32)
TRAIN = np.arange(40)


def _fit(x: np.ndarray, pixel_scale: float | None = None) -> Encoding:
    return fit_encoding(x, TRAIN, pixel_scale=pixel_scale)


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (TABLE, InputKind.NUMERIC),
        (TABLE.astype(np.uint8), InputKind.NUMERIC),
        (GREY, InputKind.IMAGE),
        (GREY.astype(np.float32), InputKind.ARRAY),
        (COLOUR, InputKind.IMAGE),
        (np.zeros((2, 6, 4, 4), np.uint8), InputKind.IMAGE),
        (np.zeros((2, 6, 4, 5), np.uint8), InputKind.ARRAY),
        (np.zeros((2, 6, 4, 3, 3)), InputKind.ARRAY),
    ],
)
def test_input_kind(x: np.ndarray, kind: InputKind) -> None:
    assert input_kind(x) is kind


def test_tables_are_standardised_by_column_on_training_rows_only() -> None:
    x = TABLE.copy()
    x[40:] += 1e6
    encoding = _fit(x)
    encoded = encoding.encode(x)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded[:40].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(encoded[:40].std(axis=0), 1, atol=1e-4)
    assert encoding == _fit(TABLE)


def test_constant_columns_become_zero() -> None:
    x = np.column_stack([np.full(60, 0.1), np.full(60, 1e9) + np.arange(60) % 2, np.arange(60)])
    encoding = _fit(x)
    assert encoding.variance[:2] == (1.0, 1.0)  # float32 cannot tell 1e9 from 1e9 + 1
    np.testing.assert_allclose(encoding.encode(x)[:, :2], 0, atol=1e-6)


def test_arrays_are_standardised_over_all_values() -> None:
    encoding = _fit(ARRAYS)
    assert (len(encoding.mean), encoding.shape) == (1, (5, 2))
    assert encoding.encode(ARRAYS[:40]).mean() == pytest.approx(0, abs=1e-5)
    assert encoding.encode(ARRAYS[:40]).std() == pytest.approx(1, abs=1e-5)


def test_pixels_are_rescaled_and_gain_a_channel_axis() -> None:
    encoding = _fit(GREY, 255.0)
    assert (encoding.kind, encoding.raw_shape, encoding.shape) == (EncodingKind.RESCALE, (6, 4), (6, 4, 1))
    np.testing.assert_allclose(encoding.encode(GREY)[..., 0], GREY / 255, atol=1e-7)


def test_encoding_leaves_its_input_alone() -> None:
    x = TABLE.astype(np.float32)
    before = x.copy()
    _fit(x).encode(x)
    np.testing.assert_array_equal(x, before)


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected rows of shape \(3,\), received \(2,\)"):
        _fit(TABLE).encode(TABLE[:, :2])


@pytest.mark.parametrize("encoding", [_fit(TABLE), _fit(ARRAYS), _fit(GREY, 255.0)])
def test_json_round_trip(encoding: Encoding) -> None:
    assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding


def test_chunks_are_every_row_in_order() -> None:
    x = np.arange(3_000_000).reshape(-1, 3)
    rows = RNG.permutation(len(x))
    parts = list(chunks(x, rows))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), x[rows])
    np.testing.assert_array_equal(np.concatenate(list(chunks(x))), x)


_WITH_KERAS = """
import json, sys
import keras, numpy as np

for name in ("table", "column", "array", "grey", "colour", "tiny"):
    rows = np.load(f"{sys.argv[1]}/{name}.npy")
    encoding = json.load(open(f"{sys.argv[1]}/{name}.json"))
    mean, variance = encoding["mean"], encoding["variance"]
    if encoding["kind"] == "rescale":
        layer = keras.layers.Rescaling(1 / encoding["pixel_scale"])
    elif len(mean) == 1:
        layer = keras.layers.Normalization(axis=None, mean=mean[0], variance=variance[0])
    else:
        layer = keras.layers.Normalization(mean=mean, variance=variance)
    inputs = keras.Input(encoding["raw_shape"], dtype=rows.dtype.name)
    model = keras.Model(inputs, layer(keras.layers.Reshape(encoding["shape"])(inputs)))
    np.save(f"{sys.argv[1]}/{name}.keras.npy", model.predict_on_batch(rows))
"""


def test_keras_layers_give_the_same_numbers(tmp_path: Path) -> None:
    tiny = RNG.normal(0, [1e-9, 1e-3, 1.0], size=(60, 3))  # Keras divides by no less than 1e-7
    inputs = {
        "table": TABLE,
        "column": TABLE[:, :1],
        "array": ARRAYS,
        "grey": GREY,
        "colour": COLOUR,
        "tiny": tiny,
    }
    encodings = {name: _fit(x, 255.0 if name == "grey" else None) for name, x in inputs.items()}
    for name, x in inputs.items():
        np.save(tmp_path / f"{name}.npy", x)
        (tmp_path / f"{name}.json").write_text(json.dumps(encodings[name].to_json()))
    command = [sys.executable, "-c", _WITH_KERAS, str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    for name, x in inputs.items():
        ours, theirs = encodings[name].encode(x), np.load(tmp_path / f"{name}.keras.npy")
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5, err_msg=name)
