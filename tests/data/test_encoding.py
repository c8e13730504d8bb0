from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automl.data.encoding import (
    ArrayEncoding,
    ArrayFitter,
    CategoriesFitter,
    Encoding,
    EncodingKind,
    NumbersFitter,
    encoding_from_json,
    encoding_to_json,
)
from automl.data.raw import ARRAY_FEATURE, Batch
from automl.data.text_encoding import TextFitter, tokens
from automl.dataset_spec import InputKind
from automl.errors import DataError

RNG = np.random.default_rng(0)
TABLE = RNG.normal([5.0, -1000.0, 0.0], [2.0, 30.0, 1e-3], size=(60, 3))
ARRAYS = RNG.normal(4.0, 3.0, size=(60, 5, 2))
GREY = RNG.integers(0, 256, size=(60, 6, 4), dtype=np.uint8)
COLOUR = RNG.normal(100.0, 9.0, size=(60, 6, 4, 3)).astype(np.float32)
TRAIN = np.arange(40)


NUMBERS: Batch = {"age": np.array([20.0, np.nan, 40.0]), "since": np.array([1.0, 2.0, 3.0])}
WORDS = np.array(["red", "blue", "red", "", "green", "blue", "red"], dtype=object)


def _rows(x: np.ndarray) -> Batch:
    return {ARRAY_FEATURE: x}


def _fit(x: np.ndarray, pixel_scale: float | None = None) -> ArrayEncoding:
    fitter = ArrayFitter(x.shape[1:], x.dtype, pixel_scale)
    fitter.see(_rows(x[TRAIN][:30]))
    fitter.see(_rows(x[TRAIN][30:]))
    return fitter.fit()


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (TABLE, InputKind.NUMERIC),
        (TABLE.astype(np.uint8), InputKind.NUMERIC),
        (GREY, InputKind.IMAGE),
        (GREY.astype(np.float32), InputKind.ARRAY),
        (COLOUR, InputKind.IMAGE),
        (np.zeros((40, 6, 4, 4), np.uint8), InputKind.IMAGE),
        (np.zeros((40, 6, 4, 5), np.uint8), InputKind.ARRAY),
        (np.zeros((40, 6, 4, 3, 3)), InputKind.ARRAY),
    ],
)
def test_input_kind(x: np.ndarray, kind: InputKind) -> None:
    assert _fit(x).input_spec().kind is kind


def test_the_spec_has_the_statistics_of_the_training_rows() -> None:
    table, grey = _fit(TABLE).input_spec(), _fit(GREY, 255.0).input_spec()
    np.testing.assert_allclose(table.mean, TABLE[:40].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table.deviation, TABLE[:40].std(axis=0), rtol=1e-5)
    np.testing.assert_allclose(table.low, TABLE[:40].min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(table.high, TABLE[:40].max(axis=0), rtol=1e-6)
    assert table.pixel_scale is None
    assert (grey.pixel_scale, grey.low, grey.high) == (255.0, (GREY[:40].min(),), (GREY[:40].max(),))
    assert grey.mean[0] == pytest.approx(GREY[:40].mean())
    assert grey.deviation[0] == pytest.approx(GREY[:40].std())


def test_tables_are_standardised_by_column_on_training_rows_only() -> None:
    x = TABLE.copy()
    x[40:] += 1e6
    encoding = _fit(x)
    encoded = encoding.encode(_rows(x))
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded[:40].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(encoded[:40].std(axis=0), 1, atol=1e-4)
    assert encoding == _fit(TABLE)


def test_constant_columns_become_zero() -> None:
    x = np.column_stack([np.full(60, 0.1), np.full(60, 1e9) + np.arange(60) % 2, np.arange(60)])
    encoding = _fit(x)
    assert encoding.variance[:2] == (1.0, 1.0)  # float32 cannot tell 1e9 from 1e9 + 1
    np.testing.assert_allclose(encoding.encode(_rows(x))[:, :2], 0, atol=1e-6)


def test_arrays_are_standardised_over_all_values() -> None:
    encoding = _fit(ARRAYS)
    assert (len(encoding.mean), encoding.shape) == (1, (5, 2))
    assert encoding.encode(_rows(ARRAYS[:40])).mean() == pytest.approx(0, abs=1e-5)
    assert encoding.encode(_rows(ARRAYS[:40])).std() == pytest.approx(1, abs=1e-5)


def test_pixels_are_rescaled_and_gain_a_channel_axis() -> None:
    encoding = _fit(GREY, 255.0)
    assert (encoding.kind, encoding.raw_shape, encoding.shape) == (EncodingKind.RESCALE, (6, 4), (6, 4, 1))
    np.testing.assert_allclose(encoding.encode(_rows(GREY))[..., 0], GREY / 255, atol=1e-7)


def test_encoding_leaves_its_input_alone() -> None:
    x = TABLE.astype(np.float32)
    before = x.copy()
    _fit(x).encode(_rows(x))
    np.testing.assert_array_equal(x, before)


def test_rows_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected rows of shape \(3,\), received \(2,\)"):
        _fit(TABLE).encode(_rows(TABLE[:, :2]))


def _numbers() -> Encoding:
    fitter = NumbersFitter(["age", "since"])
    fitter.see(NUMBERS)
    return fitter.fit()


def _categories() -> Encoding:
    fitter = CategoriesFitter(["colour"])
    fitter.see({"colour": WORDS[:4]})
    fitter.see({"colour": WORDS[4:]})
    return fitter.fit()


def _text(*texts: str) -> Encoding:
    fitter = TextFitter("review", "text")
    fitter.see({"review": np.array(texts, dtype=object)})
    return fitter.fit()


@pytest.mark.parametrize(
    "encoding", [_fit(TABLE), _fit(ARRAYS), _fit(GREY, 255.0), _numbers(), _categories(), _text("a good film")]
)
def test_json_round_trip(encoding: Encoding) -> None:
    assert encoding_from_json(json.loads(json.dumps(encoding_to_json(encoding)))) == encoding


def test_missing_numbers_become_the_mean_and_are_flagged() -> None:
    encoding = _numbers()
    encoded = encoding.encode({"age": np.array([30.0, np.nan]), "since": np.array([np.nan, 2.0]), "more": WORDS[:2]})
    np.testing.assert_allclose(encoded, [[0, 0, 0], [0, 0, 1]], atol=1e-6)
    spec = encoding.input_spec()
    assert (spec.name, spec.kind, spec.shape) == ("numbers", InputKind.NUMERIC, (3,))
    assert (spec.mean, spec.low, spec.high) == ((30.0, 2.0, 0.0), (20.0, 1.0, 0.0), (40.0, 3.0, 1.0))


def test_a_column_that_is_missing_in_all_training_rows_is_zero() -> None:
    fitter = NumbersFitter(["never"])
    fitter.see({"never": np.full(3, np.nan)})
    encoded = fitter.fit().encode({"never": np.array([np.nan, 0.5])})
    np.testing.assert_allclose(encoded, [[0, 1], [0.5, 0]])


def test_categories_have_codes_by_frequency_and_two_more() -> None:
    encoding = _categories()
    encoded = encoding.encode({"colour": np.array(["red", "blue", "green", "violet", ""], dtype=object)})
    assert encoded.tolist() == [[2], [3], [4], [1], [0]]
    assert encoded.dtype == np.int32
    assert encoding.input_spec().sizes == (5,)


def test_rare_categories_count_as_unknown() -> None:
    fitter = CategoriesFitter(["code"])
    fitter.see({"code": np.array([*(f"{number:04d}" for number in range(1200)), "0007"], dtype=object)})
    encoding = fitter.fit()
    assert encoding.vocabularies[0][:2] == ("0007", "0000")
    assert encoding.input_spec().sizes == (1002,)
    assert encoding.encode({"code": np.array(["1199"], dtype=object)}).tolist() == [[1]]


def test_text_becomes_ids_padded_and_cut() -> None:
    encoding = _text("good film", "a good, good plot", "bad")
    spec = encoding.input_spec()
    assert (spec.kind, spec.shape, spec.sizes) == (InputKind.TEXT, (4,), (7,))
    encoded = encoding.encode({"review": np.array(["Good film!", "a a a a a", "never seen", ""], dtype=object)})
    assert encoded.tolist() == [[2, 5, 0, 0], [3, 3, 3, 3], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert spec.token_weights[:2] == (0.0, 0.0)
    assert spec.token_weights[2] == pytest.approx(np.log(4 / 3) + 1, abs=1e-4)
    assert spec.token_weights[3] == pytest.approx(np.log(4 / 2) + 1, abs=1e-4)


def test_in_many_texts_a_token_must_occur_twice() -> None:
    encoding = _text(*["often"] * 999, "often once")
    assert encoding.input_spec().sizes == (3,)


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
        (tmp_path / f"{name}.json").write_text(json.dumps(encoding_to_json(encodings[name])))
    command = [sys.executable, "-c", _WITH_KERAS, str(tmp_path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    for name, x in inputs.items():
        ours, theirs = encodings[name].encode(_rows(x)), np.load(tmp_path / f"{name}.keras.npy")
        assert theirs.shape == ours.shape
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5, err_msg=name)


NASTY = [
    "Don't STOP -- it's a 10/10!",
    "tabs\tand\nlines\r\x0b\x0cend",
    "ÉCOLE Über straße naïve",
    "snake_case [brackets] {braces} a\\b ^hat `tick` ~tilde |pipe| <tag>",
    "",
    "   ",
    "東京 は 晴れ",
    "a" * 300 + " b",
    "email@example.org; 3,14 & 2:1",
    "non\u00a0breaking\u2003em\u3000space",
]

_TEXT_WITH_KERAS = """
import json, sys
import keras

texts, vocabulary, length = json.load(sys.stdin)
layer = keras.layers.TextVectorization(vocabulary=vocabulary, output_mode="int", output_sequence_length=length)
print(json.dumps(layer(texts).numpy().tolist()))
"""


def test_tokens_are_those_of_keras() -> None:
    encoding = _text(*NASTY)
    assert encoding.name == "text"
    command = [sys.executable, "-c", _TEXT_WITH_KERAS]
    asked = json.dumps([NASTY, encoding.vocabulary, encoding.length])
    child = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    ours = encoding.encode({"review": np.array(NASTY, dtype=object)})
    assert json.loads(child.stdout.splitlines()[-1]) == ours.tolist()


def test_tokens_of_a_broken_character_are_not_in_the_vocabulary() -> None:
    assert tokens("caf\ud800e") == [b"cafe"]  # the lone surrogate became a question mark, which is punctuation
