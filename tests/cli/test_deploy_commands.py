"""`automl predict` and `automl export`, on a study that was put together by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import final_models as models
import numpy as np
import pandas as pd
import pytest
from command import Run

from automl.data import to_model_rows
from automl.dataset_spec import DatasetSpec
from automl.home import Home
from automl.objective import Objective
from automl.parameters import Int
from automl.records import EpochReport, FinalScore, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.study import Study

pytestmark = [
    pytest.mark.usefixtures("keras_here"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras's, of TensorFlow's arrays
]


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, Any]:
    """A finished study `made` on a table, in the home of the command; its folder and its final model."""
    return _study(tmp_path, models.TABLE)


def _study(tmp_path: Path, spec: DatasetSpec) -> tuple[Path, Any]:
    home = Home(tmp_path / "home")
    home.create()
    folder = home.new_study_folder("made", "")
    made = Study.create(
        folder,
        storage=None,
        space=SearchSpace("made", [Int("units", 1, 9)], print),
        spec=spec,
        objective=Objective("val_accuracy", "max"),
        settings=SearchSettings(trials=1, seconds=None, epochs=3),
    )
    trial = made.ask()
    assert trial is not None
    made.report(trial.number, EpochReport(epoch=1, metrics={"val_accuracy": 0.8, "val_loss": 0.5}, seconds=1))
    record = made.tell(trial.number, TrialResult(state=TrialState.COMPLETE, reason="epochs", parameter_count=7))
    made.keep_finalist(trial.number, 0, record)
    scores = {"accuracy": 0.7}
    made.keep_final(FinalScore(trial=trial.number, metrics=scores, interval=(0.6, 0.8), seed_metrics=(scores,)))
    model = models.final(spec)
    (folder / "model").mkdir()
    model.save(folder / "model" / "model.keras")
    return folder, model


def _people(path: Path, rows: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"job": random.choice(["cook", "nurse", "pilot"], rows), "age": random.normal(40, 9, rows)})
    frame.to_csv(path, index=False)
    return frame


@pytest.mark.parametrize("output", ["out.csv", "out.csv.gz", "out.parquet", None])
def test_predict_gives_a_row_for_every_row(
    output: str | None, automl: Run, study: tuple[Path, Any], tmp_path: Path
) -> None:
    frame = _people(tmp_path / "people.csv", 40)
    ran = automl("predict", "made", "people.csv", *(["--output", output, "--json"] if output else []))
    assert ran.code == 0, ran.err
    if output is None:
        (tmp_path / "printed.csv").write_text(ran.out)
    else:
        summary = json.loads(ran.out)
        assert (summary["rows"], summary["output"], set(summary)) == (40, output, {"rows", "output", "seconds"})
    path = tmp_path / (output or "printed.csv")
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    batch = {"age": frame["age"].to_numpy(), "job": frame["job"].to_numpy(object)}
    wanted = models.called(study[1], to_model_rows(batch, models.TABLE))[:, 0]
    np.testing.assert_allclose(table["income_probability_>50K"], wanted, rtol=1e-4)
    assert table["income"].tolist() == np.where(wanted > 0.5, ">50K", "<=50K").tolist()
    assert not list(tmp_path.glob(".*partial"))


def test_predict_leaves_nothing_behind_where_the_file_is_wrong(
    automl: Run, study: tuple[Path, Any], tmp_path: Path
) -> None:
    (tmp_path / "wrong.csv").write_text("age,size\n1,2\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("age,job\n")
    (tmp_path / "out.csv").write_text("precious")
    for name, word in (("wrong.csv", "job"), ("empty.csv", "empty.csv"), ("header.csv", "header.csv")):
        ran = automl("predict", "made", name, "--output", "out.csv", "--quiet")
        assert (ran.code, ran.out) == (2, ""), ran.err
        assert word in ran.err
        assert ran.err.count("\n") == 1
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert not list(tmp_path.glob(".*partial"))


def test_wrong_requests_are_refused_before_anything_is_started(
    automl: Run, study: tuple[Path, Any], tmp_path: Path
) -> None:
    _people(tmp_path / "people.csv", 3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    for arguments, word in (
        (["predict", "none", "people.csv"], "unknown study"),
        (["predict", "made", "nothing.csv"], "nothing.csv"),
        (["predict", "made", "people.csv", "--output", "people.csv"], "is the input"),
        (["predict", "made", "people.csv", "--output", "out.xlsx"], ".parquet"),
        (["predict", "made", "people.csv", "--output", "no/out.csv"], "make the folder"),
        (["predict", "made", "people.csv", "--json"], "--output"),
        (["export", "none", "out"], "unknown study"),
        (["export", "made", "full"], "--force"),
        (["export", "made", "people.csv"], "is a file"),
        (["export", "made", "home"], "holds the study"),
    ):
        ran = automl(*arguments)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert word in ran.err
        assert ran.err.count("\n") == 1
    assert (tmp_path / "full" / "precious").exists()
    (study[0] / "model" / "model.keras").unlink()
    for arguments in (["predict", "made", "people.csv"], ["export", "made", "out"]):
        ran = automl(*arguments)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "no final model" in ran.err


def test_export_says_what_is_missing_and_leaves_nothing_behind(
    automl: Run, study: tuple[Path, Any], tmp_path: Path
) -> None:
    ran = automl("export", "made", "out")
    assert (ran.code, ran.out) == (2, "")
    assert "automl resume made" in ran.err  # its prepared rows were never there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]
