from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from automl.data import RawDataset, load
from automl.data.images import ImageRows
from automl.data.raw import GIVEN_SPLITS, ArrayRows, RowSource
from automl.errors import DataError


def _png(shape: tuple[int, ...] = (4, 5), value: int = 7, mode: str | None = None) -> bytes:
    image = Image.fromarray(np.full(shape, value, np.uint8))
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def _folder(root: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return str(root)


def _zip(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return str(path)


def _x(rows: RowSource | None) -> np.ndarray:
    assert rows is not None
    return np.concatenate([batch["input"] for batch in rows.batches()])


def _refusal(source: object, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


CLASSES = {"dog/1.png": _png(value=1), "cat/2.png": _png(value=2), "cat/1.PNG": _png(value=3)}


@pytest.mark.parametrize("wrapping", ["", "things/", "a/b/c/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_class_folders(tmp_path: Path, wrapping: str, zipped: bool) -> None:
    files = {wrapping + name: content for name, content in CLASSES.items()} | {
        ".DS_Store": b"x",
        f"{wrapping}cat/.hidden.png": b"x",
        "__MACOSX/cat/1.png": b"x",
        f"{wrapping}readme.md": b"x",
    }
    raw = load(_zip(tmp_path / "pets.zip", files) if zipped else _folder(tmp_path / "pets", files))
    assert (raw.name, raw.row_shape, raw.row_dtype, raw.pixel_scale) == ("pets", (4, 5), np.uint8, 255.0)
    assert raw.targets["target"].tolist() == ["cat", "cat", "dog"]
    assert _x(raw.train)[:, 0, 0].tolist() == [3, 2, 1]
    assert not raw.given


@pytest.mark.parametrize("zipped", [False, True])
def test_a_layout_with_given_splits(tmp_path: Path, zipped: bool) -> None:
    files = {f"wrap/{part}/{name}": content for part in ("train", "test", "Val") for name, content in CLASSES.items()}
    raw = load(_zip(tmp_path / "pets.zip", files) if zipped else _folder(tmp_path / "pets", files))
    assert (raw.train.count, len(raw.targets["target"]), list(raw.given)) == (3, 3, ["validation", "test"])
    for given in raw.given.values():
        assert given.rows.count == 3
        assert given.targets["target"].tolist() == ["cat", "cat", "dog"]


def test_a_layout_without_training_rows_is_refused(tmp_path: Path) -> None:
    files = {f"{part}/{name}": content for part in ("val", "test") for name, content in CLASSES.items()}
    assert "perhaps within train/, validation/ and test/; found none" in _refusal(_folder(tmp_path / "pets", files))


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_a_given_folder_in_another_place(tmp_path: Path, split: str) -> None:
    train, other = _folder(tmp_path / "a", CLASSES), _folder(tmp_path / "b", {"dog/9.png": _png(value=9)})
    raw = load(train, **{split: other})
    assert _x(raw.given[split].rows)[:, 0, 0].tolist() == [9]
    assert raw.given[split].source_hash
    assert raw.content_hash == load(train).content_hash
    assert f"--{split}: expected a folder or .zip" in _refusal(train, **{split: __file__})
    assert "training file itself" in _refusal(train, **{split: train})
    own = _folder(tmp_path / "c", {f"{part}/{name}": one for part in ("train", split) for name, one in CLASSES.items()})
    assert f"has a {split} split of its own (the folder {split})" in _refusal(own, **{split: other})


def test_the_hash_follows_names_and_contents(tmp_path: Path) -> None:
    first = load(_folder(tmp_path / "a", CLASSES)).content_hash
    assert load(_folder(tmp_path / "b", CLASSES)).content_hash == first
    assert load(_folder(tmp_path / "b", {"cat/2.png": _png(value=4)})).content_hash != first


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "1", "L"])
def test_modes(tmp_path: Path, mode: str) -> None:
    raw = load(_folder(tmp_path, {"a/1.png": _png(mode=mode), "b/1.png": _png(mode=mode)}))
    grey = mode in ("LA", "1", "L")
    assert raw.row_shape == ((4, 5) if grey else (4, 5, 3))


def test_grey_among_colour_is_colour_and_16_bits_become_8(tmp_path: Path) -> None:
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 5), 7 * 256, np.uint16)).save(deep, "PNG")
    raw = load(_folder(tmp_path / "a", {"a/1.png": _png((4, 5, 3)), "b/1.png": _png()}))
    assert _x(raw.train)[1, 0, 0].tolist() == [7, 7, 7]
    raw = load(_folder(tmp_path / "b", {"a/1.png": deep.getvalue(), "b/1.png": _png()}))
    assert _x(raw.train)[:, 0, 0].tolist() == [7, 7]


def test_other_formats(tmp_path: Path) -> None:
    for index, suffix in enumerate(("jpg", "jpeg", "bmp", "gif")):
        (tmp_path / f"c{index % 2}").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / f"c{index % 2}" / f"{index}.{suffix}")
    raw = load(str(tmp_path))
    assert raw.row_shape == (8, 8, 3)
    assert np.abs(_x(raw.train).astype(int) - 90).max() <= 3


def test_unequal_sizes_become_the_median(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shapes = [(4, 5), (6, 9), (8, 7)]
    raw = load(_folder(tmp_path, {f"c{index}/1.png": _png(shape) for index, shape in enumerate(shapes)}))
    assert raw.row_shape == (6, 7)
    (record,) = caplog.records
    assert "all are resized to 6 x 7" in record.getMessage()


def test_large_unequal_sizes_are_capped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = load(_folder(tmp_path, {"a/1.png": _png((400, 100)), "b/1.png": _png((400, 101))}))
    assert raw.row_shape[0] * raw.row_shape[1] <= 128 * 128
    assert raw.row_shape[0] / raw.row_shape[1] == pytest.approx(4, rel=0.05)
    assert "at most the area of 128 x 128" in caplog.text


@pytest.mark.parametrize("bad", [b"no image", _png((64, 64))[:60], b""])
def test_damaged_images_are_skipped_or_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: bytes) -> None:
    source = _folder(tmp_path, {**CLASSES, **{f"cat/bad{index}.png": bad for index in range(4)}})
    raw = load(source)
    assert (raw.train.count, len(raw.targets["target"])) == (3, 3)
    (record,) = caplog.records
    assert "4 of 7 files cannot be read as images: 'cat/bad0.png', 'cat/bad1.png', 'cat/bad2.png' and 1 more" in (
        record.getMessage()
    )
    assert "4 of 7 files" in _refusal(source, strict=True)


def test_a_bomb_is_a_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = _folder(tmp_path, {**CLASSES, "cat/huge.png": _png((100, 100)), "dog/huge.png": _png((100, 150))})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7000)  # one is over, one is over twice
    assert load(source).train.count == 3
    assert "2 of 5 files" in caplog.text


def test_only_damaged_images_are_refused(tmp_path: Path) -> None:
    assert "2 of 2 files" in _refusal(_folder(tmp_path, {"a/1.png": b"x", "b/1.png": b"y"}))


def test_one_class_or_none_is_refused(tmp_path: Path) -> None:
    one = {"cat/1.png": _png(), "cat/2.png": _png()}
    assert "found only 'cat'" in _refusal(_folder(tmp_path / "a", one))
    assert "found only 'cat'" in _refusal(_zip(tmp_path / "a.zip", {f"wrap/{name}": one[name] for name in one}))
    assert "found none" in _refusal(_folder(tmp_path / "b", {"1.png": _png(), "2.png": _png()}))


@pytest.mark.parametrize("name", ["../cat/1.png", "cat/../../1.png", "/cat/1.png", "C:/cat/1.png", "..\\cat\\1.png"])
def test_no_entry_of_an_archive_escapes(tmp_path: Path, name: str) -> None:
    assert "leads out of the archive" in _refusal(_zip(tmp_path / "m.zip", {**CLASSES, name: _png()}))
    assert [path.name for path in tmp_path.iterdir()] == ["m.zip"]


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_text("no zip")
    assert "not a well-formed .zip" in _refusal(tmp_path / "m.zip")
    assert "found 0 other files" in _refusal(_zip(tmp_path / "none.zip", {}))


def test_options_of_tables_are_refused(tmp_path: Path) -> None:
    source = _folder(tmp_path, CLASSES)
    assert "--target" in _refusal(source, target="y")
    assert "--time-column" in _refusal(source, time_column="y")
    assert "--encoding" in _refusal(source, encoding="utf-8")


def test_large_sets_are_decoded_at_each_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _zip(tmp_path / "m.zip", {f"c{index % 2}/{index:02}.png": _png(value=index) for index in range(20)})
    held = load(source)
    monkeypatch.setattr("automl.data.images.HELD_BYTES", 100)
    monkeypatch.setattr("automl.data.images._BATCH_BYTES", 60)
    raw: RawDataset = load(source)
    assert isinstance(raw.train, ImageRows)
    assert isinstance(held.train, ArrayRows)
    assert [len(batch["input"]) for batch in raw.train.batches()] == [3] * 6 + [2]
    np.testing.assert_array_equal(_x(raw.train), _x(held.train))


def test_large_images_that_become_small_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _folder(tmp_path, {f"c{index}/1.png": _png((300, 200 + index), value=index) for index in range(4)})
    held = load(source)
    monkeypatch.setattr("automl.data.images.HELD_BYTES", 100_000)
    raw = load(source)
    assert isinstance(raw.train, ArrayRows)
    np.testing.assert_array_equal(_x(raw.train), _x(held.train))


def test_cifar10(real_data: Path) -> None:
    raw = load(str(real_data / "cifar10_images.zip"))
    assert (raw.name, raw.row_shape, raw.train.count) == ("cifar10_images", (32, 32, 3), 5000)
    assert raw.given["test"].rows.count == 1000
    assert len(set(raw.targets["target"].tolist())) == 10
