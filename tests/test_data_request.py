from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from automl.data_request import DataRequest, names, source_of, source_of_split
from automl.dataset_spec import Task
from automl.errors import RequestError
from automl.home import Home
from automl.run_search import _prepare_again


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ()), ("a", ("a",)), ("a, b", ("a", "b")), (["a", "b,c"], ("a", "b,c")), (("x",), ("x",))],
)
def test_names(value: Any, expected: tuple[str, ...]) -> None:
    assert names(value) == expected


def test_a_source_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert source_of("digits") == "digits"
    assert source_of("openml:61") == "openml:61"
    assert source_of("table.csv") == str(tmp_path / "table.csv")
    assert source_of("pictures") == str(tmp_path / "pictures")
    assert source_of(Path("pictures")) == str(tmp_path / "pictures")
    assert source_of("no-such-name") == "no-such-name"
    assert source_of((np.zeros((3, 1)), np.zeros(3))) is None


def test_a_request_is_kept_as_json() -> None:
    request = DataRequest(source="a.csv", target=("x", "y"), task=("binary",), folds=3, class_weight="balanced")
    assert DataRequest.from_json(request.to_json()) == request
    given = DataRequest(source="/a.csv", validation="/v.csv", test="/t.csv")
    assert DataRequest.from_json(given.to_json()) == given
    before = {key: value for key, value in request.to_json().items() if key != "validation"}  # of an earlier version
    assert DataRequest.from_json(before) == request


def test_rows_of_a_split_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = (np.zeros((3, 1)), np.zeros(3))
    assert source_of_split("validation", "v.csv", "m.csv") == str(tmp_path / "v.csv")
    assert source_of_split("validation", Path("v.csv"), "m.csv") == str(tmp_path / "v.csv")
    assert source_of_split("validation", None, "m.csv") is None
    assert source_of_split("validation", arrays, arrays) is None
    with pytest.raises(RequestError, match="validation= takes a path where the dataset is no Python object"):
        source_of_split("validation", arrays, "m.csv")


def test_rows_of_a_split_are_loaded_with_the_dataset(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": range(40), "kind": ["a", "b"] * 20, "price": [float(n) * 1.5 for n in range(40)]})
    frame.to_csv(tmp_path / "m.csv", index=False)
    frame[:10].to_csv(tmp_path / "v.csv", index=False)
    request = DataRequest(source=str(tmp_path / "m.csv"), target=("price",), validation=str(tmp_path / "v.csv"))
    assert request.load().given["validation"].rows.count == 10
    raw = DataRequest(source=None, target=("price",)).load(frame, validation=frame[:9], test=frame[:8])
    assert {split: given.rows.count for split, given in raw.given.items()} == {"validation": 9, "test": 8}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"task": ("multiklass",)}, "unknown task 'multiklass'; did you mean 'multiclass'"),
        ({"class_weight": "balance"}, "unknown class weight 'balance'; did you mean 'balanced'"),
        ({"folds": 1}, "--folds takes a whole number from 2 to 20, received 1"),
        ({"folds": 21}, "--folds takes a whole number from 2 to 20, received 21"),
        ({"split_seed": -1}, "--split-seed takes a whole number from 0, received -1"),
    ],
)
def test_a_wrong_request(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        DataRequest(source="digits", **arguments)


def test_a_request_loads_and_prepares(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": range(40), "kind": ["a", "b"] * 20, "price": [float(n) * 1.5 for n in range(40)]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source, data in ((str(tmp_path / "t.csv"), None), (None, frame)):
        request = DataRequest(source=source, target=("price",))
        prepared = request.prepare(request.load(data), tmp_path / "datasets")
        assert [column.name for column in prepared.spec.columns] == ["size", "kind"]
        assert prepared.spec.task is Task.REGRESSION


def test_a_task_a_target_gives_an_output_each(tmp_path: Path) -> None:
    x, labels = np.arange(80.0).reshape(40, 2), np.arange(40) % 2
    request = DataRequest(source=None, task=("binary", "regression"))
    prepared = request.prepare(request.load((x, {"yes": labels, "sum": x.sum(axis=1)})), tmp_path)
    assert [(output.name, output.task.value) for output in prepared.spec.outputs] == [
        ("yes", "binary"),
        ("sum", "regression"),
    ]


def test_an_older_study_on_a_file_that_gives_validation_rows_is_told_so(tmp_path: Path) -> None:
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "m.npz", x_train=x, y_train=y, x_val=x[:4], y_val=y[:4])
    asked = DataRequest(source=str(tmp_path / "m.npz")).to_json()
    before = {"data": {key: value for key, value in asked.items() if key != "validation"}, "fingerprint": "0" * 16}
    with pytest.raises(RequestError, match="gives validation rows, which study 'mine' did not know as such when it"):
        _prepare_again("mine", before, Home(tmp_path / "home"))
    with pytest.raises(RequestError, match="has changed since study 'mine' began"):
        _prepare_again("mine", before | {"data": asked}, Home(tmp_path / "home"))


def test_a_file_that_is_gone_is_known() -> None:
    assert DataRequest(source="/no/such/file.csv").is_missing_file
    assert DataRequest(source=__file__, validation="/no/such/file.csv").is_missing_file
    assert DataRequest(source=__file__, test="/no/such/file.csv").is_missing_file
    assert not DataRequest(source=__file__, validation=__file__).is_missing_file
    assert not DataRequest(source="digits").is_missing_file
    assert not DataRequest(source=None).is_missing_file
