"""The tracker against real stores: SQLite files, and one real server."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from mlflow_stores import EPOCH_METRICS, assert_written_once, free_port, runs, server, steps, track
from tracked_studies import CONFIG, FINAL, NOLOAD, SPEC, epochs, trial

from automl.records import EpochReport, TrialState
from automl.study_record import StudyRecord
from automl.tracking.mlflow import MlflowTracker, embedded_uri
from automl.tracking.mlflow_runs import REFUSALS, Projection

pytestmark = pytest.mark.filterwarnings(NOLOAD)

Make = Callable[..., StudyRecord]


def test_a_study_is_a_tree_of_runs(home: Path, client: Any, study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    failed = trial(
        2, TrialState.FAILED, value=None, best_epoch=None, epochs=(), reason="nan", message="x" * 9000 + "end"
    )
    finalist = trial(1, seed=7)
    refit = trial(
        1, seed=9, value=None, best_epoch=None, epochs=(EpochReport(epoch=1, metrics={"loss": 0.4}, seconds=1),)
    )
    record = study(
        trial(0),
        trial(1),
        failed,
        finalists=(finalist, replace(finalist, seed=8)),
        refit=refit,
        final=FINAL,
        elapsed_seconds=60,
    )
    assert track(home, record) == 0

    (parent,) = runs(client, "study")
    assert parent.info.run_name == "digits-mlp-001"
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {
        "space": "mlp",
        "objective": "val_accuracy:max",
        "sampler": "tpe",
        "trials": "10",
        "seed": "0",
    }
    assert parent.data.tags["automl.space"] == "mlp"
    assert parent.data.tags["automl.fingerprint"] == SPEC.fingerprint
    assert parent.data.tags["automl.best"] == "trial-0001"
    assert "| units | 16..512 log | 64 |" in parent.data.tags["mlflow.note.content"]
    assert [point.value for point in client.get_metric_history(parent.info.run_id, "value")] == [
        0.5,
        0.51,
        0.51,
    ]
    assert parent.data.metrics["test_accuracy"] == 0.95
    assert 58 <= (parent.info.end_time - parent.info.start_time) / 1000 <= 90
    assert parent.info.artifact_uri.startswith((home / "artifacts").as_uri())

    first, _, third = runs(client, "trial")
    assert first.info.run_name == "trial-0000"
    assert first.info.status == "FINISHED"
    assert first.data.params["hidden"] == "2"
    assert first.data.metrics["parameter_count"] == 7000
    assert first.data.metrics["seconds"] == pytest.approx(0.8)
    assert (first.info.end_time - first.info.start_time) == 800
    assert third.info.status == "FAILED"
    assert third.data.tags["automl.reason"] == "nan"
    assert third.data.tags["automl.message"].endswith("end")

    names = [run.info.run_name for run in runs(client, "finalist")]
    assert names == ["finalist-0001-1", "finalist-0001-2"]
    (refitted,) = runs(client, "refit")
    assert (refitted.info.run_name, refitted.info.status) == ("refit-0001", "FINISHED")
    assert [(point.step, point.value) for point in client.get_metric_history(refitted.info.run_id, "loss")] == [
        (1, 0.4)
    ]
    assert "value" not in refitted.data.metrics
    assert track(home, record) == 0  # another process finds it there
    assert len(runs(client, "refit")) == 1
    assert not (home / "mlruns").exists()


def test_a_second_process_adds_only_what_is_missing(home: Path, client: Any, study: Make) -> None:
    record = study(*(trial(number) for number in range(3)))
    assert track(home, record) == 0
    assert track(home, record) == 0
    longer = study(*(trial(number) for number in range(5)), settings={"sampler": "tpe", "trials": 20, "seed": 0})
    assert track(home, longer) == 0
    assert_written_once(client, longer)
    (parent,) = runs(client, "study")
    assert parent.data.params["trials"] == "10"
    assert parent.data.tags["automl.setting.trials"] == "20"


def test_a_trial_that_was_interrupted_goes_on_in_its_run(home: Path, client: Any, study: Make) -> None:
    half = trial(0, TrialState.RUNNING, epochs=epochs(3, seconds=3.0)[:2], value=None)
    assert track(home, study(half)) == 0
    (run,) = runs(client, "trial")
    assert run.info.status == "KILLED"
    assert runs(client, "study")[0].info.status == "KILLED"

    whole = study(trial(0, epochs=epochs(3, seconds=3.0)))
    assert track(home, whole) == 0
    assert_written_once(client, whole)
    (again,) = runs(client, "trial")
    assert again.info.run_id == run.info.run_id
    assert again.info.status == "FINISHED"


def test_a_trial_that_runs_again_after_it_failed_has_one_run(home: Path, client: Any, study: Make) -> None:
    lost = trial(0, TrialState.FAILED, reason="interrupted", value=None, epochs=epochs(3)[:1])
    assert track(home, study(lost, trial(1))) == 0
    whole = study(trial(0), trial(1))
    assert track(home, study(replace(lost, state=TrialState.RUNNING, reason=""), trial(1)), whole) == 0
    assert runs(client, "trial")[0].data.metrics["epochs"] == 3
    assert [run.info.run_name for run in runs(client, "trial")] == ["trial-0000", "trial-0001"]


def test_running_trials_are_written_live_but_short_ones_only_whole(home: Path, client: Any, study: Make) -> None:
    projection = Projection(embedded_uri(home), home / "artifacts")
    old = trial(0, TrialState.RUNNING, epochs=epochs(9, seconds=1.0)[:6], value=None)
    new = trial(1, TrialState.RUNNING, epochs=epochs(9, seconds=0.1), value=None)
    projection.catch_up(study(old, new), is_last=False)
    (run,) = runs(client, "trial")
    assert run.info.status == "RUNNING"
    assert steps(client, run, "val_loss") == [1, 2, 3, 4, 5, 6]

    older = replace(old, epochs=epochs(9, seconds=1.0)[:7])
    projection.catch_up(study(older, new), is_last=False)
    assert steps(client, run, "val_loss") == [1, 2, 3, 4, 5, 6]  # Not due yet.
    assert projection.count_unsent(study(older, new)) == 2

    record = study(trial(0, epochs=epochs(9, seconds=1.0)), trial(1, epochs=epochs(9)))
    projection.catch_up(record, is_last=False)
    assert_written_once(client, record)


def test_two_studies_of_one_name_do_not_mix(home: Path, client: Any, study: Make) -> None:
    elsewhere = home / "elsewhere" / "digits-mlp-001"
    assert track(home, study(trial(0), trial(1))) == 0
    assert track(home, study(trial(0), folder=elsewhere)) == 0
    first, second = runs(client, "study")
    assert first.data.tags["automl.study_id"] != second.data.tags["automl.study_id"]
    parents = [run.data.tags["mlflow.parentRunId"] for run in runs(client, "trial")]
    assert sorted(map(parents.count, {first.info.run_id, second.info.run_id})) == [1, 2]


def test_large_trials_and_odd_numbers_fit(home: Path, client: Any, study: Make) -> None:
    config = CONFIG | {f"p{index}": index for index in range(150)}
    odd = EpochReport(epoch=401, metrics={"loss": float("nan"), "val_loss": float("inf")}, seconds=0.1)
    record = study(trial(0, config=config, epochs=(*epochs(400), odd)))
    assert track(home, record) == 0
    (run,) = runs(client, "trial")
    assert len(run.data.params) == 158
    assert steps(client, run, "val_loss") == list(range(1, 402))
    assert str(run.data.metrics["loss"]) == str(run.data.metrics["val_loss"]) == "nan"


@contextmanager
def _dying(monkeypatch: pytest.MonkeyPatch, call: int, *, after: bool) -> Iterator[None]:
    """Let the `call`-th write fail, before it reached the store or after (its answer is lost)."""
    from mlflow import MlflowClient

    left = [call]

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            answer = real(*arguments, **options) if left[0] != 0 or after else None
            if left[0] == 0:
                raise ConnectionError("killed here")
            return answer

        return write

    with monkeypatch.context() as patch:
        for name in (
            "create_experiment",
            "create_run",
            "log_inputs",
            "log_batch",
            "set_terminated",
            "update_run",
        ):
            patch.setattr(MlflowClient, name, failing(getattr(MlflowClient, name)))
        yield


@pytest.mark.parametrize("after", [False, True])
def test_whatever_write_fails_everything_is_there_once(
    home: Path, client: Any, study: Make, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    half = trial(1, TrialState.RUNNING, epochs=epochs(3, seconds=9.0)[:2], value=None)
    records = (study(trial(0), half), study(trial(0), trial(1, epochs=epochs(3, seconds=9.0)), final=FINAL))
    failures = 0
    for call in range(1, 30):
        spec = replace(SPEC, name="digits" if call == 1 else f"digits-{call}")
        one, two = (replace(record, dataset=spec) for record in records)
        projection = Projection(embedded_uri(home), home / "artifacts")
        try:
            with _dying(monkeypatch, call, after=after):
                projection.catch_up(one, is_last=False)
                projection.catch_up(two, is_last=True)
        except ConnectionError:
            failures += 1
        Projection(embedded_uri(home), home / "artifacts").catch_up(two, is_last=True)
        children = runs(client, "trial", spec.name)
        assert [run.data.tags["automl.trial"] for run in children] == ["0", "1"], call
        assert [run.info.status for run in children] == ["FINISHED", "FINISHED"]
        for run in children:
            assert [steps(client, run, metric) for metric in ("loss", "epoch_seconds")] == [[1, 2, 3]] * 2, call
            assert [len(steps(client, run, metric)) for metric in ("value", "seconds")] == [1, 1], call
            assert len(run.inputs.dataset_inputs) == 1, call
        (parent,) = runs(client, "study", spec.name)
        assert steps(client, parent, "value") == [0, 1]
        assert steps(client, parent, "test_accuracy") == [0]
        assert parent.info.status == "FINISHED"
        if failures < call:
            break
    assert 10 < failures < 29  # Every write of the two rounds was tried, and then a round without a failure.


def test_a_trial_that_mlflow_refuses_holds_up_no_other(
    home: Path, client: Any, study: Make, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow.exceptions import MlflowException

    record = study(trial(0, config={"..": 1}), trial(1))
    projection = Projection(embedded_uri(home), home / "artifacts")
    for _ in range(REFUSALS):
        with pytest.raises(MlflowException, match=r"\.\."):
            projection.catch_up(record, is_last=True)
        projection.forget()
    projection.catch_up(record, is_last=True)
    assert projection.count_unsent(record) == 1
    assert steps(client, runs(client, "trial")[1], "loss") == [1, 2, 3]
    assert [entry.levelname for entry in caplog.records if "refuses trial-0000" in entry.message] == ["WARNING"]


def test_runs_and_experiments_deleted_in_the_ui_come_back(home: Path, client: Any, study: Make) -> None:
    record = study(trial(0), trial(1))
    assert track(home, record) == 0
    client.delete_run(runs(client, "trial")[0].info.run_id)
    assert track(home, record) == 0
    assert_written_once(client, record)
    client.delete_experiment(client.get_experiment_by_name("digits").experiment_id)
    longer = study(trial(0), trial(1), trial(2))
    assert track(home, longer) == 0
    assert len(runs(client, "study")) == 1
    assert {run.info.run_name for run in runs(client, "trial")} >= {"trial-0001", "trial-0002"}


def test_the_final_model_is_logged_once_with_its_signature(
    home: Path, client: Any, study: Make, saved_model: Path
) -> None:
    from mlflow.models import Model

    record = study(trial(0), trial(1), final=FINAL)
    assert track(home, record) == 0  # Without a model there is nothing to log, and nothing fails.
    experiment_id = client.get_experiment_by_name("digits").experiment_id
    assert client.search_logged_models([experiment_id]) == []

    shutil.copytree(saved_model, record.folder / "model" / "mlflow")
    assert track(home, record) == 0
    assert track(home, record) == 0
    (model,) = client.search_logged_models([experiment_id])
    (parent,) = runs(client, "study")
    assert str(model.status) == "READY"
    assert model.name == "digits-mlp-001"
    assert model.source_run_id == parent.info.run_id
    assert model.params["hidden.0.units"] == "64"
    assert [output.model_id for output in parent.outputs.model_outputs] == [model.model_id]
    scores = {metric.key: metric.value for metric in client.get_logged_model(model.model_id).metrics}
    assert scores["test_accuracy"] == 0.95
    assert steps(client, parent, "test_accuracy") == [0]

    logged = Path(urlparse(model.artifact_location).path)
    assert (logged / "data" / "model.keras").read_bytes() == b"weights"
    description = Model.load(str(logged))
    assert (description.model_id, description.run_id) == (model.model_id, parent.info.run_id)
    assert description.signature.inputs.inputs[0].shape == (-1, 3)


def test_updates_cost_nothing_and_an_unreachable_server_warns_once(
    study: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tracker = MlflowTracker(f"http://me:secret@127.0.0.1:{free_port()}", artifact_root=None)
    record = study(*(trial(number, epochs=()) for number in range(10_000)))
    started = time.perf_counter()
    for _ in range(1_000):
        tracker.update(record)
    assert time.perf_counter() - started < 0.5
    assert tracker.close(timeout_seconds=2) == 10_000
    (warning,) = [entry for entry in caplog.records if entry.name.startswith("automl")]
    assert "the search goes on" in warning.message
    assert "secret" not in caplog.text


def test_a_tracker_that_saw_nothing_closes_at_once(home: Path) -> None:
    assert MlflowTracker(embedded_uri(home), artifact_root=None).close(timeout_seconds=0) == 0


QUIET_SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tracked_studies import SPEC, trial
from automl.objective import Objective
from automl.study_record import StudyRecord
from automl.tracking.mlflow import MlflowTracker, embedded_uri

home = Path(sys.argv[1])
record = StudyRecord(
    name="digits-mlp-001", folder=home / "studies" / "digits-mlp-001", dataset=SPEC, space="mlp",
    space_table=(), objective=Objective("val_accuracy", "max"), settings={},
    trials=tuple(trial(n) for n in range(int(sys.argv[3]))),
)
tracker = MlflowTracker(embedded_uri(home), artifact_root=home / "artifacts")
assert "mlflow" not in sys.modules
started = time.perf_counter()
tracker.update(record)
assert time.perf_counter() - started < 0.1
assert tracker.close(timeout_seconds=60) == 0
assert not {"tensorflow", "keras", "jax", "torch", "ray", "optuna"} & set(sys.modules)
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
"""


def _script(home: Path, trials: int) -> subprocess.Popen[str]:
    here = Path(__file__).parent
    command = [sys.executable, "-c", QUIET_SCRIPT, str(home), str(here), str(trials)]
    repository = here.parent.parent
    environment = os.environ | {"PYTHONPATH": str(repository)}
    return subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_new_store_is_opened_without_a_word(tmp_path: Path) -> None:
    process = _script(tmp_path, 2)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert not (tmp_path / "mlruns").exists()


def test_a_driver_that_is_killed_leaves_nothing_to_write_twice(home: Path, client: Any, study: Make) -> None:
    process = _script(home, 400)
    while len(_trials_so_far(client)) < 10:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left_behind = len(_trials_so_far(client))
    assert left_behind < 400
    record = study(*(trial(number) for number in range(left_behind + 5)), settings={})
    assert track(home, record) == 0
    assert_written_once(client, record)


def _trials_so_far(client: Any) -> list[Any]:
    return runs(client, "trial") if client.get_experiment_by_name("digits") else []


def test_an_outage_of_a_server_loses_nothing(
    home: Path,
    client: Any,
    study: Make,
    saved_model: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    tracker = MlflowTracker(f"http://127.0.0.1:{port}", artifact_root=home / "unused")
    with server(home, port):
        tracker.update(study(*(trial(number) for number in range(4))))
        while len(_trials_so_far(client)) < 4:
            time.sleep(0.1)
    nan = EpochReport(epoch=1, metrics={name: float("nan") for name in EPOCH_METRICS[:1]}, seconds=0.1)
    record = study(
        *(trial(number) for number in range(7)),
        finalists=(trial(1, epochs=(nan,)),),
        final=FINAL,
    )
    tracker.update(record)
    time.sleep(1.2)  # So long that a round of writing meets the outage.
    shutil.copytree(saved_model, record.folder / "model" / "mlflow")
    with server(home, port):
        assert tracker.close(timeout_seconds=30) == 0
        assert_written_once(client, record)
        (parent,) = runs(client, "study")
        assert parent.data.metrics["test_accuracy"] == 0.95
        assert parent.info.artifact_uri.startswith("mlflow-artifacts:")
        (model,) = client.search_logged_models([parent.info.experiment_id])
        assert str(model.status) == "READY"
        (finalist,) = runs(client, "finalist")
        assert str(finalist.data.metrics["accuracy"]) == "nan"
    ours = [entry.levelname for entry in caplog.records if entry.name.startswith("automl")]
    assert ours == ["WARNING", "INFO"]
    assert capfd.readouterr() == ("", "")
