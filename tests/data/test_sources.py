from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from automl.data import DatasetInfo, known_datasets, load, raw_from_arrays
from automl.data.built_in import keras_dataset
from automl.data.keras_loader import to_lines
from automl.data.raw import GIVEN_SPLITS, RowSource
from automl.dataset_spec import Task
from automl.errors import DataError, UnknownNameError

OFFLINE = [name for name, info in known_datasets().items() if not info.needs_network]
ROWS = 20


def _csv(path: Path, header: str = "a,b,y", rows: int = ROWS, last: str = "1") -> Path:
    lines = [f"{row},{row / 2},{row % 2}" for row in range(rows - 1)]
    path.write_text("\n".join([header, *lines, f"{rows},0.5,{last}"]) + "\n")
    return path


def _npz(path: Path, **arrays: np.ndarray) -> Path:
    whole = {"x_train": np.arange(2.0 * ROWS).reshape(ROWS, 2), "y_train": np.arange(ROWS) % 2} | arrays
    np.savez(path, **whole)
    return path


def _x(rows: RowSource | None) -> np.ndarray:
    assert rows is not None
    return np.concatenate([batch["input"] for batch in rows.batches()])


def _refusal(source: object, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", OFFLINE)
def test_built_in_datasets_are_what_their_info_says(name: str) -> None:
    raw = load(name)
    info = known_datasets()[name]
    classes = len(np.unique(raw.targets["target"]))
    task = {2: Task.BINARY}.get(classes, Task.MULTICLASS if classes < 20 else Task.REGRESSION)
    assert (raw.train.count, task, raw.name) == (info.rows, info.task, name)
    assert (len(raw.columns),) == raw.row_shape


def test_known_datasets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        known_datasets()["mine"] = DatasetInfo(name="mine", description="", task=Task.BINARY, rows=1)  # type: ignore[index]


def test_digits_are_pixels_and_iris_has_names() -> None:
    assert load("digits").pixel_scale == _x(load("digits").train).max() == 16.0
    assert sorted(set(load("iris").targets["target"].tolist())) == ["setosa", "versicolor", "virginica"]


def test_diabetes_is_not_scaled_by_its_test_rows() -> None:
    assert _x(load("diabetes").train).max() > 100


def test_the_same_dataset_has_the_same_hash() -> None:
    assert load("iris").content_hash == load("iris").content_hash != load("wine").content_hash


def test_npz(tmp_path: Path) -> None:
    raw = load(str(_npz(tmp_path / "mine.npz", other=np.zeros(3))))
    assert (raw.name, _x(raw.train).shape, raw.given, raw.pixel_scale) == ("mine", (ROWS, 2), {}, None)


def test_npz_with_a_test_split(tmp_path: Path) -> None:
    images = np.zeros((ROWS, 4, 4), np.uint8)
    raw = load(str(_npz(tmp_path / "m.NPZ.npz", x_train=images, x_test=images[:3], y_test=np.arange(3) % 2)))
    assert (raw.name, _x(raw.given["test"].rows).shape, raw.pixel_scale) == ("m.NPZ", (3, 4, 4), 255.0)


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_npz_with_validation_rows(tmp_path: Path, name: str) -> None:
    arrays = {f"x_{name}": np.zeros((3, 2)), f"y_{name}": np.arange(3) % 2, "x_test": np.ones((2, 2)), "y_test": [0, 1]}
    raw = load(str(_npz(tmp_path / "m.npz", **arrays)))
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 3, "test": 2}
    assert _x(raw.given["validation"].rows).tolist() == np.zeros((3, 2)).tolist()


@pytest.mark.parametrize("split", GIVEN_SPLITS)
@pytest.mark.parametrize("is_train", [True, False])
def test_npz_with_a_file_for_a_split(tmp_path: Path, split: str, is_train: bool) -> None:
    x, y = np.full((3, 2), 7.0), np.array([0, 1, 1])
    part = "train" if is_train else split
    np.savez(
        tmp_path / "other.npz",
        **{f"x_{part}": x, f"y_{part}": y},
        **({} if is_train else {"x_train": x - 1, "y_train": y}),
    )
    raw = load(str(_npz(tmp_path / "mine.npz")), **{split: str(tmp_path / "other.npz")})
    assert list(raw.given) == [split]
    assert _x(raw.given[split].rows).tolist() == x.tolist()
    assert raw.given[split].source_hash
    assert raw.content_hash == load(str(tmp_path / "mine.npz")).content_hash


def test_a_split_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    both = _npz(tmp_path / "both.npz", x_val=np.zeros((3, 2)), y_val=np.zeros(3))
    mine, other = _npz(tmp_path / "mine.npz"), str(_npz(tmp_path / "other.npz", y_train=np.arange(ROWS) % 3))
    assert "has a validation split of its own (x_validation, y_validation); leave out --validation" in _refusal(
        both, validation=other
    )
    assert "x_validation and x_val, which mean the same" in _refusal(
        _npz(tmp_path / "m.npz", x_val=np.zeros((3, 2)), x_validation=np.zeros((3, 2)))
    )
    assert "--validation" in _refusal(mine, validation=str(mine))
    assert "is the validation file itself; expected other rows, or leave out --test" in _refusal(
        mine, validation=other, test=other
    )


def test_an_unknown_name_names_the_nearest_one_and_paths() -> None:
    with pytest.raises(UnknownNameError, match=r"'digit'; did you mean 'digits'\?.* path to a table"):
        load("digit")
    with pytest.raises(UnknownNameError, match="known"):
        load("")


def test_a_missing_path_names_the_nearest_file(tmp_path: Path) -> None:
    _csv(tmp_path / "house.csv")
    assert "did you mean" in _refusal(tmp_path / "hous.csv", target="y")
    assert "nor a folder" in _refusal(tmp_path / "none" / "house.csv", target="y")


def test_other_folders_extensions_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("x")
    (tmp_path / "none.csv").touch()
    assert "expected a folder for each class" in _refusal(tmp_path)
    assert "received .docx" in _refusal(tmp_path / "a.docx")
    assert "is empty" in _refusal(tmp_path / "none.csv", target="y")


def test_file_options_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    file = str(_npz(tmp_path / "m.npz"))
    assert "--target" in _refusal("iris", target="y")
    assert "--test" in _refusal("iris", test=file)
    assert "--validation" in _refusal("iris", validation=file)
    assert "--target" in _refusal(file, target="y")
    assert "--strict" in _refusal("iris", strict=True)
    assert "--encoding" in _refusal(file, encoding="utf-8")
    assert "--sample-weight" in _refusal(file, sample_weight="w")


def test_malformed_npz_files_are_refused(tmp_path: Path) -> None:
    whole = _npz(tmp_path / "m.npz").read_bytes()
    (tmp_path / "text.npz").write_text("not a zip")
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:300] + bytes([whole[300] ^ 255]) + whole[301:])
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    for name in ("text", "cut", "one"):
        assert "not an .npz file" in _refusal(tmp_path / f"{name}.npz")
    assert "not a well-formed .npz file" in _refusal(tmp_path / "flipped.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    file = _npz(tmp_path / "m.npz", y_train=np.array([{}] * ROWS, dtype=object))
    assert "not unpickled" in _refusal(file)


def test_npz_without_the_keys_says_which_it_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", images=np.zeros(3), x_train=np.zeros(3))
    message = _refusal(tmp_path / "m.npz")
    assert "no y_train; it has 'images', 'x_train'" in message


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y_train": np.arange(ROWS - 1)}, f"x_train has {ROWS} rows but y_train has {ROWS - 1}"),
        ({"x_train": np.arange(ROWS)}, r"reshape(-1, 1)"),
        ({"x_train": np.array(["a"] * ROWS)[:, None]}, "must hold numbers"),
        ({"x_test": np.zeros((3, 2))}, "y_test is missing"),
        ({"x_test": np.zeros((3, 5)), "y_test": np.zeros(3)}, "shape (5,), but of x_train (2,)"),
        ({"x_test": np.zeros((0, 2)), "y_test": np.zeros(0)}, "no rows"),
        (
            {"y_val": np.zeros(3)},
            "a validation split is x_validation and y_validation together; x_validation is missing",
        ),
        ({"x_val": np.zeros((3, 5)), "y_val": np.zeros(3)}, "a row of x_validation has shape (5,)"),
        ({"x_val": np.zeros((3, 2)), "y_val": np.zeros((3, 2))}, "a row of y_validation has shape (2,)"),
        ({"x_val": np.zeros((3, 2)), "y_val": np.zeros(4)}, "x_validation has 3 rows but y_validation has 4"),
        ({"x_val": np.zeros((0, 2)), "y_val": np.zeros(0)}, "the validation split has no rows"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    assert said in _refusal(_npz(tmp_path / "m.npz", **arrays))


@pytest.mark.parametrize("split", GIVEN_SPLITS)
def test_pixels_of_another_type_in_a_given_split_are_refused(split: str) -> None:
    images, y = np.zeros((ROWS, 4, 4), np.uint8), np.arange(ROWS)
    with pytest.raises(DataError, match=f"pixels of x_{split} are float32"):
        raw_from_arrays("m", images, y, given={split: (images.astype(np.float32) / 255, y)})


def test_without_network_or_cache_a_keras_dataset_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens there
    for scheme in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(scheme, raising=False)
    message = _refusal("fashion_mnist")
    assert "needs the network once or the cached file in ~/.keras/datasets; or give a path to an .npz" in message
    assert "URL fetch failure" in message


def test_loading_imports_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys; from automl.data import load; before = set(sys.modules); load('iris');"
        "print([name for name in ('keras', 'tensorflow', 'jax', 'ray', 'mlflow') if name in sys.modules],"
        " [name for name in ('sklearn', 'pandas') if name in before])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.split() == ["[]", "[]"]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist(real_data: Path, name: str) -> None:
    raw = load(str(real_data / f"{name}.npz"))
    assert (raw.name, raw.row_shape, raw.train.count, raw.pixel_scale) == (name, (28, 28), 60_000, 255.0)
    assert (raw.given["test"].rows.count, len(raw.given["test"].targets["target"])) == (10_000, 10_000)


def test_word_ids_of_keras_become_texts() -> None:
    lines = to_lines([[1, 4, 5], [1, 5, 2]], {"good": 1, "bad": 2})
    y = np.array([1, 0])
    raw = keras_dataset("imdb", {"text_train": lines, "text_test": lines, "y_train": y, "y_test": y})
    (batch,) = raw.train.batches()
    assert batch["text"].tolist() == ["good bad", "bad [UNK]"]
    assert [column.kind for column in raw.columns] == ["text"]
    assert "test" in raw.given
