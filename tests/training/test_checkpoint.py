"""Checkpoints: a trial that was cut off goes on as if it had not been, and a bad file costs time and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resumed_trials import (
    EPOCHS,
    convolutional,
    curve,
    dense,
    make_job,
    recurrent,
    small,
    with_a_layer_of_its_own,
    with_a_step_of_its_own,
    with_hidden_state,
    with_two_optimizers,
)
from whole_trials import Ran, run

from automl.data import PreparedDataset
from automl.records import Decision, EpochReport, TrialState
from automl.search_space import Build
from automl.standard_parameters import OPTIMIZERS, SCHEDULES
from automl.training import checkpoint as module
from automl.training.checkpoint import Checkpoint, Checkpoints, Pace, checkpoint_folder, discard
from automl.training.graphs import Graphs
from automl.training.weights import load_arrays


@pytest.fixture
def after_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due after every epoch, whatever it costs."""
    monkeypatch.setattr(module, "_LOST_SECONDS", 0.0)
    monkeypatch.setattr(module, "_COST_SHARE", float("inf"))


def _files(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def _assert_goes_on(whole: Ran, resumed: Ran) -> None:
    assert [report.epoch for report in resumed[0]] == [report.epoch for report in whole[0]]
    for one, other in zip(curve(resumed[0]), curve(whole[0]), strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert (resumed[1].state, resumed[1].reason) == (whole[1].state, whole[1].reason)


def _forget(folder: Path, epoch: int) -> None:
    """Delete the checkpoint of an epoch: what is left is what a trial leaves that was killed before it."""
    (path,) = folder.glob(f"{epoch:06d}-*.npz")
    path.unlink()


@pytest.fixture(scope="module")
def used() -> Graphs:
    """Graphs for all but what goes on in new ones."""
    return Graphs()


@pytest.fixture(scope="module")
def whole(digits: PreparedDataset, used: Graphs) -> Ran:
    """A trial that keeps nothing."""
    return run(make_job(), dense, digits, used)


@pytest.mark.usefixtures("after_every_epoch")
def test_it_goes_on_after_any_epoch(digits: PreparedDataset, whole: Ran, used: Graphs, tmp_path: Path) -> None:
    """Each checkpoint of one trial alone, in a folder of its own."""

    def set_aside(report: EpochReport) -> None:
        for path in (tmp_path / "000000").glob(f"{report.epoch - 1:06d}-*.npz"):
            (tmp_path / str(report.epoch - 1)).mkdir()
            shutil.copy(path, tmp_path / str(report.epoch - 1))

    run(make_job(checkpoint_folder=tmp_path / "000000"), dense, digits, used, seen=set_aside)
    for epoch in range(1, EPOCHS):
        resumed = run(make_job(checkpoint_folder=tmp_path / str(epoch)), dense, digits)
        _assert_goes_on(whole, resumed)


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize("build", [convolutional, recurrent, with_a_layer_of_its_own, with_a_step_of_its_own])
def test_a_killed_trial_goes_on_as_if_it_had_not_been(build: Build, digits: PreparedDataset, tmp_path: Path) -> None:
    job = make_job(checkpoint_folder=tmp_path / "000000")
    whole = run(job, build, digits)
    _forget(tmp_path / "000000", 3)
    resumed = run(job, build, digits)
    _assert_goes_on(whole, resumed)
    assert resumed[0][:2] == whole[0][:2]  # reported as they were, not trained again
    assert resumed[0][2:] != whole[0][2:]


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_and_schedule_goes_on(
    optimizer: str, schedule: str, digits: PreparedDataset, used: Graphs, tmp_path: Path
) -> None:
    own = {"sgd": {"momentum": 0.9, "nesterov": True}, "adamw": {"weight_decay": 0.01}}.get(optimizer, {})
    config = {"optimizer": optimizer, "learning_rate_schedule": schedule, "batch_size": 100, **own}
    job = make_job(config=config, checkpoint_folder=tmp_path / "000000")
    whole = run(job, small, digits, used)
    _forget(tmp_path / "000000", 3)
    _assert_goes_on(whole, run(job, small, digits))


@pytest.mark.usefixtures("after_every_epoch")
def test_folds_go_on_in_lockstep(folded: PreparedDataset, used: Graphs, tmp_path: Path) -> None:
    job = make_job(checkpoint_folder=tmp_path / "000000")
    whole = run(job, dense, folded, used)
    _forget(tmp_path / "000000", 3)
    _assert_goes_on(whole, run(job, dense, folded))


@pytest.mark.usefixtures("after_every_epoch")
def test_patience_and_the_weights_of_the_best_epoch_go_on(digits: PreparedDataset, tmp_path: Path) -> None:
    """The best epoch lies before the checkpoint, and the file of its weights is gone."""
    config = {"batch_size": 100, "optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.95}
    weights = tmp_path / "weights.npz"
    job = make_job(config=config, patience=3, epochs=30, weights_path=weights, checkpoint_folder=tmp_path / "000000")
    whole = run(job, small, digits)
    losses = [report.metrics["val_loss"] for report in whole[0]]
    best_epoch = losses.index(min(losses)) + 1
    assert (whole[1].reason, len(losses)) == ("patience", best_epoch + 3)
    best = load_arrays(weights)
    weights.unlink()
    _, paused = run(job, small, digits, decisions={len(losses): Decision.PAUSE})  # it is out of patience already
    assert paused.state is TrialState.PAUSED
    weights.unlink()
    _assert_goes_on(whole, run(job, small, digits))
    for one, other in zip(load_arrays(weights), best, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_paused_trial_goes_on(digits: PreparedDataset, whole: Ran, used: Graphs, tmp_path: Path) -> None:
    job = make_job(checkpoint_folder=tmp_path / "000000")
    _, paused = run(job, dense, digits, used, decisions={2: Decision.PAUSE})
    assert paused.state is TrialState.PAUSED
    assert _files(tmp_path / "000000") == ["000002"]  # no epoch took so long that there were others
    again, paused = run(job, dense, digits, used, decisions={1: Decision.PAUSE})  # while it reports what it knows
    assert paused.state is TrialState.PAUSED
    assert (len(again), _files(tmp_path / "000000")) == (1, ["000002"])
    _assert_goes_on(whole, run(job, dense, digits, used))
    _, paused = run(job, dense, digits, used, decisions={EPOCHS: Decision.PAUSE})
    assert paused.state is TrialState.PAUSED
    assert _files(tmp_path / "000000") == ["000002", "000004"]
    _assert_goes_on(whole, run(job, dense, digits, used))  # all of it is known


@pytest.mark.parametrize("build", [with_hidden_state, with_two_optimizers])
def test_a_model_that_hides_what_it_knows_begins_again(build: Build, digits: PreparedDataset, tmp_path: Path) -> None:
    """A variable that changes is none of the model's or its optimizer's: a checkpoint would not hold all of it."""
    job = make_job(checkpoint_folder=tmp_path / "000000", epochs=3)
    whole = run(job, build, digits)
    _, paused = run(job, build, digits, decisions={2: Decision.PAUSE})
    assert paused.state is TrialState.PAUSED
    assert not (tmp_path / "000000").exists()
    _assert_goes_on(whole, run(job, build, digits))


def test_a_fit_of_its_own_begins_again(digits: PreparedDataset, tmp_path: Path) -> None:
    class Fitted:
        def __call__(self, config: Any, spec: Any) -> Any:
            return small(config, spec)

        def fit_for(self, config: Any) -> Any:
            return lambda model, x, y, **arguments: model.fit(x, y, **arguments)

    job = make_job(checkpoint_folder=tmp_path / "000000", epochs=2)
    _, paused = run(job, Fitted(), digits, decisions={1: Decision.PAUSE})
    assert paused.state is TrialState.PAUSED
    assert not (tmp_path / "000000").exists()
    assert len(run(job, Fitted(), digits)[0]) == 2


@pytest.mark.usefixtures("after_every_epoch")
@pytest.mark.parametrize(
    ("changes", "build"),
    [
        ({"seed": 8}, dense),
        ({"config": {**make_job().config, "learning_rate": 0.02}}, dense),
        ({}, with_a_layer_of_its_own),  # the builder was edited between the two sessions
    ],
    ids=["seed", "config", "model"],
)
def test_a_checkpoint_of_another_trial_is_not_taken(
    changes: dict[str, Any],
    build: Build,
    digits: PreparedDataset,
    used: Graphs,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "000000"
    run(make_job(checkpoint_folder=folder), dense, digits, used)
    resumed = run(make_job(**changes, checkpoint_folder=folder), build, digits, used)
    assert caplog.text.count("another trial") == 2
    _assert_goes_on(run(make_job(**changes), build, digits, used), resumed)


_CHILD = """
import json, os, resource, sys
from pathlib import Path
from resumed_trials import curve, dense, make_job
from whole_trials import run
from automl.data import PreparedDataset
from automl.training import checkpoint

import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(1)
folder, data = Path(sys.argv[1]), PreparedDataset.open(Path(sys.argv[2]))
resumed, ended = run(make_job(checkpoint_folder=folder / "killed"), dense, data)
checkpoint._LOST_SECONDS, checkpoint._COST_SHARE = 0.0, float("inf")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
full, _ = run(make_job(checkpoint_folder=folder / "full"), dense, data)
sys.stdout.write(json.dumps([curve(resumed), curve(full), os.listdir(folder / "full")]))
"""


@pytest.mark.usefixtures("after_every_epoch")
def test_it_goes_on_in_another_process_and_a_full_disk_does_not_stop_it(
    digits: PreparedDataset, whole: Ran, used: Graphs, tmp_path: Path
) -> None:
    run(make_job(checkpoint_folder=tmp_path / "killed"), dense, digits, used)
    _forget(tmp_path / "killed", 3)
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, str(tmp_path), str(digits.folder)],
        env={**os.environ, "PYTHONPATH": folders, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    resumed, full, left = json.loads(done.stdout)
    for some in (resumed, full):
        for one, other in zip(some, curve(whole[0]), strict=True):
            assert one == pytest.approx(other, abs=1e-6)
    assert left == []
    assert done.stderr.count("no checkpoint of epoch") == EPOCHS - 1
    assert "File too large" in done.stderr


def _write(folder: Path, epochs: int, *, identity: Any = None) -> Checkpoints:
    checkpoints = Checkpoints(folder, identity or {"seed": 1})
    reports = [EpochReport(epoch=epoch, metrics={"loss": 1 / epoch}, seconds=0.1) for epoch in range(1, epochs + 1)]
    arrays = [np.full((3, 2), float(epochs), "float32"), np.array(epochs, "int64"), np.zeros((0, 4))]
    checkpoints.write(Checkpoint(models=[arrays, arrays[:1]], reports=reports, best_weights=arrays[:2]))
    return checkpoints


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    found = _write(tmp_path, 3).newest()
    assert found is not None
    assert (found.epoch, [report.epoch for report in found.reports]) == (3, [1, 2, 3])
    assert [report.metrics["loss"] for report in found.reports] == [1, 1 / 2, 1 / 3]
    assert [len(model) for model in found.models] == [3, 1]
    assert [(one.shape, one.dtype.name) for one in found.models[0]] == [
        ((3, 2), "float32"),
        ((), "int64"),
        ((0, 4), "float64"),
    ]
    assert found.best_weights is not None
    np.testing.assert_array_equal(found.best_weights[0], np.full((3, 2), 3.0))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [_flip, _cut, lambda path: path.write_bytes(b"")], ids=["bit", "half", "empty"])
def test_of_a_damaged_one_the_older_is_taken(damage: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for epochs in (1, 2, 3):
        checkpoints = _write(tmp_path, epochs)
    _, newest = sorted(tmp_path.iterdir())  # two are kept
    damage(newest)
    found = checkpoints.newest()
    assert found is not None
    assert found.epoch == 2
    assert "damaged" in caplog.text
    _write(tmp_path, 3)
    assert _files(tmp_path) == ["000002", "000003"]
    for path in tmp_path.iterdir():
        damage(path)
    assert checkpoints.newest() is None
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, 1)
    (tmp_path / "12345.tmp").write_text("of a process that was killed")
    monkeypatch.setattr(module, "_FREE_BYTES", 2**60)
    with pytest.raises(OSError, match="must remain"):
        _write(tmp_path, 2)
    found = Checkpoints(tmp_path, {"seed": 1}).newest()
    assert found is not None
    assert found.epoch == 1
    monkeypatch.undo()
    _write(tmp_path, 2)
    assert _files(tmp_path) == ["000001", "000002"]


def test_no_pickle_is_read(tmp_path: Path) -> None:
    """A file whose name says the truth, and whose content could run code."""
    import hashlib

    path = tmp_path / "plain.npz"
    np.savez(path, np.array([{}], dtype=object))
    path.rename(tmp_path / f"000001-{hashlib.sha256(path.read_bytes()).hexdigest()}.npz")
    assert Checkpoints(tmp_path, {"seed": 1}).newest() is None


def _due(pace: Pace, *epochs: float, cost: float) -> list[int]:
    """Return the epochs after which a checkpoint was written."""
    written = []
    for number, seconds in enumerate(epochs, start=1):
        pace.trained(seconds)
        if pace.is_due:
            written.append(number)
            pace.tried(cost)
    return written


def test_a_crash_costs_half_a_minute_or_an_epoch() -> None:
    assert _due(Pace(expected_bytes=0), *[10.0] * 9, cost=0.0) == [3, 6, 9]
    assert _due(Pace(expected_bytes=0), *[20.0] * 4, cost=0.0) == [1, 2, 3, 4]
    assert _due(Pace(expected_bytes=0), *[200.0] * 3, cost=0.0) == [1, 2, 3]
    assert _due(Pace(expected_bytes=0), *[0.125] * 239, cost=0.0) == []


def test_writing_costs_at_most_a_fiftieth_of_training() -> None:
    seconds = [20.0] * 60
    written = _due(Pace(expected_bytes=0), *seconds, cost=1.5)
    assert 10 < len(written) * 1.5 <= 0.02 * sum(seconds)
    huge = 10**9  # ten seconds, before anything is known
    assert _due(Pace(expected_bytes=huge), *seconds, cost=0.1)[0] * 20.0 >= 500.0


def test_folders(tmp_path: Path) -> None:
    assert checkpoint_folder(tmp_path, 12) == tmp_path / "checkpoints" / "000012"
    assert checkpoint_folder(tmp_path, 12, 2) == tmp_path / "checkpoints" / "000012-02"
    discard(None)
    discard(tmp_path / "none")
    _write(tmp_path / "some", 1)
    discard(tmp_path / "some")
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_folder_keeps_nothing(digits: PreparedDataset, used: Graphs) -> None:
    assert make_job().checkpoint_folder is None
    _, paused = run(make_job(), dense, digits, used, decisions={1: Decision.PAUSE})
    assert paused.state is TrialState.PAUSED
