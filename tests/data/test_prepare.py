from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from automl.data import GivenSplit, PreparedDataset, RawDataset, load, prepare, raw_from_arrays
from automl.data.prepare import _published
from automl.data.raw import ARRAY_FEATURE, ArrayRows
from automl.dataset_spec import Column, ColumnKind, InputKind, RawInput, Task
from automl.errors import DataError, RequestError, SurroundingsError

Numbered = Callable[..., RawDataset]
IRIS_CODE = (
    "import sys; from pathlib import Path; from automl.data import load, prepare;"
    "prepare(load('iris'), task=None, split_seed=0, cache=Path(sys.argv[1]))"
)


def _prepare(raw: RawDataset, cache: Path, *, task: Task | None = None, split_seed: int = 0) -> PreparedDataset:
    return prepare(raw, task=task, split_seed=split_seed, cache=cache)


def _raw_rows(prepared: PreparedDataset, encoded: np.ndarray) -> list[float]:
    """Return the row numbers that `numbered` gave as the only feature."""
    (encoding,) = prepared.encodings
    rows = encoded[:, 0] * np.sqrt(encoding.variance[0]) + encoding.mean[0]
    return [round(2 * float(row)) / 2 for row in rows]


def _array(raw: RawDataset) -> np.ndarray:
    assert isinstance(raw.train, ArrayRows)
    return raw.train.arrays[ARRAY_FEATURE]


def _table(rows: int = 200, **targets: np.ndarray) -> RawDataset:
    """Return columns of every kind; the number column holds the row's number, every seventh is missing."""
    numbers = np.arange(rows, dtype=np.float64)
    arrays = {
        "number": np.where(numbers % 7 == 0, np.nan, numbers),
        "when": numbers / 2,
        "colour/tint": np.array(["red", "blue", "", "red"], dtype=object)[np.arange(rows) % 4],
        "story": np.array([f"row {row} of many" for row in range(rows)], dtype=object),
    }
    kinds = (ColumnKind.NUMBER, ColumnKind.DATE, ColumnKind.CATEGORY, ColumnKind.TEXT)
    return RawDataset(
        name="table",
        columns=tuple(Column(name=name, kind=kind) for name, kind in zip(arrays, kinds, strict=True)),
        is_array=False,
        train=ArrayRows(arrays),
        targets=targets or {"target": np.arange(rows) % 2},
        content_hash="a table",
    )


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(file): (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.rglob("*") if file.is_file()}


def test_the_spec_says_what_was_prepared(cache: Path) -> None:
    prepared = _prepare(load("iris"), cache)
    spec = prepared.spec
    assert (spec.name, spec.train_rows, spec.validation_rows, spec.test_rows) == ("iris", 96, 24, 30)
    assert (spec.inputs[0].kind, spec.columns[0].name) == (InputKind.NUMERIC, "sepal length (cm)")
    assert spec.raw_inputs == (RawInput(name="input", dtype="float32", shape=(4,)),)
    assert (spec.output.units, spec.output.labels[0], len(spec.fingerprint)) == (3, "setosa", 16)
    assert prepared.folder == cache / spec.fingerprint
    assert PreparedDataset.open(prepared.folder) == prepared


def test_the_splits_are_memory_maps_of_the_right_shape(cache: Path) -> None:
    prepared = _prepare(load("iris"), cache)
    for split, rows in (
        (prepared.split("train"), 96),
        (prepared.split("validation"), 24),
        (prepared.sealed_test(), 30),
    ):
        (x,), (y,) = split.inputs, split.outputs
        assert isinstance(x, np.memmap)
        assert isinstance(y, np.memmap)
        assert (x.shape, x.dtype, y.shape, y.dtype, split.rows) == (
            (rows, 4),
            np.float32,
            (rows,),
            np.int32,
            rows,
        )
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 0


def test_the_test_split_is_sealed(cache: Path) -> None:
    with pytest.raises(RequestError, match="sealed"):
        _prepare(load("iris"), cache).split("test")  # type: ignore[arg-type]


@pytest.mark.parametrize("y", [np.arange(200) % 4, np.linspace(0, 1, 200)])
def test_the_splits_are_disjoint_and_complete(numbered: Numbered, cache: Path, y: np.ndarray) -> None:
    prepared = _prepare(numbered(y), cache)
    splits = [prepared.split("train"), prepared.split("validation"), prepared.sealed_test()]
    rows = [_raw_rows(prepared, split.inputs[0]) for split in splits]
    assert [len(one) for one in rows] == [128, 32, 40]
    assert sorted(rows[0] + rows[1] + rows[2]) == list(range(200))


def test_inputs_and_targets_stay_together(numbered: Numbered, cache: Path) -> None:
    y = np.arange(200) % 4
    prepared = _prepare(numbered(y), cache)
    for split in (prepared.split("train"), prepared.split("validation"), prepared.sealed_test()):
        assert [row % 4 for row in _raw_rows(prepared, split.inputs[0])] == split.outputs[0].tolist()


def test_a_given_test_split_stays_the_test_split(numbered: Numbered, cache: Path) -> None:
    prepared = _prepare(numbered(np.arange(100) % 2, test_rows=30), cache)
    assert (prepared.spec.train_rows, prepared.spec.validation_rows, prepared.spec.test_rows) == (80, 20, 30)
    assert _raw_rows(prepared, prepared.sealed_test().inputs[0]) == [row + 0.5 for row in range(30)]


@pytest.mark.parametrize(("test_rows", "sizes"), [(0, (80, 20, 20)), (10, (100, 20, 10))])
def test_given_rows_validate(numbered: Numbered, cache: Path, test_rows: int, sizes: tuple[int, ...]) -> None:
    y = np.arange(100) % 2
    prepared = _prepare(numbered(y, validation_rows=20, test_rows=test_rows), cache)
    spec, train, validation = prepared.spec, prepared.split("train"), prepared.split("validation")
    assert (spec.train_rows, spec.validation_rows, spec.test_rows) == sizes
    assert _raw_rows(prepared, validation.inputs[0]) == [row + 0.5 for row in range(20)]
    assert validation.outputs[0][:, 0].tolist() == y[:20].tolist()
    assert (len(prepared.source_rows("train")), len(prepared.source_rows("validation"))) == (sizes[0], 0)
    assert train.inputs[0].mean() == pytest.approx(0, abs=1e-5)  # the statistics are those of the training rows
    unsealed = prepared.unsealed()
    np.testing.assert_array_equal(unsealed.inputs[0], np.concatenate([train.inputs[0], validation.inputs[0]]))
    np.testing.assert_array_equal(unsealed.outputs[0], np.concatenate([train.outputs[0], validation.outputs[0]]))
    assert PreparedDataset.open(prepared.folder) == prepared


def test_given_validation_rows_leave_the_encodings_alone(cache: Path) -> None:
    raw, other = _table(), _table()
    assert isinstance(other.train, ArrayRows)
    strange = {**other.train.arrays, "colour/tint": np.array(["never seen"] * 200, dtype=object)}
    given = [GivenSplit(rows=rows, targets=raw.targets) for rows in (raw.train, ArrayRows(strange))]
    one, two = (
        _prepare(replace(raw, given={"validation": split}), cache / str(number)) for number, split in enumerate(given)
    )
    assert one.encodings == two.encodings
    assert set(two.split("validation").inputs[1].ravel().tolist()) == {1}


def test_scaling_is_fitted_on_training_rows_only(numbered: Numbered, cache: Path) -> None:
    raw = numbered(np.linspace(0, 9, 100))
    prepared = _prepare(raw, cache)
    train = prepared.split("train")
    assert train.inputs[0].mean() == pytest.approx(0, abs=1e-5)
    assert train.inputs[0].std() == pytest.approx(1, abs=1e-5)
    assert train.outputs[0].std() == pytest.approx(1, abs=1e-5)
    held = np.concatenate(
        [
            _raw_rows(prepared, prepared.split("validation").inputs[0]),
            _raw_rows(prepared, prepared.sealed_test().inputs[0]),
        ]
    ).astype(int)
    x = _array(raw).copy()
    x[held] += 1e6
    changed = replace(raw, train=ArrayRows({ARRAY_FEATURE: x}))
    again = _prepare(changed, cache / "other")
    assert again.encodings == prepared.encodings
    np.testing.assert_array_equal(again.split("train").inputs[0], train.inputs[0])


def test_the_raw_example_holds_raw_training_rows(cache: Path) -> None:
    raw = load("digits")
    prepared = _prepare(raw, cache)
    example = prepared.raw_example()
    assert isinstance(example, np.ndarray)
    assert (example.shape, example.dtype) == ((5, 64), _array(raw).dtype)
    encoded = prepared.encodings[0].encode({ARRAY_FEATURE: example})
    np.testing.assert_array_equal(encoded, prepared.split("train").inputs[0][:5])


def test_images_and_two_classes(cache: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 4), dtype=np.uint8)
    prepared = _prepare(raw_from_arrays("m", images, np.arange(50) % 2 == 0), cache)
    assert (prepared.spec.raw_inputs[0].shape, prepared.spec.input_shape) == ((6, 4), (6, 4, 1))
    assert prepared.spec.output.labels == (False, True)
    assert prepared.split("train").outputs[0].shape == (32, 1)
    assert PreparedDataset.open(prepared.folder).spec == prepared.spec


def test_the_second_time_nothing_is_written(cache: Path) -> None:
    prepared = _prepare(load("iris"), cache)
    before = _stamps(cache)
    assert _prepare(load("iris"), cache) == prepared
    assert _prepare(load("iris"), cache, task=Task.MULTICLASS) == prepared
    assert _stamps(cache) == before


def test_files_of_another_version_are_prepared_again_and_split_alike(cache: Path) -> None:
    before = _prepare(load("iris"), cache)
    rows = before.source_rows("test")
    spec = before.folder / "spec.json"
    written = spec.read_text("utf-8")
    spec.write_text(json.dumps(json.loads(written) | {"format": 3}), "utf-8")
    with pytest.raises(DataError, match="another version of automl"):
        PreparedDataset.open(before.folder)
    after = _prepare(load("iris"), cache)
    assert (after.folder, spec.read_text("utf-8")) == (before.folder, written)
    np.testing.assert_array_equal(after.source_rows("test"), rows)


def test_what_makes_another_dataset(cache: Path) -> None:
    raw = load("digits")
    given = GivenSplit(rows=raw.train, targets=raw.targets, source_hash="0")
    others = [
        _prepare(raw, cache),
        _prepare(raw, cache, split_seed=1),
        _prepare(raw, cache, task=Task.REGRESSION),
        _prepare(replace(raw, targets={"other": raw.targets["target"]}), cache),
        _prepare(replace(raw, content_hash="0"), cache),
        _prepare(replace(raw, given={"test": given}), cache),
        _prepare(replace(raw, given={"validation": given}), cache),
        _prepare(replace(raw, given={"validation": replace(given, source_hash="1")}), cache),
        _prepare(replace(raw, given={"validation": given, "test": given}), cache),
    ]
    assert len({prepared.spec.fingerprint for prepared in others}) == len(others)


def test_identities_are_those_of_earlier_versions(numbered: Numbered, cache: Path) -> None:
    """A study goes on only where its dataset has the fingerprint that it began with."""
    y = np.arange(100) % 2
    found = [_prepare(numbered(y, test_rows=rows), cache).spec.fingerprint for rows in (0, 30)]
    assert found == ["9ce3f997452f23a4", "94a7172c44d7925a"]


def test_a_copy_under_another_name_shares_the_arrays(cache: Path) -> None:
    raw = load("iris")
    one, other = _prepare(raw, cache), _prepare(replace(raw, name="flowers"), cache)
    assert (one.folder, other.spec.name) == (other.folder, "flowers")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_unusable_features_are_refused(cache: Path, value: float) -> None:
    raw = load("iris")
    x = _array(raw).copy()
    x[3:5, 1] = value
    bad = replace(raw, train=ArrayRows({ARRAY_FEATURE: x}), columns=tuple(Column(name=name) for name in "abcd"))
    with pytest.raises(DataError, match="in 2 of 150 rows, columns 'b'; expected finite numbers"):
        _prepare(bad, cache)
    given = GivenSplit(rows=bad.train, targets=raw.targets)
    for split in ("validation", "test"):
        with pytest.raises(DataError, match=f"of the {split} split hold"):
            _prepare(replace(raw, given={split: given}), cache)
    assert not cache.exists() or not list(cache.iterdir())


def test_arrays_without_columns_count_rows_only(cache: Path) -> None:
    x = np.zeros((20, 3, 2))
    x[4] = np.nan
    with pytest.raises(DataError, match="in 1 of 20 rows; expected finite"):
        _prepare(raw_from_arrays("m", x, np.arange(20) % 2), cache)


def test_a_killed_process_leaves_nothing_that_can_be_read(cache: Path) -> None:
    whole = _prepare(load("iris"), cache)
    shutil.rmtree(whole.folder)
    code = (
        "import os, sys; from pathlib import Path; from automl.data.prepare import _published\n"
        "with _published(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'train').mkdir(); (partial / 'train' / 'x0.npy').write_bytes(b'half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(whole.folder)], check=False).returncode == 9
    (partial,) = cache.iterdir()
    assert not whole.folder.exists()
    with pytest.raises(DataError, match="no complete prepared dataset"):
        PreparedDataset.open(whole.folder)
    assert _prepare(load("iris"), cache) == whole
    assert partial.exists()  # it could be the work of a process that is still alive
    a_week_ago = time.time() - 7 * 24 * 3600
    for path in [partial, *partial.rglob("*")]:
        os.utime(path, (a_week_ago, a_week_ago))
    _prepare(load("wine"), cache)
    assert not partial.exists()


def test_an_error_in_the_middle_leaves_nothing(cache: Path) -> None:
    def interrupted() -> None:
        with _published(cache / "one") as partial:
            (partial / "x0.npy").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(cache.iterdir()) == []


def test_the_first_of_two_processes_wins(cache: Path) -> None:
    with _published(cache / "one") as late:
        (late / "who").write_text("late")
        with _published(cache / "one") as early:
            (early / "who").write_text("early")
    assert (cache / "one" / "who").read_text() == "early"
    assert [folder.name for folder in cache.iterdir()] == ["one"]


def test_two_processes_at_once_both_end_well(cache: Path) -> None:
    command = [sys.executable, "-c", IRIS_CODE, str(cache)]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    (folder,) = cache.iterdir()
    assert PreparedDataset.open(folder) == _prepare(load("iris"), cache)


@pytest.mark.parametrize(
    "damage", ["spec.json", "encoding.json", "train/x0.npy", "test/y0.npy", "raw_example.npz", "rows.npz"]
)
@pytest.mark.parametrize("how", ["missing", "short"])
def test_a_damaged_folder_is_prepared_again(cache: Path, damage: str, how: str) -> None:
    prepared = _prepare(load("iris"), cache)
    whole = (prepared.folder / damage).read_bytes()
    if how == "missing":
        (prepared.folder / damage).unlink()
    else:
        (prepared.folder / damage).write_bytes(whole[:-10])
    with pytest.raises(DataError, match="prepare the dataset again"):
        PreparedDataset.open(prepared.folder)
    assert _prepare(load("iris"), cache) == prepared
    assert (prepared.folder / damage).read_bytes() == whole
    assert list(cache.iterdir()) == [prepared.folder]


def test_a_cache_that_cannot_be_written_is_an_error_of_the_surroundings(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SurroundingsError, match="cannot write the prepared dataset"):
        _prepare(load("iris"), tmp_path / "file" / "datasets")


def test_no_second_copy_of_the_data_is_held(cache: Path) -> None:
    images = np.zeros((20_000, 28, 28), np.uint8)  # 16 MB, encoded 63 MB
    raw = raw_from_arrays("m", images, np.arange(20_000) % 10)
    _prepare(load("iris"), cache)  # imports
    tracemalloc.start()
    try:
        _prepare(raw, cache)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < images.nbytes


def test_a_table_becomes_an_input_a_kind(cache: Path) -> None:
    prepared = _prepare(_table(), cache)
    spec = prepared.spec
    assert [(one.name, one.kind) for one in spec.inputs] == [
        ("numbers", InputKind.NUMERIC),
        ("categories", InputKind.CATEGORICAL),
        ("text", InputKind.TEXT),
    ]
    assert [(one.name, one.dtype) for one in spec.raw_inputs] == [
        ("number", "float32"),
        ("when", "float32"),
        ("colour_tint", "string"),
        ("story", "string"),
    ]
    train = prepared.split("train")
    assert [array.dtype for array in train.inputs] == [np.float32, np.int32, np.int32]
    assert [array.shape for array in train.inputs] == [(128, 3), (128, 1), (128, 4)]
    example = prepared.raw_example()
    assert isinstance(example, dict)
    assert example["story"].shape == (5, 1)
    assert example["number"].dtype == np.float32
    assert PreparedDataset.open(prepared.folder) == prepared


def test_source_rows_say_where_each_row_comes_from(cache: Path) -> None:
    prepared = _prepare(_table(), cache)
    for name, split in (
        ("train", prepared.split("train")),
        ("validation", prepared.split("validation")),
        ("test", prepared.sealed_test()),
    ):
        rows = prepared.source_rows(name)  # type: ignore[arg-type]
        assert split.outputs[0][:, 0].tolist() == (rows % 2).tolist()
        assert split.inputs[0][:, 2].tolist() == (rows % 7 == 0).tolist()


def test_vocabularies_are_of_training_rows_only(cache: Path) -> None:
    raw = _table()
    prepared = _prepare(raw, cache)
    held = np.concatenate([prepared.source_rows("validation"), prepared.source_rows("test")])
    assert isinstance(raw.train, ArrayRows)
    colours = raw.train.arrays["colour/tint"].copy()
    colours[held] = "never seen in training"
    changed = replace(raw, train=ArrayRows({**raw.train.arrays, "colour/tint": colours}))
    again = _prepare(changed, cache / "other")
    assert again.encodings == prepared.encodings
    assert set(again.sealed_test().inputs[1].ravel().tolist()) == {1}


def test_infinite_numbers_of_a_table_are_refused_and_missing_ones_are_not(cache: Path) -> None:
    raw = _table()
    assert isinstance(raw.train, ArrayRows)
    bad = raw.train.arrays["when"].copy()
    bad[5] = np.inf
    with pytest.raises(DataError, match=r"the features hold infinity .* in 1 of 200 rows, columns 'when'"):
        _prepare(replace(raw, train=ArrayRows({**raw.train.arrays, "when": bad})), cache)


def test_outputs_of_different_kinds(cache: Path) -> None:
    prepared = _prepare(_table(kind=np.arange(200) % 3, size=np.linspace(0, 1, 200)), cache)
    assert [(one.name, one.task, one.units) for one in prepared.spec.outputs] == [
        ("kind", Task.MULTICLASS, 3),
        ("size", Task.REGRESSION, 1),
    ]
    assert [array.shape for array in prepared.split("train").outputs] == [(128,), (128, 1)]


def test_folds_share_one_pool(numbered: Numbered, cache: Path) -> None:
    raw = numbered(np.arange(100) % 2)
    prepared = prepare(raw, task=None, split_seed=0, cache=cache, folds=4)
    spec = prepared.spec
    assert (spec.folds, spec.train_rows, spec.validation_rows, spec.test_rows) == (4, 60, 20, 20)
    assert not (prepared.folder / "validation").exists()
    held: list[int] = []
    for fold in range(4):
        train, validation = prepared.split("train", fold=fold), prepared.split("validation", fold=fold)
        assert train.chosen is not None
        assert validation.chosen is not None
        assert (train.rows, validation.rows, len(train.inputs[0])) == (60, 20, 80)
        assert not set(train.chosen) & set(validation.chosen)
        held += validation.chosen.tolist()
    assert sorted(held) == list(range(80))
    with pytest.raises(RequestError, match="expected a fold from 0 to 3, received None"):
        prepared.split("train")
    with pytest.raises(RequestError, match="received 4"):
        prepared.split("train", fold=4)
    assert prepared.spec.fingerprint != _prepare(raw, cache).spec.fingerprint


def test_balanced_classes_weigh_alike(numbered: Numbered, cache: Path) -> None:
    y = np.repeat([0, 1], [160, 40])
    prepared = prepare(numbered(y), task=None, split_seed=0, cache=cache, class_weight="balanced")
    train = prepared.split("train")
    assert train.weights is not None
    labels = train.outputs[0][:, 0]
    assert train.weights.mean() == pytest.approx(1.0)
    assert train.weights[labels == 0].sum() == pytest.approx(train.weights[labels == 1].sum(), rel=1e-5)
    assert prepared.split("validation").weights is None


def test_weights_of_rows_are_kept_with_mean_one(numbered: Numbered, cache: Path) -> None:
    raw = replace(numbered(np.linspace(0, 1, 100)), weights=np.arange(100.0))
    prepared = _prepare(raw, cache)
    weights = prepared.split("train").weights
    assert weights is not None
    rows = prepared.source_rows("train")
    np.testing.assert_allclose(weights, rows / rows.mean(), rtol=1e-6)
    unsealed = prepared.unsealed()
    rows = np.concatenate([rows, prepared.source_rows("validation")])
    np.testing.assert_allclose(unsealed.weights, rows / rows.mean(), rtol=1e-6)


def test_given_validation_rows_weigh_in_a_refit(numbered: Numbered, cache: Path) -> None:
    raw = replace(numbered(np.linspace(0, 1, 100), validation_rows=20, test_rows=10), weights=np.arange(100.0))
    own = replace(raw.given["validation"], weights=np.arange(20.0) + 50)
    weighed = replace(raw, given={**raw.given, "validation": own})
    for one, given in ((raw, np.full(20, 49.5)), (weighed, own.weights)):  # without weights: the mean of the others
        prepared = _prepare(one, cache)
        np.testing.assert_allclose(prepared.split("train").weights, raw.weights / 49.5, rtol=1e-6)
        whole = np.concatenate([raw.weights, given])
        np.testing.assert_allclose(prepared.unsealed().weights, whole / whole.mean(), rtol=1e-6)
        assert prepared.split("validation").weights is None


def test_given_validation_rows_count_where_classes_are_balanced(numbered: Numbered, cache: Path) -> None:
    raw = numbered(np.repeat([0, 1], [40, 160]), validation_rows=40, test_rows=10)  # the first 40 validate
    prepared = prepare(raw, task=None, split_seed=0, cache=cache, class_weight="balanced")
    for split, rows in ((prepared.split("train"), (40, 160)), (prepared.unsealed(), (80, 160))):
        labels, weights = np.asarray(split.outputs[0])[:, 0], np.asarray(split.weights)
        assert (int((labels == 0).sum()), int((labels == 1).sum())) == rows
        assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum(), rel=1e-5)
        assert weights.mean() == pytest.approx(1.0)


def test_rows_that_are_not_sealed_are_read_as_one_split(numbered: Numbered, cache: Path) -> None:
    prepared = _prepare(numbered(np.arange(200) % 2), cache)
    unsealed, parts = prepared.unsealed(), [prepared.split("train"), prepared.split("validation")]
    whole = np.concatenate([part.inputs[0] for part in parts])
    assert unsealed.rows == len(whole) == prepared.spec.train_rows + prepared.spec.validation_rows
    joined = unsealed.inputs[0]
    assert (joined.shape, joined.dtype, joined.nbytes) == (whole.shape, whole.dtype, whole.nbytes)
    np.testing.assert_array_equal(np.asarray(joined), whole)
    rows = np.array([len(whole) - 1, 0, prepared.spec.train_rows, 3])
    np.testing.assert_array_equal(joined[rows], whole[rows])
    np.testing.assert_array_equal(unsealed.outputs[0], np.concatenate([part.outputs[0] for part in parts]))
    assert unsealed.weights is None


def test_with_folds_every_fold_is_among_the_rows_that_are_not_sealed(numbered: Numbered, cache: Path) -> None:
    prepared = prepare(numbered(np.arange(100) % 2), task=None, split_seed=0, cache=cache, folds=4)
    assert prepared.unsealed().rows == 80


def test_classes_of_a_regression_cannot_be_balanced(numbered: Numbered, cache: Path) -> None:
    with pytest.raises(DataError, match="--class-weight goes with one target of classes, received regression"):
        prepare(numbered(np.linspace(0, 1, 50)), task=None, split_seed=0, cache=cache, class_weight="balanced")


def test_weights_that_are_all_zero_are_refused(numbered: Numbered, cache: Path) -> None:
    with pytest.raises(DataError, match="every training row has the weight 0"):
        _prepare(replace(numbered(np.linspace(0, 1, 50)), weights=np.zeros(50)), cache)


def test_folds_in_time_say_how_many_rows_a_model_has_on_average(numbered: Numbered, cache: Path) -> None:
    raw = replace(numbered(np.arange(200) % 2), times=np.arange(200.0))
    prepared = prepare(raw, task=None, split_seed=0, cache=cache, folds=3)
    trained = [prepared.split("train", fold=fold).rows for fold in range(3)]
    assert trained == [40, 80, 120]
    assert (prepared.spec.train_rows, prepared.spec.validation_rows, prepared.spec.test_rows) == (80, 40, 40)


def test_groups_of_any_dtype_are_known_again(numbered: Numbered, cache: Path) -> None:
    def fingerprint(shift: int) -> str:
        groups = np.array([f"patient {(row + shift) // 10}" for row in range(200)], dtype=object)
        return _prepare(replace(numbered(np.arange(200) % 2), groups=groups), cache).spec.fingerprint

    assert fingerprint(0) == fingerprint(0) != fingerprint(5)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_given_split_without_one_of_the_targets_is_refused(split: str) -> None:
    x = np.arange(20.0)[:, None]
    with pytest.raises(DataError, match=f"the {split} split has the targets 'a'; expected 'a', 'b'"):
        raw_from_arrays("m", x, {"a": x[:, 0], "b": x[:, 0]}, given={split: (x, {"a": x[:, 0]})})
