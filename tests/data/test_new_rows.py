from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from automl.data import new_rows
from automl.data.raw import RowSource
from automl.data.table_rows import TableRows
from automl.dataset_spec import Column, ColumnKind, DatasetSpec, RawInput
from automl.errors import DataError

NUMBERS = (Column(name="a"), Column(name="b"))
MIXED = (
    Column(name="a"),
    Column(name="flag", kind=ColumnKind.BOOLEAN),
    Column(name="day", kind=ColumnKind.DATE, date_format="%d/%m/%Y"),
    Column(name="colour", kind=ColumnKind.CATEGORY),
)
TEXT = (Column(name="text", kind=ColumnKind.TEXT),)


def _spec(columns: tuple[Column, ...] = (), shape: tuple[int, ...] | None = None) -> DatasetSpec:
    if shape is not None:
        raw_inputs = (RawInput(name="input", dtype="float32", shape=shape),)
    else:
        raw_inputs = tuple(RawInput(name=column.name, dtype="string", shape=(1,)) for column in columns)
    return DatasetSpec(
        name="m",
        columns=columns,
        raw_inputs=raw_inputs,
        inputs=(),
        outputs=(),
        train_rows=1,
        validation_rows=1,
        test_rows=1,
        fingerprint="f",
    )


def _batch(rows: RowSource) -> dict[str, Any]:
    batches = list(rows.batches())
    whole = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    assert all(len(values) == rows.count for values in whole.values())
    return whole


def _refusal(path: Path, spec: DatasetSpec, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        new_rows(path, spec, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _image(path: Path, shape: tuple[int, ...] = (6, 6, 3), value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(shape, value, np.uint8)).save(path)
    return path


def test_a_matrix_of_columns_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("extra,b,a\nx,2,1\ny,4,3\n")
    batch = _batch(new_rows(str(tmp_path / "m.csv"), _spec(NUMBERS, (2,))))
    assert batch["input"].tolist() == [[1, 2], [3, 4]]


def test_columns_are_typed_by_the_spec(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "colour,a,flag,day\n12,1,yes,01/02/2024\n,x,maybe,2024-13-45\nnever seen,,,\n"
    (tmp_path / "m.csv").write_text(text)
    batch = _batch(new_rows(tmp_path / "m.csv", _spec(MIXED)))
    assert batch["colour"].tolist() == ["12", "", "never seen"]
    np.testing.assert_array_equal(batch["a"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(batch["flag"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(batch["day"], [19_754, np.nan, np.nan])
    (record,) = caplog.records
    assert "count as missing: 'a' (1), 'flag' (1), 'day' (1)" in record.getMessage()


def test_a_column_of_numbers_named_like_the_matrix(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("a\n1\n2\n")
    assert _batch(new_rows(tmp_path / "m.csv", _spec(NUMBERS[:1], (1,))))["input"].shape == (2, 1)


def test_parquet_and_one_text_column(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1.5], "flag": [True], "day": pd.to_datetime(["2024-02-01"]), "colour": ["red"]}).to_parquet(
        tmp_path / "m.parquet"
    )
    batch = _batch(new_rows(tmp_path / "m.parquet", _spec(MIXED)))
    assert {name: values.tolist() for name, values in batch.items()} == {
        "a": [1.5],
        "flag": [1.0],
        "day": [19_754.0],
        "colour": ["red"],
    }
    (tmp_path / "t.csv").write_text("text\na good film\n")
    assert _batch(new_rows(tmp_path / "t.csv", _spec(TEXT)))["text"].tolist() == ["a good film"]


def test_a_large_table_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl.data.table_files.HELD_BYTES", 10)
    monkeypatch.setattr("automl.data.csv_files._CHUNK_BYTES", 100)
    (tmp_path / "m.csv").write_text("a,b\n" + "".join(f"{row},{row / 2}\n" for row in range(200)))
    rows = new_rows(tmp_path / "m.csv", _spec(NUMBERS, (2,)))
    assert isinstance(rows, TableRows)
    assert len(list(rows.batches())) > 5
    assert _batch(rows)["input"][150].tolist() == [150, 75]


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("a,c\n1,2\n")
    (tmp_path / "none.csv").write_text("a,b\n")
    (tmp_path / "short.csv").write_text("a,b\n1\n2,3\n")
    spec = _spec(NUMBERS, (2,))
    assert "lacks the column 'b'" in _refusal(tmp_path / "m.csv", spec)
    assert "no rows" in _refusal(tmp_path / "none.csv", spec)
    assert "line 2 has 1 fields" in _refusal(tmp_path / "short.csv", spec)
    assert "did you mean" in _refusal(tmp_path / "mm.csv", spec)
    assert "model takes arrays of shape (rows, 4, 4)" in _refusal(tmp_path / "m.csv", _spec((), (4, 4)))
    assert "received 'klingon'" in _refusal(tmp_path / "m.csv", spec, encoding="klingon")


@pytest.mark.parametrize("key", ["x", "x_test", "mine"])
def test_arrays(tmp_path: Path, key: str) -> None:
    x = np.arange(8.0).reshape(4, 2)
    np.savez(tmp_path / "m.npz", **{key: x})
    np.save(tmp_path / "m.npy", x)
    for name in ("m.npz", "m.npy"):
        assert _batch(new_rows(tmp_path / name, _spec((), (2,))))["input"].tolist() == x.tolist()


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", u=np.zeros(2), v=np.zeros(2))
    np.save(tmp_path / "wide.npy", np.zeros((4, 3)))
    np.save(tmp_path / "objects.npy", np.array([{}] * 3, dtype=object), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no zip")
    spec = _spec((), (2,))
    assert "expected an array named 'x' or only one, received 'u', 'v'" in _refusal(tmp_path / "two.npz", spec)
    assert "shape (rows, 2), received float64 of shape (4, 3)" in _refusal(tmp_path / "wide.npy", spec)
    assert "not a well-formed .npy file" in _refusal(tmp_path / "objects.npy", spec)
    assert "not a well-formed .npz file" in _refusal(tmp_path / "text.npz", spec)
    assert "give a table" in _refusal(tmp_path / "wide.npy", _spec(MIXED))
    (tmp_path / "m.docx").write_text("x")
    assert "received .docx" in _refusal(tmp_path / "m.docx", spec)


def test_idx_images(tmp_path: Path) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (2, 3, 3))
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(header + bytes(range(18)))
    for path in (tmp_path, tmp_path / "t10k-images-idx3-ubyte"):
        assert _batch(new_rows(path, _spec((), (3, 3))))["input"][1, 0].tolist() == [9, 10, 11]


@pytest.mark.parametrize(("shape", "expected"), [((6, 6, 3), 100), ((4, 4), 100), ((4, 4, 1), 100)])
def test_images_flat_in_classes_and_zipped(tmp_path: Path, shape: tuple[int, ...], expected: int) -> None:
    _image(tmp_path / "flat" / "b.png", value=200)
    one = _image(tmp_path / "flat" / "a.png")
    _image(tmp_path / "classes" / "cat" / "a.png")
    _image(tmp_path / "classes" / "dog" / "b.png")
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.write(one, "deep/down/a.png")
    for place, count in (("flat", 2), ("classes", 2), ("m.zip", 1), ("flat/a.png", 1)):
        batch = _batch(new_rows(tmp_path / place, _spec((), shape)))
        assert batch["input"].shape == (count, *shape)
        assert batch["input"][0].flat[0] == expected


def test_texts_in_a_folder(tmp_path: Path) -> None:
    for name, text in (("b", "second"), ("a", "first")):
        (tmp_path / f"{name}.txt").write_text(text)
    assert _batch(new_rows(tmp_path, _spec(TEXT)))["text"].tolist() == ["first", "second"]


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    _image(tmp_path / "images" / "a.png")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    assert "found none" in _refusal(tmp_path / "none", _spec((), (4, 4)))
    assert "holds images, but the model takes the columns" in _refusal(tmp_path / "images", _spec(MIXED))
    assert "holds texts, but the model takes arrays" in _refusal(tmp_path / "texts", _spec((), (4, 4)))
    broken = tmp_path / "images" / "b.png"
    broken.write_text("no image")
    with pytest.raises(DataError, match=r"b\.png cannot be read as an image"):
        list(new_rows(tmp_path / "images", _spec((), (4, 4))).batches())
