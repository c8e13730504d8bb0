"""The main job, as a user does it: a real search in real processes, and everything one does with it afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from command import Ran, Run, run_automl

import automl as automl_package
from automl.records import TrialRecord, TrialState

Searched = tuple[Path, Ran]


def test_search_prints_the_best_architecture_and_the_next_commands(searched: Searched) -> None:
    _, ran = searched
    assert ran.code == 0, ran.err
    assert "best architecture for iris (space mlp)" in ran.out
    for expected in ("hidden.units", "optimizer", "learning_rate", "parameters", "validation", "test", "95 % interval"):
        assert expected in ran.out
    assert "automl report iris-mlp-001" in ran.out
    assert "trial 0 " in ran.err  # plain lines where there is no terminal
    assert "oneDNN" not in ran.err  # TensorFlow's chatter is in the log file
    assert "Traceback" not in ran.err


def test_result_from_python(searched: Searched) -> None:
    folder, _ = searched
    result = automl_package.load_result("iris-mlp-001", home=folder / "home")
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in result.trials) == 4
    assert all(16 <= layer["units"] <= 32 for layer in result.best.config["hidden"])
    assert result.test_score is not None
    assert result.test_interval is not None
    assert result.test_interval[0] <= result.test_score <= result.test_interval[1]
    epochs = result.to_dataframe(epochs=True)
    assert len(epochs) == sum(len(trial.epochs) for trial in result.trials)
    assert {"loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"} <= set(epochs.columns)
    assert len(result.to_dataframe()) == len(result.trials)
    assert result.report(folder / "own.html").stat().st_size > 100_000


def test_final_model_predicts_from_raw_rows(searched: Searched) -> None:
    """In a process of its own, with keras alone: nothing of automl is needed to use the model."""
    folder, _ = searched
    model = folder / "home" / "studies" / "iris-mlp-001" / "model" / "model.keras"
    script = (
        "import sys, keras, numpy as np; from sklearn.datasets import load_iris; d = load_iris()\n"
        "p = keras.saving.load_model(sys.argv[1]).predict(d.data, verbose=0)\n"
        "print(p.shape, np.allclose(p.sum(axis=1), 1, atol=1e-5), float((p.argmax(axis=1) == d.target).mean()))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(model)], capture_output=True, text=True, check=True)
    shape, sums, accuracy = done.stdout.strip().rsplit(" ", 2)
    assert (shape, sums) == ("(150, 3)", "True")
    assert float(accuracy) > 0.5


def test_mlflow_holds_the_tree_of_runs(searched: Searched) -> None:
    folder, _ = searched
    script = (
        "import sys, json, mlflow; mlflow.set_tracking_uri(sys.argv[1]); e = mlflow.get_experiment_by_name('iris')\n"
        "runs = mlflow.search_runs([e.experiment_id], output_format='list')\n"
        "print(json.dumps([[r.info.run_name, r.info.status, r.data.tags, r.data.params] for r in runs]))"
    )
    uri = f"sqlite:///{folder / 'home' / 'mlflow.db'}"
    done = subprocess.run([sys.executable, "-c", script, uri], capture_output=True, text=True, check=True)
    runs = {name: (status, tags, params) for name, status, tags, params in json.loads(done.stdout)}
    assert runs["iris-mlp-001"][0] == "FINISHED"
    children = [tags for _, tags, _ in runs.values() if "mlflow.parentRunId" in tags]
    assert len(children) == 4 + 3 + 1  # trials, one finalist on three seeds, and the refit


def test_status_best_and_report(searched: Searched) -> None:
    folder, _ = searched
    assert "iris-mlp-001" in run_automl(["status"], cwd=folder).out
    assert "val_accuracy" in run_automl(["status", "iris-mlp-001"], cwd=folder).out
    (best,) = json.loads(run_automl(["best", "--json"], cwd=folder).out)
    assert best["test"]["metrics"]["accuracy"] >= 0.3
    assert best["best"]["config"]["optimizer"]
    path = Path(run_automl(["report", "iris-mlp-001"], cwd=folder).out.strip())
    assert "iris-mlp-001" in path.read_text("utf-8")


def test_a_name_that_exists_is_refused_and_resume_is_offered(searched: Searched) -> None:
    folder, _ = searched
    ran = run_automl(["search", "iris", "--name", "iris-mlp-001"], cwd=folder)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "automl resume iris-mlp-001" in ran.err


def test_an_interrupted_search_goes_on_as_one_that_nobody_interrupted(tmp_path: Path) -> None:
    """SIGINT to the driver alone: exit code 130, the resume command, no orphan; the rest is what it would have been.

    Three processes, one seed: the same proposals and learning curves, with the trial that was cut off among them, which
    goes on from its checkpoint.
    """
    arguments = ["search", "digits", "--trials", "3", "--epochs", "60", "--seed", "3", "--workers", "1"]
    arguments += ["--finalists", "0", "--no-mlflow", "--scheduler", "none", "--patience", "0"]
    arguments += ["--set", "batch_size=32"]  # or else epochs may be too short to be cut off in
    ran = run_automl([*arguments, "--name", "whole"], cwd=tmp_path)
    assert ran.code == 0, ran.err
    whole = automl_package.load_result("whole", home=tmp_path / "home").trials

    command = [str(Path(sys.executable).with_name("automl")), *arguments, "--name", "cut"]
    environment = {**os.environ, "AUTOML_HOME": str(tmp_path / "home")}
    journal = tmp_path / "home" / "studies" / "cut" / "journal.log"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as search:
        assert search.stderr is not None
        assert any(line.startswith("trial 0") for line in search.stderr)
        while journal.read_bytes().count(b'"epoch:2"') < 2:
            assert search.poll() is None
            time.sleep(0.02)
        workers = psutil.Process(search.pid).children(recursive=True)
        search.send_signal(signal.SIGINT)
        rest = search.stderr.read()
        assert search.wait(30) == 130
    assert "automl resume cut" in rest
    assert "Traceback" not in rest
    assert workers
    assert not any(worker.is_running() for worker in workers)
    checkpoints = journal.parent / "checkpoints"
    assert [folder.name for folder in checkpoints.iterdir()] == ["000001"]
    ended, cut = automl_package.load_result("cut", home=tmp_path / "home").trials
    assert (ended.state, cut.state) == (TrialState.COMPLETE, TrialState.RUNNING)
    assert 2 <= len(cut.epochs) < 60

    ran = run_automl(["resume", "cut"], cwd=tmp_path)
    assert ran.code == 0, ran.err
    resumed = automl_package.load_result("cut", home=tmp_path / "home").trials
    assert [trial.state for trial in resumed] == [TrialState.COMPLETE] * 3
    assert resumed[0] == ended
    assert resumed[1].epochs[: len(cut.epochs)] == cut.epochs  # their seconds too: they were not trained again
    assert [(trial.config, trial.seed) for trial in resumed] == [(trial.config, trial.seed) for trial in whole]
    for number in (0, 2):
        assert _curve(resumed[number]) == _curve(whole[number])
    assert _curve(resumed[1]) == [pytest.approx(metrics, abs=1e-6) for metrics in _curve(whole[1])]
    assert not checkpoints.exists()


def _curve(trial: TrialRecord) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in trial.epochs]


def test_own_table_own_space_that_is_exhausted(tmp_path: Path, automl: Run) -> None:
    """A table of numbers, and a space from a file that holds two configs."""
    (tmp_path / "tiny.py").write_text(
        "from automl import Int, SearchSpace, input_layers, output_layers\n"
        "def build(config, spec):\n"
        "    import keras\n"
        "    inputs, x = input_layers(spec)\n"
        "    x = keras.layers.Dense(config['units'], activation='relu')(x)\n"
        "    return keras.Model(inputs, output_layers(x, spec))\n"
        "space = SearchSpace('tiny', [Int('units', 2, 3)], build)\n"
    )
    x = np.random.default_rng(0).normal(size=(80, 2))
    rows = "\n".join(f"{a},{b},{3 * a - b}" for a, b in x)
    (tmp_path / "plane.csv").write_text(f"a,b,y\n{rows}\n")
    arguments = ["search", "plane.csv", "--target", "y", "--space", "tiny.py", "--trials", "9", "--epochs", "3"]
    ran = automl(*arguments, "--workers", "1", "--finalists", "0", "--no-mlflow")
    assert ran.code == 0, ran.err
    assert "exhausted" in ran.err
    (found,) = json.loads(automl("best", "--json").out)
    assert found["objective"] == "val_rmse"
    assert sum(found["trials"].values()) == 2  # the space has two configs: it is exhausted, not repeated


def test_a_search_validates_on_the_rows_that_are_given(automl: Run, tmp_path: Path) -> None:
    """With class weights, a finalist, the refit and an export; resumed without the file, and refused with another."""
    x = np.random.default_rng(0).normal(size=(160, 2))
    rows = [f"{a},{b},{'yes' if a > b + 0.5 else 'no'}" for a, b in x]
    (tmp_path / "mine.csv").write_text("\n".join(["a,b,y", *rows[:120]]))
    (tmp_path / "valid.csv").write_text("\n".join(["a,b,y", *rows[120:]]))
    arguments = ["search", "mine.csv", "--target", "y", "--validation", "valid.csv", "--class-weight", "balanced"]
    budget = ["--trials", "2", "--epochs", "3", "--finalists", "1", "--workers", "1", "--no-mlflow", "--name", "mine"]
    ran = automl(*arguments, *budget)
    assert ran.code == 0, ran.err
    record = automl_package.load_result("mine").record
    spec = record.dataset
    assert (spec.train_rows, spec.validation_rows, spec.test_rows) == (96, 40, 24)
    assert record.best is not None
    assert record.best.value is not None
    assert record.best.value * 40 == pytest.approx(round(record.best.value * 40), abs=1e-4)
    assert record.refit is not None
    assert record.refit.state is TrialState.COMPLETE

    assert automl("export", "mine", "out").code == 0
    assert "96 to train, 40 to validate, 24 sealed to test" in (tmp_path / "out" / "model_card.md").read_text("utf-8")
    assert len(np.load(tmp_path / "out" / "data" / "validation_x0.npy")) == 40

    (tmp_path / "valid.csv").unlink()
    ran = automl("resume", "mine")
    assert ran.code == 0, ran.err
    (tmp_path / "valid.csv").write_text("\n".join(["a,b,y", *rows[100:]]))
    ran = automl("resume", "mine")
    assert ran.code == 2
    assert "valid.csv has changed since study 'mine' began" in ran.err


def test_space_that_cannot_be_built_leaves_nothing(automl: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from automl import Int, SearchSpace\n"
        "def build(config, spec):\n"
        "    raise ValueError('no such layer')\n"
        "space = SearchSpace('bad', [Int('units', 2, 3)], build)\n"
    )
    ran = automl("search", "iris", "--space", "bad.py", "--no-mlflow")
    assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
    assert "no such layer" in ran.err
    assert list((tmp_path / "home" / "studies").iterdir()) == []


@pytest.mark.parametrize("command", [["search", "digits"], ["resume", "x"], ["status"], ["best"], ["report"], ["ui"]])
def test_help_of_every_command(automl: Run, command: list[str]) -> None:
    ran = automl(command[0], "--help")
    assert ran.code == 0
    for option in ("--home", "--storage", "--json", "--quiet"):
        assert option in ran.out


def test_a_dataset_that_is_refused_does_not_take_the_others_with_it(automl: Run) -> None:
    arguments = ["search", "iris", "diabetes", "--objective", "val_accuracy", "--trials", "1", "--epochs", "1"]
    ran = automl(*arguments, "--finalists", "0", "--no-mlflow", "--workers", "1", "--json")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "regression" in ran.err
    assert [found["dataset"] for found in json.loads(ran.out)] == ["iris"]


def test_sigterm_while_preparing_leaves_nothing(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("automl")), "search", "iris", "--name", "early", "--no-mlflow"]
    environment = {**os.environ, "AUTOML_HOME": str(tmp_path / "home")}
    folder = tmp_path / "home" / "studies" / "early"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as search:
        while not (folder / "workers.log").exists():
            assert search.poll() is None
        search.send_signal(signal.SIGTERM)
        assert search.stderr is not None
        assert search.stderr.read().strip() == "automl: interrupted"
        assert search.wait(30) == 130
    assert not folder.exists()
