from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl.data import load
from automl.data.idx_files import read_idx
from automl.data.raw import RowSource
from automl.errors import DataError

CODES = {"u1": 8, "i1": 9, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([0, 1, 0, 1, 1], np.uint8)


def _idx(array: np.ndarray) -> bytes:
    kind = array.dtype.str[1:]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return header + array.astype(f">{kind}").tobytes()


def _mnist(folder: Path, *, suffix: str = "", parts: tuple[str, ...] = ("train", "t10k")) -> Path:
    folder.mkdir(exist_ok=True)
    for part in parts:
        for name, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
            content = _idx(array[: {"t10k": 3, "validation": 4}.get(part)])
            (folder / f"{part}-{name}-ubyte{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


def _values(rows: RowSource | None, name: str) -> np.ndarray:
    assert rows is not None
    return np.concatenate([batch[name] for batch in rows.batches()])


def _refusal(source: object, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_folder_of_idx_files(tmp_path: Path, suffix: str) -> None:
    raw = load(str(_mnist(tmp_path / "digits", suffix=suffix)))
    assert (raw.name, raw.row_shape, raw.pixel_scale) == ("digits", (3, 4), 255.0)
    np.testing.assert_array_equal(_values(raw.train, "input"), IMAGES)
    assert raw.targets["target"].tolist() == LABELS.tolist()
    assert raw.given["test"].targets["target"].tolist() == [0, 1, 0]


def test_one_images_file_with_its_labels(tmp_path: Path) -> None:
    folder = _mnist(tmp_path / "m", suffix=".gz")
    raw = load(str(folder / "train-images-idx3-ubyte.gz"), test=str(folder / "t10k-images-idx3-ubyte.gz"))
    assert (raw.name, raw.train.count) == ("train-images-idx3-ubyte", 5)
    assert raw.given["test"].rows.count == 3
    assert raw.given["test"].source_hash
    one = load(str(_mnist(tmp_path / "n", parts=("train",))), test=str(_mnist(tmp_path / "o", parts=("t10k",))))
    assert one.given["test"].rows.count == 3


def test_validation_rows_in_idx_files(tmp_path: Path) -> None:
    raw = load(str(_mnist(tmp_path / "m", parts=("train", "validation", "t10k"))))
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 4, "test": 3}
    elsewhere = str(tmp_path / "m" / "validation-images-idx3-ubyte")
    one = load(str(_mnist(tmp_path / "n")), validation=elsewhere)
    assert one.given["validation"].rows.count == 4
    assert one.given["validation"].source_hash
    assert "validation split of its own (validation-images)" in _refusal(tmp_path / "m", validation=elsewhere)


@pytest.mark.parametrize("kind", CODES)
def test_every_type_of_idx(tmp_path: Path, kind: str) -> None:
    array = np.arange(-3, 9).astype(kind).reshape(3, 4)
    (tmp_path / "x-idx").write_bytes(_idx(array))
    read = read_idx(tmp_path / "x-idx")
    assert (read.dtype, read.tolist()) == (array.dtype, array.tolist())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04....", "its magic number is 0x504b0304"),
        (b"\0\0", "magic number"),
        (b"\0\0\x07\x01\0\0\0\0", "magic number"),
        (_idx(IMAGES)[:-1], "has 75 bytes, but its header says (5, 3, 4) of uint8, 76 bytes"),
        (_idx(IMAGES) + b"x", "has 77 bytes"),
        (_idx(IMAGES)[:6], "has 6 bytes"),
        (gzip.compress(_idx(IMAGES), mtime=0)[:-9], "not a well-formed gzip file"),
    ],
    ids=["zip", "two bytes", "unknown type", "a byte short", "a byte over", "header only", "torn gzip"],
)
def test_malformed_idx_files(tmp_path: Path, content: bytes, said: str) -> None:
    folder = _mnist(tmp_path / "m")
    (folder / "train-images-idx3-ubyte").write_bytes(content)
    assert said in _refusal(folder)


def test_idx_files_that_do_not_fit(tmp_path: Path) -> None:
    folder = _mnist(tmp_path / "m")
    (folder / "train-labels-idx1-ubyte").write_bytes(_idx(LABELS[:4]))
    assert "x_train has 5 rows but y_train has 4" in _refusal(folder)
    (folder / "train-labels-idx1-ubyte").unlink()
    assert "expected its labels beside it, in 'train-labels-idx1-ubyte'" in _refusal(folder)
    whole = _mnist(tmp_path / "n")
    assert "--target" in _refusal(whole, target="y")
    assert "test split of its own" in _refusal(whole, test=str(folder / "t10k-images-idx3-ubyte"))
    assert "--test: expected IDX files" in _refusal(whole, test=__file__)


TEXTS = {"pos/1.txt": "a good film", "pos/2.txt": "schön", "neg/1.txt": "a bad film"}


def _texts(root: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding=encoding)
    return root


def test_texts_in_class_folders(tmp_path: Path) -> None:
    raw = load(str(_texts(tmp_path / "films", TEXTS)))
    assert (raw.name, raw.features, raw.is_array) == ("films", ("text",), False)
    assert _values(raw.train, "text").tolist() == ["a bad film", "a good film", "schön"]
    assert raw.targets["target"].tolist() == ["neg", "pos", "pos"]


def test_texts_as_those_of_imdb(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {f"{part}/{name}": text for part in ("train", "test") for name, text in TEXTS.items()}
    extra = {"train/unsup/1.txt": "no opinion", "README.txt": "read me", "train/urls_pos.txt": "x"}
    raw = load(str(_texts(tmp_path / "aclImdb", {**files, **extra})))
    assert sorted(set(raw.targets["target"].tolist())) == ["neg", "pos"]
    assert (raw.train.count, raw.given["test"].rows.count) == (3, 3)
    assert "left out 3 files in no class folder: 'README.txt', " in caplog.text


def test_validation_texts(tmp_path: Path) -> None:
    files = {f"{part}/{name}": text for part in ("train", "valid") for name, text in TEXTS.items()}
    raw = load(str(_texts(tmp_path / "m", files)))
    assert list(raw.given) == ["validation"]
    assert _values(raw.given["validation"].rows, "text").tolist() == ["a bad film", "a good film", "schön"]
    other = _texts(tmp_path / "n", {f"{kind}/9.txt": f"{kind} film" for kind in ("pos", "neg")})
    assert "validation split of its own" in _refusal(tmp_path / "m", validation=str(other))
    one = load(str(_texts(tmp_path / "o", TEXTS)), validation=str(other))
    assert one.given["validation"].targets["target"].tolist() == ["neg", "pos"]


def test_encodings_of_texts(tmp_path: Path) -> None:
    long = "Die Straße führt über die Brücke nach Österreich, schöne Grüße aus München und Köln. " * 5
    folder = _texts(tmp_path / "m", {"a/1.txt": long, "b/1.txt": long}, encoding="latin-1")
    assert _values(load(str(folder)).train, "text")[0] == long
    assert _values(load(str(folder), encoding="latin-1").train, "text")[0] == long
    assert "1.txt is not text in UTF-8" in _refusal(folder, encoding="utf-8")
    (folder / "a" / "0.txt").write_bytes(bytes(range(256)))
    assert "0.txt is not text in UTF-8" in _refusal(folder)


def test_texts_that_do_not_fit(tmp_path: Path) -> None:
    folder = _texts(tmp_path / "m", {"pos/1.txt": "x"})
    assert "found only 'pos'" in _refusal(folder)
    assert "--strict" in _refusal(folder, strict=True)
    both = _texts(
        tmp_path / "n", {f"{part}/{name}": text for part in ("train", "test") for name, text in TEXTS.items()}
    )
    assert "test split of its own (the folder test)" in _refusal(both, test=str(folder))
