"""Predictions as tables: names, labels, order, and what is refused."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import final_models as models
import numpy as np
import pandas as pd
import pytest
from final_models import ARRAY, DIGIT, INCOME, PRICE, TABLE, TAGS, with_outputs

from automl import predict
from automl.data import to_model_rows
from automl.dataset_spec import Column, ColumnKind, OutputSpec, Task
from automl.errors import DataError, RequestError

pytestmark = [
    pytest.mark.usefixtures("keras_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's, of TensorFlow's arrays
]


def _table(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {"age": random.normal(40, 10, rows), "job": random.choice(["cook", "nurse", "pilot", ""], rows)}


def test_binary_gives_label_and_both_probabilities() -> None:
    given = np.array([[0.2], [0.9]], "float32")
    table = predict.prediction_table([given], TABLE)
    assert list(table.columns) == ["income", "income_probability_<=50K", "income_probability_>50K"]
    assert table["income"].tolist() == ["<=50K", ">50K"]
    assert table["income_probability_>50K"].tolist() == pytest.approx([0.2, 0.9])
    assert table["income_probability_<=50K"].tolist() == pytest.approx([0.8, 0.1])


def test_multiclass_keeps_the_type_of_the_labels() -> None:
    table = predict.prediction_table([np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], "float32")], ARRAY)
    assert table["target"].tolist() == [9, 7]
    assert table["target"].dtype.kind == "i"
    assert list(table.columns)[1:] == ["target_probability_7", "target_probability_8", "target_probability_9"]


def test_labels_of_several_types_stay_as_they_are() -> None:
    output = OutputSpec(name="t", task=Task.MULTICLASS, units=3, labels=("a", 1, True))
    table = predict.prediction_table([np.eye(3, dtype="float32")], with_outputs(ARRAY, output))
    assert table["t"].tolist() == ["a", 1, True]


def test_multilabel_gives_each_label_and_its_probability() -> None:
    table = predict.prediction_table([np.array([[0.9, 0.1]], "float32")], with_outputs(ARRAY, TAGS))
    assert list(table.columns) == ["red", "red_probability", "round", "round_probability"]
    assert table.iloc[0].tolist() == pytest.approx([1, 0.9, 0, 0.1])


def test_regression_names_each_target() -> None:
    two = OutputSpec(name="width,height", task=Task.REGRESSION, units=2, offset=(0.0, 0.0), scale=(1.0, 1.0))
    table = predict.prediction_table([np.array([[1.0, 2.0]])], with_outputs(ARRAY, two))
    assert table.to_dict("list") == {"width": [1.0], "height": [2.0]}
    comma = OutputSpec(name="a,b", task=Task.REGRESSION, units=1, offset=(0.0,), scale=(1.0,))
    assert predict.target_names(comma) == ["a,b"]


def test_columns_that_two_outputs_share_are_told_apart() -> None:
    outputs = (TAGS, OutputSpec(name="more", task=Task.MULTILABEL, units=1, labels=("red",)))
    given = [np.zeros((1, 2)), np.ones((1, 1))]
    table = predict.prediction_table(given, with_outputs(ARRAY, *outputs))
    assert list(table.columns) == [
        *("tags_red", "tags_red_probability", "round", "round_probability", "more_red", "more_red_probability")
    ]


def test_a_table_with_text_and_several_outputs_agrees_with_the_model() -> None:
    spec = with_outputs(TABLE, PRICE, INCOME)
    model = models.final(spec)
    rows = _table(50)
    table = predict.predict_table(model, spec, rows)
    wanted = models.called(model, to_model_rows(rows, spec))
    np.testing.assert_allclose(table["price/m2"], wanted["price_m2"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(table["income_probability_>50K"], wanted["income"][:, 0], rtol=1e-5)
    assert len(table) == 50


def test_arrays_are_predicted_in_order_over_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = models.final(ARRAY)
    rows = np.random.default_rng(0).normal(size=(1000, 2, 2))
    wanted = models.called(model, rows.astype("float32"))
    monkeypatch.setattr(predict, "_CALL_ROWS", 64)
    monkeypatch.setattr("automl.data.raw._BATCH_BYTES", 100 * 4 * 8)
    table = predict.predict_table(model, ARRAY, rows)
    np.testing.assert_allclose(table.iloc[:, 1:], wanted, rtol=1e-5)
    assert table["target"].tolist() == [DIGIT.labels[k] for k in wanted.argmax(axis=1)]


def test_missing_values_and_dates_are_typed() -> None:
    columns = (
        Column(name="n"),
        Column(name="b", kind=ColumnKind.BOOLEAN),
        Column(name="d", kind=ColumnKind.DATE),
        Column(name="c", kind=ColumnKind.CATEGORY),
    )
    frame = pd.DataFrame(
        {"n": [1, None], "b": [True, None], "d": ["1970-01-03", None], "c": ["x", None], "other": [0, 0]}
    )
    batch = next(iter(predict.rows_of(frame, replace(TABLE, columns=columns)).batches()))
    assert list(batch) == ["n", "b", "d", "c"]
    np.testing.assert_array_equal(batch["n"], [1, np.nan])
    np.testing.assert_array_equal(batch["b"], [1, np.nan])
    np.testing.assert_array_equal(batch["d"], [2, np.nan])
    assert batch["c"].tolist() == ["x", ""]


@pytest.mark.parametrize(
    ("spec", "rows", "message"),
    [
        (TABLE, {"age": [1]}, "'job'"),
        (TABLE, {"age": ["old"], "job": ["cook"]}, "'age' must hold numbers"),
        (TABLE, {"age": [1, 2], "job": ["cook"]}, "different lengths"),
        (TABLE, {"age": [], "job": []}, "no rows"),
        (TABLE, np.zeros((3, 5)), r"shape \(2,\)"),
        (ARRAY, np.zeros((3, 4)), r"shape \(2, 2\)"),
        (ARRAY, np.zeros(()), r"shape \(2, 2\)"),
        (ARRAY, np.zeros((0, 2, 2)), "no rows"),
        (ARRAY, {"age": [1]}, "received columns"),
    ],
)
def test_wrong_rows_are_refused(spec: Any, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        predict.rows_of(rows, spec)


def test_wrong_outputs_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("a\n1\n")
    (tmp_path / "folder.csv").mkdir()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    wrong = {
        tmp_path / "out.xlsx": "ends in",
        source: "is the input",
        tmp_path / "none" / "out.csv": "make the folder",
        tmp_path / "folder.csv": "expected a file",
    }
    if os.geteuid():
        wrong[locked / "out.csv"] = "cannot be written"
    for path, message in wrong.items():
        with pytest.raises(RequestError, match=message):
            predict.check_output(path, source=source)
    predict.check_output(tmp_path / "out.csv.gz", source=source)


@pytest.mark.parametrize("form", predict.FORMS)
def test_every_form_of_file_holds_every_row(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = models.final(TABLE), _table(300)
    model.save(tmp_path / "model.keras")
    source = predict.rows_of(rows, TABLE)
    monkeypatch.setattr("automl.predict.new_rows", lambda path, spec, encoding: source)
    monkeypatch.setattr("automl.data.raw._BATCH_BYTES", 100 * 2 * 8)
    said: list[tuple[int, int]] = []
    out = tmp_path / f"out{form}"
    done = predict.predict_file(
        say=lambda *counts: said.append(counts),
        model_path=tmp_path / "model.keras",
        spec=TABLE,
        path=Path("in.csv"),
        encoding=None,
        partial=out,
        form=form,
    )
    assert done == 300
    assert said == [(0, 300), (100, 300), (200, 300), (300, 300)]
    table = pd.read_parquet(out) if form == ".parquet" else pd.read_csv(out)
    wanted = predict.predict_table(model, TABLE, rows)
    assert table["income"].tolist() == wanted["income"].tolist()
    np.testing.assert_allclose(table.iloc[:, 1:], wanted.iloc[:, 1:], rtol=1e-5)
    if form == ".csv.gz":
        assert gzip.decompress(out.read_bytes()).startswith(b"income,")
