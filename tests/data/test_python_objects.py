from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from automl.data import GivenSplit, RawDataset, load_object
from automl.data.raw import GIVEN_SPLITS, RowSource
from automl.errors import DataError, UnknownNameError

ROWS = 20
Y = np.arange(ROWS) % 2
IMAGES = np.arange(ROWS * 6, dtype=np.uint8).reshape(ROWS, 2, 3)
FRAME = pd.DataFrame({"a": np.arange(ROWS) / 2, "colour": ["red", "blue"] * 10, "y": Y})


class Shape(tuple[Any, ...]):
    """As much of `tf.TensorShape` as is read."""

    @property
    def rank(self) -> int:
        return len(self)


@dataclass
class Spec:
    shape: Shape


class Stream:
    """As much of `tf.data.Dataset` as is read: `test_real_tf_data` tries the real one."""

    def __init__(self, elements: list[Any], *shapes: Any, cardinality: int = -2) -> None:
        self.elements = elements
        self.element_spec = shapes
        self._cardinality = cardinality

    def as_numpy_iterator(self) -> Iterator[Any]:
        return iter(self.elements)

    def cardinality(self) -> int:
        return self._cardinality


def _spec(*shape: int | None) -> Spec:
    return Spec(Shape(shape))


def _batch(rows: RowSource | None) -> dict[str, np.ndarray]:
    assert rows is not None
    batches = list(rows.batches())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _refusal(data: object, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_object("mine", data, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _kinds(raw: RawDataset) -> dict[str, str]:
    return {column.name: str(column.kind) for column in raw.columns}


def test_arrays() -> None:
    raw = load_object("mine", (IMAGES, Y))
    assert (raw.name, raw.row_shape, raw.pixel_scale, raw.given) == ("mine", (2, 3), 255.0, {})
    assert load_object("mine", (IMAGES, Y)).content_hash == raw.content_hash
    assert load_object("mine", (IMAGES[::-1], Y)).content_hash != raw.content_hash


def test_arrays_with_a_test_split_and_lists() -> None:
    raw = load_object("mine", [[[1.0], [2.0]], ["u", "v"], [[3.0]], ["u"]])
    assert _batch(raw.given["test"].rows)["input"].tolist() == [[3.0]]
    assert raw.given["test"].targets["target"].tolist() == ["u"]


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_rows_of_a_split_beside_the_data(split: str) -> None:
    def given(data: object, rows: object, **options: Any) -> GivenSplit:
        raw = load_object("mine", data, **{split: rows}, **options)
        assert raw.content_hash != load_object("mine", data, **options).content_hash
        return raw.given[split]

    assert _batch(given((IMAGES, Y), (IMAGES[:3], Y[:3])).rows)["input"].tolist() == IMAGES[:3].tolist()
    texts = ["a good film", "a bad film"] * 10
    assert _batch(given((texts, Y), (texts[:2], Y[:2])).rows)["text"].tolist() == texts[:2]
    assert given(FRAME, FRAME[:4], target="y").targets["y"].tolist() == [0, 1, 0, 1]
    x, columns = FRAME.drop(columns="y"), {"a": np.arange(4.0), "colour": np.array(["red"] * 4)}
    assert given((x, FRAME["y"]), (x[:5], FRAME["y"][:5])).rows.count == 5
    assert _batch(given((x, {"y": Y}), (columns, {"y": Y[:4]})).rows)["a"].tolist() == [0, 1, 2, 3]
    stream = Stream([(IMAGES[:6], Y[:6])], _spec(None, 2, 3), _spec(None))
    assert given((IMAGES, Y), stream).rows.count == 6


def test_both_splits_beside_the_data() -> None:
    raw = load_object("mine", (IMAGES, Y, IMAGES[:2], Y[:2]), validation=(IMAGES[:3], Y[:3]))
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 3, "test": 2}
    other = load_object("mine", (IMAGES, Y), validation=(IMAGES[:2], Y[:2]), test=(IMAGES[:3], Y[:3]))
    assert other.content_hash != raw.content_hash


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_rows_of_a_split_that_are_refused(split: str) -> None:
    def refusal(data: object, rows: object, **options: Any) -> str:
        return _refusal(data, **{split: rows}, **options)

    x, texts = FRAME.drop(columns="y"), ["a good film", "a bad film"] * 10
    assert f"(x, y) or a tf.data.Dataset of it as {split}=; received str" in refusal((IMAGES, Y), "rows.npz")
    assert f"as {split}=; received tuple of 3" in refusal((IMAGES, Y), (1, 2, 3))
    assert f"expected a DataFrame as {split}=" in refusal(FRAME, (x, Y), target="y")
    assert f"y_{split} is missing" in refusal((IMAGES, Y), (IMAGES, None))
    assert f"x_{split} has 20 rows but y_{split} has 3" in refusal((IMAGES, Y), (IMAGES, Y[:3]))
    assert f"a row of x_{split} has shape (3,)" in refusal((IMAGES, Y), (IMAGES[:, 0], Y))
    assert f"the {split} split has no rows" in refusal((IMAGES, Y), (IMAGES[:0], Y[:0]))
    assert f"the {split} split has the targets 'a'; expected 'target'" in refusal((IMAGES, Y), (IMAGES, {"a": Y}))
    assert f"x_train holds texts, but x_{split} is uint8" in refusal((texts, Y), (IMAGES, Y))
    assert "expected columns by name in every split, as in training; received ndarray" in refusal((x, Y), (IMAGES, Y))
    assert f"mine ({split}): expected the columns of the training file, but it lacks 'colour'" in refusal(
        FRAME, FRAME.drop(columns="colour"), target="y"
    )


def test_a_test_split_that_is_given_twice_is_refused() -> None:
    assert "has a test split of its own; leave out test=" in _refusal((IMAGES, Y, IMAGES, Y), test=(IMAGES, Y))


def test_several_outputs() -> None:
    raw = load_object("mine", (IMAGES, {"class": Y, "ink": IMAGES.mean((1, 2))}))
    assert {name: y.shape for name, y in raw.targets.items()} == {"class": (ROWS,), "ink": (ROWS,)}


def test_labels_of_objects_are_text() -> None:
    raw = load_object("mine", (IMAGES, pd.Series(["u", "v"] * 10, name="kind", dtype=object)))
    assert raw.targets["kind"].dtype.kind == "U"


@pytest.mark.parametrize("dtype", [object, np.str_, np.dtypes.StringDType()])
def test_strings_are_a_text_column(dtype: Any) -> None:
    x = np.array(["a good film", "a bad film"] * 10, dtype=dtype)
    raw = load_object("mine", (x, Y, x[:2], Y[:2]))
    assert _kinds(raw) == {"text": "text"}
    assert _batch(raw.train)["text"][:2].tolist() == ["a good film", "a bad film"]
    assert _batch(raw.given["test"].rows)["text"].dtype == object


def test_columns_by_name_with_missing_values() -> None:
    x = {"a": np.where(Y, np.nan, np.arange(ROWS)), "colour": np.array(["red", "blue"] * 10)}
    raw = load_object("mine", (x, {"y": Y}, {name: values[:4] for name, values in x.items()}, {"y": Y[:4]}))
    assert _kinds(raw) == {"a": "number", "colour": "category"}
    assert np.isnan(_batch(raw.train)["a"][1])
    assert raw.given["test"].rows.count == 4


def test_a_frame_with_targets() -> None:
    raw = load_object("mine", FRAME.assign(z=np.arange(ROWS)), target=["y", "z"])
    assert (_kinds(raw), list(raw.targets)) == ({"a": "number", "colour": "category"}, ["y", "z"])
    assert raw.content_hash == load_object("mine", FRAME.assign(z=np.arange(ROWS)), target="y,z").content_hash


def test_a_frame_and_its_target_apart() -> None:
    raw = load_object("mine", (FRAME.drop(columns="y"), FRAME["y"]), group="colour")
    assert (_kinds(raw), list(raw.targets)) == ({"a": "number"}, ["y"])
    assert raw.groups is not None
    assert raw.groups[:2].tolist() == ["red", "blue"]


def test_frames_of_many_dtypes() -> None:
    frame = pd.DataFrame(
        {
            "objects": np.array([1, 2.5] * 10, dtype=object),
            "flags": np.array([True, None] * 10, dtype=object),
            "kind": pd.Categorical([1, 2] * 10),
            "when": pd.date_range("1970-01-02", periods=ROWS),
            3: range(ROWS),
            "y": Y,
        }
    )
    raw = load_object("mine", frame, target="y")
    assert list(_kinds(raw).items()) == [
        ("objects", "number"),
        ("flags", "boolean"),
        ("kind", "category"),
        ("when", "date"),
        ("3", "number"),
    ]
    batch = _batch(raw.train)
    np.testing.assert_array_equal(batch["flags"][:2], [1.0, np.nan])
    assert (batch["kind"][0], batch["when"][0]) == ("1", 1.0)


def test_what_is_refused() -> None:
    assert "which column is the target" in _refusal(FRAME)
    assert "received dict" in _refusal({"x": 1})
    assert "received tuple of 3" in _refusal((1, 2, 3))
    assert "target= names columns of a data frame" in _refusal((IMAGES, Y), target="y")
    assert "group= names a column of a table" in _refusal((IMAGES, Y), group="y")
    assert "x_train has 20 rows but y_train has 3" in _refusal((IMAGES, Y[:3]))
    assert "as many rows in every column" in _refusal(({"a": Y, "b": Y[:3]}, Y))
    assert "expected columns of shape (rows,)" in _refusal(({"a": IMAGES}, Y))
    assert "'a' is a feature and a target" in _refusal(({"a": Y}, {"a": Y}))
    assert "give several as a dict" in _refusal(({"a": Y}, np.zeros((ROWS, 2))))
    assert "more than one column '1'" in _refusal(pd.DataFrame({1: Y, "1": Y, "y": Y}), target="y")
    assert "received 'span' (timedelta64" in _refusal(FRAME.assign(span=pd.Timedelta("1D")), target="y")
    assert "must hold numbers" in _refusal((np.array([["a"]] * ROWS), Y))
    with pytest.raises(UnknownNameError, match="did you mean 'colour'"):
        load_object("mine", FRAME, target="color")


def test_a_stream_of_batches() -> None:
    elements = [(IMAGES[:15], Y[:15]), (IMAGES[15:], Y[15:])]
    raw = load_object("mine", Stream(elements, _spec(None, 2, 3), _spec(None)))
    np.testing.assert_array_equal(_batch(raw.train)["input"], IMAGES)
    assert isinstance(raw.train.arrays["input"].base, np.memmap)  # type: ignore[attr-defined]
    assert raw.targets["target"].tolist() == Y.tolist()
    assert raw.content_hash == load_object("mine", (IMAGES, Y)).content_hash


def test_a_stream_of_rows() -> None:
    elements = list(zip(IMAGES, Y, strict=True))
    raw = load_object("mine", Stream(elements, _spec(2, 3), _spec()))
    np.testing.assert_array_equal(_batch(raw.train)["input"], IMAGES)


def test_a_stream_of_texts_and_of_columns() -> None:
    raw = load_object("mine", Stream([(np.array([b"a film", "schön".encode()]), Y[:2])], _spec(None), _spec(None)))
    assert _batch(raw.train)["text"].tolist() == ["a film", "schön"]
    element = ({"a": np.arange(4.0), "c": np.array([b"u", b"v", b"u", b"v"])}, {"y": Y[:4], "z": np.arange(4.0)})
    specs = ({"a": _spec(None), "c": _spec(None)}, {"y": _spec(None), "z": _spec(None)})
    raw = load_object("mine", Stream([element], *specs))
    assert (_kinds(raw), list(raw.targets)) == ({"a": "number", "c": "category"}, ["y", "z"])


def test_streams_that_are_refused() -> None:
    specs = (_spec(None, 2, 3), _spec(None))
    assert "never ends" in _refusal(Stream([], *specs, cardinality=-1))
    assert "has no rows" in _refusal(Stream([], *specs))
    assert "expected a tf.data.Dataset of (x, y)" in _refusal(Stream([IMAGES], specs[0]))
    uneven = [(IMAGES, Y), (IMAGES[:, :1], Y)]
    assert "expected rows of one shape, received (2, 3) and (1, 3)" in _refusal(Stream(uneven, *specs))


def test_real_tf_data(keras_here: None) -> None:
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices((IMAGES, Y))
    for dataset in (rows, rows.batch(7), rows.batch(7).prefetch(1)):
        raw = load_object("mine", dataset)
        np.testing.assert_array_equal(_batch(raw.train)["input"], IMAGES)
        assert raw.targets["target"].tolist() == Y.tolist()
    columns = {"a": np.arange(ROWS) / 2, "c": np.array(["u", "v"] * 10)}
    raw = load_object("mine", tf.data.Dataset.from_tensor_slices((columns, {"y": Y, "z": Y})).batch(6))
    assert (_kinds(raw), list(raw.targets)) == ({"a": "number", "c": "category"}, ["y", "z"])
    assert "never ends" in _refusal(rows.repeat())
    uneven = tf.data.Dataset.from_generator(
        lambda: ((np.zeros(size), 0) for size in (2, 3)),
        output_signature=(tf.TensorSpec((None,), tf.float32), tf.TensorSpec((), tf.int32)),
    )
    assert "expected rows of one shape, received (2,) and (3,)" in _refusal(uneven)
