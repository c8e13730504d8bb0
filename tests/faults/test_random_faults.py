"""A few draws of what `python -m benchmarks.faults` does for hours: a real search, real signals, damaged files."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tracking.tracked_studies import NOLOAD

from automl.records import TrialRecord, TrialResult, TrialState
from benchmarks.fault_injection import OPTIONS, BrokenError, FaultySearch, put_in
from benchmarks.faults import draw_options


@pytest.mark.filterwarnings(NOLOAD)
def test_a_search_survives_a_killed_worker_a_torn_journal_and_a_damaged_checkpoint(tmp_path: Path) -> None:
    """In the end something is damaged that cannot be survived: the checks notice what is lost."""
    choose = random.Random(0)
    search = FaultySearch(tmp_path)
    try:
        search.start(trials=5)
        for fault in ("worker killed", "journal torn", "checkpoint damaged"):
            search.wait_training(more=2, at="checkpoint")
            put_in(search, fault, choose)
        while search.wait_end() != 0:
            search.go_on()
        assert search.went_on >= 1
        assert search.verify_end()["complete"] == search.trials
        assert search.verify_mlflow(is_whole=True) >= search.trials
    finally:
        search.kill_all()
    _check_that_mlflow_is_compared(search)
    search.trials += 1
    with pytest.raises(BrokenError, match="complete or pruned trials"):
        search.verify_end()
    journal = search.study_folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"epoch:8"' not in line))
    with pytest.raises(BrokenError, match="had ended, and has changed"):
        search.verify()


def _check_that_mlflow_is_compared(search: FaultySearch) -> None:
    """An epoch that is there twice, and a metric of one trial that is another one than the study's, are noticed."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{search.home / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    run = client.search_runs(experiments, "tags.`automl.state` = 'complete'")[0]
    client.log_metric(run.info.run_id, "val_loss", 0.5, step=1)
    for is_whole in (False, True):
        with pytest.raises(BrokenError, match="MLflow has val_loss as"):
            search.verify_mlflow(is_whole=is_whole)
    client.delete_run(run.info.run_id)
    assert search.verify_mlflow(is_whole=False) > 0
    with pytest.raises(BrokenError, match="MLflow lacks"):
        search.verify_mlflow(is_whole=True)


def test_a_fault_counts_once_and_only_where_the_trial_drew_it(tmp_path: Path) -> None:
    died = TrialResult(state=TrialState.FAILED, reason="crashed", is_transient=True)
    search = FaultySearch(tmp_path)
    search.know(
        [
            TrialRecord(
                number=0, config={"ticket": 23}, seed=1, state=TrialState.FAILED, reason="crashed", attempts=(died,)
            ),
            TrialRecord(number=1, config={"ticket": 24}, seed=2, state=TrialState.COMPLETE, attempts=(died,)),
            TrialRecord(
                number=2, config={"ticket": 24}, seed=2, state=TrialState.FAILED, reason="crashed", attempts=(died,)
            ),
        ]
    )
    assert search.failures() == {"crashed": 1}


def test_waiting_for_a_search_that_stands_still_ends(tmp_path: Path) -> None:
    search = FaultySearch(tmp_path, patience_seconds=0.5)
    search.driver = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with pytest.raises(BrokenError, match="neither trains nor ends"):
        search.wait_training(more=1)
    assert search.driver.poll() is not None


def test_every_option_is_drawn() -> None:
    drawn = [{**OPTIONS, **draw_options(random.Random(seed))} for seed in range(50)]
    assert {one["sampler"] for one in drawn} == {"random", "tpe"}
    assert {one["scheduler"] for one in drawn} == {"none", "asha", "median"}
    assert {(one["finalists"], "no-refit" in one) for one in drawn} == {("0", False), ("1", False), ("1", True)}
