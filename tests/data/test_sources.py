from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from automl.data import DatasetInfo, RawDataset, known_datasets, load, prepare, raw_from_arrays
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


def _refusal(source: object, **options: str) -> str:
    with pytest.raises(DataError) as caught:
        load(str(source), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", OFFLINE)
def test_built_in_datasets_are_what_their_info_says(name: str, cache: Path) -> None:
    raw = load(name)
    info = known_datasets()[name]
    prepared = prepare(raw, task=None, split_seed=0, cache=cache)
    assert (len(raw.x_train), prepared.spec.task, prepared.spec.name) == (info.rows, info.task, name)
    assert len(raw.columns) == raw.x_train.shape[1]


def test_known_datasets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        known_datasets()["mine"] = DatasetInfo(name="mine", description="", task=Task.BINARY, rows=1)  # type: ignore[index]


def test_digits_are_pixels_and_iris_has_names() -> None:
    assert load("digits").pixel_scale == load("digits").x_train.max() == 16.0
    assert sorted(set(load("iris").y_train.tolist())) == ["setosa", "versicolor", "virginica"]


def test_diabetes_is_not_scaled_by_its_test_rows() -> None:
    assert load("diabetes").x_train.max() > 100


def test_the_same_dataset_has_the_same_hash() -> None:
    assert load("iris").content_hash == load("iris").content_hash != load("wine").content_hash


def test_npz(tmp_path: Path) -> None:
    raw = load(str(_npz(tmp_path / "mine.npz", other=np.zeros(3))))
    assert (raw.name, raw.x_train.shape, raw.x_test, raw.pixel_scale) == ("mine", (ROWS, 2), None, None)


def test_npz_with_a_test_split(tmp_path: Path) -> None:
    images = np.zeros((ROWS, 4, 4), np.uint8)
    raw = load(str(_npz(tmp_path / "m.NPZ.npz", x_train=images, x_test=images[:3], y_test=np.arange(3) % 2)))
    assert (raw.name, raw.x_test.shape, raw.pixel_scale) == ("m.NPZ", (3, 4, 4), 255.0)


@pytest.mark.parametrize("part", ["train", "test"])
def test_npz_with_a_test_file(tmp_path: Path, part: str) -> None:
    x, y = np.full((3, 2), 7.0), np.array([0, 1, 1])
    np.savez(
        tmp_path / "other.npz",
        **{f"x_{part}": x, f"y_{part}": y},
        **({"x_train": x - 1, "y_train": y} if part == "test" else {}),
    )
    raw = load(str(_npz(tmp_path / "mine.npz")), test=str(tmp_path / "other.npz"))
    assert raw.x_test is not None
    assert raw.x_test.tolist() == x.tolist()
    assert raw.test_hash
    assert raw.content_hash == load(str(tmp_path / "mine.npz")).content_hash


def test_csv(tmp_path: Path) -> None:
    raw = load(str(_csv(tmp_path / "mine.csv")), target="y")
    assert (raw.name, raw.columns, raw.target) == ("mine", ("a", "b"), "y")
    assert raw.x_train[3].tolist() == [3.0, 1.5]
    assert raw.y_train[:4].tolist() == [0, 1, 0, 1]


def test_csv_with_a_byte_order_mark_spaces_booleans_and_text_labels(tmp_path: Path) -> None:
    rows = [f"{row}, {row % 3 == 0}, <{row % 2}" for row in range(ROWS)]
    (tmp_path / "m.csv").write_text("\n".join(["a, flag, y", *rows]), encoding="utf-8-sig")
    raw = load(str(tmp_path / "m.csv"), target="y")
    assert raw.columns == ("a", "flag")
    assert raw.x_train[:4].tolist() == [[0, 1], [1, 0], [2, 0], [3, 1]]
    assert raw.y_train[:2].tolist() == ["<0", "<1"]


def test_csv_with_a_test_file_in_another_order_of_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,b,a\n1,20,10\n0,40,30\n")
    raw = load(str(_csv(tmp_path / "m.csv")), target="y", test=str(tmp_path / "t.csv"))
    assert raw.x_test is not None
    assert raw.y_test is not None
    assert (raw.x_test.tolist(), raw.y_test.tolist()) == ([[10, 20], [30, 40]], [1, 0])


def test_an_unknown_name_names_the_nearest_one_and_paths() -> None:
    with pytest.raises(UnknownNameError, match=r"'digit'; did you mean 'digits'\?.* path to a .npz or .csv file"):
        load("digit")
    with pytest.raises(UnknownNameError, match="known"):
        load("")


def test_a_missing_path_names_the_nearest_file(tmp_path: Path) -> None:
    _csv(tmp_path / "house.csv")
    assert "did you mean" in _refusal(tmp_path / "hous.csv", target="y")
    assert "nor a folder" in _refusal(tmp_path / "none" / "house.csv", target="y")


def test_folders_other_extensions_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "none.csv").touch()
    assert "is a folder" in _refusal(tmp_path)
    assert "received .txt" in _refusal(tmp_path / "a.txt")
    assert "is empty" in _refusal(tmp_path / "none.csv", target="y")


def test_file_options_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    file = str(_npz(tmp_path / "m.npz"))
    assert "--target" in _refusal("iris", target="y")
    assert "--test" in _refusal("iris", test=file)
    assert "--target" in _refusal(file, target="y")


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
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    assert said in _refusal(_npz(tmp_path / "m.npz", **arrays))


def test_pixels_of_another_type_in_the_test_split_are_refused() -> None:
    images = np.zeros((ROWS, 4, 4), np.uint8)
    with pytest.raises(DataError, match="pixels of x_test are float32"):
        raw_from_arrays("m", images, np.arange(ROWS), images.astype(np.float32) / 255, np.arange(ROWS))


def test_csv_without_a_target_lists_the_columns(tmp_path: Path) -> None:
    assert "give --target COLUMN, one of: 'a', 'b', 'y'" in _refusal(_csv(tmp_path / "m.csv"))


def test_an_unknown_target_names_the_nearest_column(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'price'; did you mean 'prices'\? known: a, b, prices"):
        load(str(_csv(tmp_path / "m.csv", header="a,b,prices")), target="price")


def test_an_unknown_target_of_a_wide_table_is_still_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(",".join(f"c{column}" for column in range(2000)) + "\n")
    with pytest.raises(UnknownNameError, match="more columns") as caught:
        load(str(tmp_path / "m.csv"), target="c20x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,y\n1,2,3\n4,5\n6,7,8\n", "line 3 has 2 fields, but the header has 3"),
        ("a,b,y\n1,2,3\n4,5,6,7\n", "Expected 3 fields in line 3, saw 4"),
        ("a,b,y\n1,2,3,4\n4,5,6,7\n", "line 2 has 4 fields"),
        ("a,b,y\n\n1,2,\n4,5\n", "line 4 has 2 fields"),
        (",,\n1,2,3\n", "more than one column ''"),
        ("a,a,y\n1,2,3\n", "more than one column 'a'"),
        ("a;b;y\n1;2;3\n", "found only 'a;b;y'"),
        ("a,b,y\n", "no rows"),
        ("\n\n", "found none"),
        ('a,b,y\n1,2,"3\n', "not a well-formed .csv file"),
        ("a,b,y\n1,x,2\n2,z,3\n", "received text in 'b'"),
    ],
)
def test_malformed_csv_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert said in _refusal(tmp_path / "m.csv", target="y")


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"a,b,y\n1,2,\xff\xfe\n")
    assert "not a well-formed .csv file" in _refusal(tmp_path / "m.csv", target="y")


def test_at_most_three_text_columns_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("a,b,c,d,e,y\n1,u,u,u,u,0\n")
    message = _refusal(tmp_path / "m.csv", target="y")
    assert "'b', 'c', 'd' and 1 more" in message
    assert "categories will come later" in message


def test_missing_targets_are_refused(tmp_path: Path) -> None:
    assert f"missing in 1 of {ROWS} rows" in _refusal(_csv(tmp_path / "m.csv", last=""), target="y")
    (tmp_path / "all.csv").write_text("a,y\n1,\n2,\n")
    assert "missing in every row" in _refusal(tmp_path / "all.csv", target="y")


def test_test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    train = _csv(tmp_path / "m.csv")
    other = _csv(tmp_path / "t.csv", header="a,c,y", rows=5)
    split = _npz(tmp_path / "m.npz", x_test=np.zeros((2, 2)), y_test=np.zeros(2))
    assert "lacks 'b' and adds 'c'" in _refusal(train, target="y", test=str(other))
    assert "training file itself" in _refusal(train, target="y", test=str(train))
    assert "expected a .csv file" in _refusal(train, target="y", test=str(split))
    assert "no file" in _refusal(train, target="y", test=str(tmp_path / "none.csv"))
    assert "test split of its own" in _refusal(split, test=str(_npz(tmp_path / "t.npz")))


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


def test_housing(real_data: Path, cache: Path) -> None:
    raw = load(str(real_data / "housing.csv"), target="medv")
    spec = prepare(raw, task=None, split_seed=0, cache=cache).spec
    assert (spec.name, spec.task, spec.input_shape, spec.output.name) == (
        "housing",
        Task.REGRESSION,
        (13,),
        "medv",
    )
    assert (spec.train_rows, spec.validation_rows, spec.test_rows) == (323, 81, 102)
    assert spec.output.offset[0] == pytest.approx(raw.y_train.mean(), abs=2)


def test_adult_is_refused_for_its_categories(real_data: Path) -> None:
    message = _refusal(real_data / "adult_train.csv", target="income")
    assert "'workclass', 'education', 'marital_status' and 5 more" in message


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist(real_data: Path, cache: Path, name: str) -> None:
    raw: RawDataset = load(str(real_data / f"{name}.npz"))
    prepared = prepare(raw, task=None, split_seed=0, cache=cache)
    spec = prepared.spec
    assert (spec.name, spec.task, spec.input_shape, spec.output.labels) == (
        name,
        Task.MULTICLASS,
        (28, 28, 1),
        tuple(range(10)),
    )
    assert (spec.train_rows, spec.validation_rows, spec.test_rows) == (48_000, 12_000, 10_000)
    train = prepared.split("train").inputs[0]
    assert (train.min(), train.max()) == (0.0, 1.0)
    assert raw.x_test is not None
    np.testing.assert_allclose(prepared.sealed_test().inputs[0][-1, :, :, 0], raw.x_test[-1] / 255, atol=1e-7)
