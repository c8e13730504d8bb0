from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from automl.data_request import DataRequest, names, source_of
from automl.dataset_spec import Task
from automl.errors import RequestError


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


def test_a_file_that_is_gone_is_known() -> None:
    assert DataRequest(source="/no/such/file.csv").is_missing_file
    assert not DataRequest(source="digits").is_missing_file
    assert not DataRequest(source=None).is_missing_file
