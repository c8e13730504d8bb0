"""A few draws of what `python -m benchmarks.faults` does for hours: real searches, real signals, damaged files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tracking.tracked_studies import NOLOAD

from benchmarks.fault_injection import BrokenError, FaultySearch, put_in


@pytest.mark.filterwarnings(NOLOAD)
def test_a_search_survives_a_killed_worker_a_torn_journal_and_a_damaged_checkpoint(tmp_path: Path) -> None:
    choose = random.Random(0)
    search = FaultySearch(tmp_path)
    try:
        search.start(trials=5)
        for fault in ("worker killed", "journal torn", "checkpoint damaged"):
            assert search.wait_running(), (tmp_path / "driver.log").read_text()
            put_in(search, fault, choose)
        while search.wait_end() != 0:
            search.verify()
            search.resume()
        states = search.verify_end()
        assert states["complete"] == 5
        assert search.verify_mlflow() >= 5
    finally:
        search.kill_all()


def test_what_is_lost_is_noticed(tmp_path: Path) -> None:
    """The checks can fail: a trial whose epochs have vanished, and one that is there no more."""
    search = FaultySearch(tmp_path, workers=1)
    try:
        search.start(trials=2)
        assert search.wait_end() == 0
        search.verify_end()
    finally:
        search.kill_all()
    journal = search.study_folder / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"epoch:8"' not in line))
    with pytest.raises(BrokenError, match="had ended, and has changed"):
        search.verify()
    search.trials = 3
    with pytest.raises(BrokenError):
        search.verify_end()
