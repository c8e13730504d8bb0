"""Wrong requests: exit code 2, one clear line that says what to do, no traceback, nothing left behind."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import psutil
import pytest
from command import run_here

WRONG = [
    (["search", "digit"], "did you mean 'digits'"),
    (["search", "digits", "--space", "mpl"], "did you mean 'mlp'"),
    (["search", "digits", "--space", "nowhere:space"], "cannot import module 'nowhere'"),
    (["search", "digits", "--space", "missing.py"], "no such file"),
    (["search", "digits", "--space", "missing.yaml"], "no such file"),
    (["search", "digits", "--sampler", "tpa"], "did you mean 'tpe'"),
    (["search", "digits", "--scheduler", "ahsa"], "did you mean 'asha'"),
    (["search", "digits", "--executor", "cloud"], "unknown executor"),
    (["search", "digits", "--executor", "ray", "--gpus-per-trial", "1.5"], "--gpus-per-trial takes a part of one"),
    (["search", "digits", "--executor", "ray", "--cpus-per-trial", "1.5"], "--cpus-per-trial takes a part of one"),
    (["search", "digits", "--executor", "ray", "--resources", "CPU=1"], "use --cpus-per-trial"),
    (["search", "digits", "--executor", "ray", "--resources", "x"], "NAME=N"),
    (["search", "digits", "--executor", "ray", "--runtime-env", "missing.yaml"], "No such file"),
    (["search", "digits", "--backend", "jaxx"], "did you mean 'jax'"),
    (["search", "digits", "--dtype-policy", "mixed_bfloat"], "did you mean 'mixed_bfloat16'"),
    (["search", "digits", "--objective", "val_acuracy"], "did you mean 'val_accuracy'"),
    (["search", "digits", "--objective", "val_accuracy:up"], "'min' or 'max'"),
    (["search", "digits", "--task", "regresion"], "did you mean 'regression'"),
    (["search", "digits", "--task", "multiclass,binary"], "one for each of 1 targets"),
    (["search", "digits", "--folds", "1"], "from 2 to 20"),
    (["search", "digits", "--class-weight", "balance"], "did you mean 'balanced'"),
    (["search", "diabetes", "--class-weight", "balanced"], "goes with one target of classes"),
    (["search", "digits", "--group", "row"], "--group"),
    (["search", "digits", "--target", "row"], "--target"),
    (["search", "digits", "--split-seed", "-1"], "from 0"),
    (["search", "openmll:61"], "unknown"),
    (["search", "digits", "--set", "units=4000"], "16..512"),
    (["search", "digits", "--set", "unit=64"], "unknown parameter 'unit'"),
    (["search", "digits", "--set", "units"], "NAME=VALUE"),
    (["search", "digits", "--set", "units=64", "--set", "units=32"], "given twice"),
    (["search", "digits", "--set", "optimizer=lion"], "adam | adamw"),
    (["search", "digits", "--trials", "0"], "whole number from 1"),
    (["search", "digits", "--trials", "many"], "--trials"),
    (["search", "digits", "--time", "soon"], "duration such as"),
    (["search", "digits", "--time", "-5m"], "duration such as"),
    (["search", "digits", "--trial-timeout", "0"], "--trial-timeout takes a duration"),
    (["search", "digits", "--workers", "0"], "from 1"),
    (["search", "digits", "--epochs", "0"], "whole number from 1"),
    (["search", "digits", "--name", "../escape"], "letters, digits"),
    (["search", "digits", "--enqueue", "missing.yaml"], "No such file"),
    (["search", "digits", "iris", "--name", "both"], "one study"),
    (["search", "missing.npz"], "missing.npz"),
    (["search"], "DATASET"),
    (["search", "digits", "--storage", "nonsense://x", "--no-mlflow"], "--storage"),
    (["resume", "nosuch", "--storage", "nonsense://x"], "--storage"),
    (["serch", "digits"], "serch"),
    (["resume", "nothing"], "unknown study 'nothing'"),
    (["status", "nothing"], "unknown study"),
    (["best"], "no study in"),
    (["delete", "nothing", "--yes"], "unknown study"),
    (["spaces", "mpl"], "did you mean 'mlp'"),
    (["spaces", "--yaml"], "NAME of one space"),
    (["predict", "nothing", "rows.csv"], "unknown study 'nothing'"),
    (["export", "nothing", "folder"], "unknown study 'nothing'"),
    (["spaces", "mlp", "--yaml", "--json"], "not both"),
    (["datasets", "digit"], "did you mean 'digits'"),
    (["ui"], "no runs in"),
    (["ui", "--port", "0"], "--port"),
    (["ui", "--port", "http"], "--port"),
    (["search", "digits", "--name", "/absolute"], "letters, digits"),
    (["search", "digits", "--name", "a\0b"], "letters, digits"),
    (["search", "digits", "--name", "x" * 5000], "letters, digits"),
    (["search", "digits", "--finalists", "-1"], "from 0"),
    (["search", "digits", "--patience", "-1"], "from 0"),
    (["search", "digits", "--seed", "-1"], "from 0"),
    (["search", "digits", "--time", "nan"], "duration such as"),
    (["resume", "../../etc"], "unknown study"),
    (["resume"], "STUDY"),
    (["resume", "nothing", "--trials", "few"], "--trials"),
    (["resume", "nothing", "--workers", "none"], "from 1"),
    (["resume", "nothing", "--retries", "-1"], "--retries takes a whole number from 0"),
    (["resume", "nothing", "--trial-timeout", "soon"], "--trial-timeout takes a duration"),
    (["status", "../x"], "unknown study"),
    (["best", "nothing"], "unknown study"),
    (["report"], "no study in"),
    (["report", "nothing"], "unknown study"),
    (["delete"], "STUDY"),
    (["delete", "..", "--yes"], "unknown study"),
    (["predict", "nothing"], "FILE"),
    (["predict", "nothing", "rows.csv", "--json"], "--output"),
    (["export", "nothing"], "DIR"),
    (["export", "../x", "folder"], "unknown study"),
    (["sync"], "--all"),
    (["sync", "nothing"], "unknown study"),
    (["sync", "nothing", "--all"], "--all"),
    (["doctor", "--repair"], "--repair"),
    (["doctor", "digits"], "digits"),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOML_HOME", str(tmp_path / "home"))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a wrong request in this process and return its one line."""
    printed = run_here(arguments, monkeypatch, capsys)
    assert printed.code == 2, printed.err
    lines = printed.err.splitlines()  # a warning of the data may come before
    assert [line for line in lines if line.startswith("automl: ")] == lines[-1:]
    assert "Traceback" not in printed.err
    assert printed.out == ""
    return printed.err


@pytest.mark.parametrize(
    ("arguments", "expected"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_request(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert expected in refused(arguments, capsys, monkeypatch)
    studies = tmp_path / "home" / "studies"
    assert not studies.exists() or list(studies.iterdir()) == []
    assert not list(tmp_path.glob("home/.*"))  # no log of workers either


def test_a_request_without_data_leaves_no_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(["search", "missing.npz"], capsys, monkeypatch)
    assert not (tmp_path / "home").exists()
    assert not psutil.Process().children()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("- {batch_size: 7}", "32 | 64"),
        ("- {colour: red}", "unknown parameter"),
        ("7", "list of configs"),
        ("{", "YAML"),
    ],
)
def test_wrong_enqueue_file(
    content: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "first.yaml").write_text(content)
    assert expected in refused(["search", "iris", "--enqueue", "first.yaml"], capsys, monkeypatch)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[pip]", "holds a mapping"),
        ("{", "YAML"),
        ("pip: 3", "--runtime-env: runtime_env['pip'] must be"),
        ("env_vars: {A: '1'}", ", 2 edge; it has"),  # read and taken; there is no such room here
    ],
)
def test_what_is_asked_of_ray(
    content: str, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("env.yaml").write_text(content)
    asked = ["--executor", "ray", "--resources", "edge=2", "--runtime-env", "env.yaml", "--workers", "1"]
    assert expected in refused(["search", "iris", *asked], capsys, monkeypatch)


def test_wrong_space_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "space.yaml").write_text("name: mine\nbulder: mlp\n")
    expected = "automl: space.yaml, line 2: unknown key of a space 'bulder'; did you mean 'builder'?"
    assert expected in refused(["search", "digits", "--space", "space.yaml"], capsys, monkeypatch)
    assert expected in refused(["spaces", "space.yaml", "--yaml"], capsys, monkeypatch)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "empty"),
        ("a,y\n1,2\n", "rows"),
        ("a,y\n" + "x,1\n" * 20, "no features left besides 'y'"),
        ("a,y\n" + "".join(f"{i},5\n" for i in range(20)), "y"),
        ("a,b\n" + "".join(f"{i},5\n" for i in range(20)), "'y'"),
        ("a,y\n" + "".join(f"{i},{'' if i == 3 else i % 2}\n" for i in range(20)), "missing in 1 of 20 rows"),
        ("a,y\n" + "".join(f"{'inf' if i == 3 else i},{i % 2}\n" for i in range(20)), "a"),
    ],
    ids=["empty", "one row", "constant words", "constant target", "no such column", "missing target", "infinite"],
)
def test_wrong_table(
    content: str,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "table.csv").write_text(content)
    assert expected in refused(["search", "table.csv", "--target", "y"], capsys, monkeypatch)


def test_cnn_on_a_table_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused(["search", "iris", "--space", "cnn", "--no-mlflow"], capsys, monkeypatch)
    assert "needs images" in message
    assert list((tmp_path / "home" / "studies").iterdir()) == []


def test_a_build_that_hangs_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["from automl import SearchSpace", "def build(config, spec):", "    while True: pass"]
    (tmp_path / "hanging.py").write_text("\n".join([*lines, "space = SearchSpace('hanging', [], build)\n"]))
    asked = ["search", "iris", "--space", "hanging.py", "--trial-timeout", "2500ms", "--workers", "1", "--no-mlflow"]
    told, refusal = refused(asked, capsys, monkeypatch).splitlines()
    assert told == "building the model of the space's default config, which may take 2.5 s"
    assert refusal == (
        "automl: building the model of the space's default config took longer than 2.5 s; it stood in "
        f"{tmp_path / 'hanging.py'}, line 3, in build: mend what it waits for there, or allow more with --trial-timeout"
    )
    assert list((tmp_path / "home" / "studies").iterdir()) == []
    assert not psutil.Process().children()


def test_home_that_cannot_be_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    assert "home folder" in refused(["search", "iris", "--home", "file"], capsys, monkeypatch)


def test_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mlflow.db").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        message = refused(["ui", "--port", str(taken.getsockname()[1])], capsys, monkeypatch)
    assert "choose another with --port" in message


@pytest.mark.parametrize("option", ["--validation", "--test"])
def test_given_rows_of_another_shape(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.zeros((30, 4), "float32"), np.arange(30) % 3
    np.savez(tmp_path / "train.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "other.npz", x_train=x[:, :3], y_train=y)
    message = refused(["search", "train.npz", option, "other.npz"], capsys, monkeypatch)
    assert f"a row of x_{option[2:]} has shape (3,), but of x_train (4,)" in message


def test_folds_beside_validation_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.zeros((30, 4), "float32"), np.arange(30) % 3
    np.savez(tmp_path / "train.npz", x_train=x, y_train=y)
    np.savez(tmp_path / "other.npz", x_train=x + 1, y_train=y)
    message = refused(["search", "train.npz", "--validation", "other.npz", "--folds", "3"], capsys, monkeypatch)
    assert "--folds validates on training rows in turn, but validation rows are given" in message
