"""A few draws of what `python -m benchmarks.faults` does for hours: a real search, real signals, damaged files."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tracking.tracked_studies import NOLOAD

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
        assert search.verify_mlflow() >= search.trials
    finally:
        search.kill_all()
    search.trials += 1
    with pytest.raises(BrokenError, match="complete or pruned trials"):
        search.verify_end()
    journal = search.study_folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"epoch:8"' not in line))
    with pytest.raises(BrokenError, match="had ended, and has changed"):
        search.verify()


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
