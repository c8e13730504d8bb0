"""A few draws of what `python -m benchmarks.faults` does for hours: a real search, real signals, damaged files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tracking.tracked_studies import NOLOAD

from benchmarks.fault_injection import BrokenError, FaultySearch, put_in


@pytest.mark.filterwarnings(NOLOAD)
def test_a_search_survives_a_killed_worker_a_torn_journal_and_a_damaged_checkpoint(tmp_path: Path) -> None:
    """In the end something is damaged that cannot be survived: the checks notice what is lost."""
    choose = random.Random(0)
    search = FaultySearch(tmp_path)
    try:
        search.start(trials=5)
        for fault in ("worker killed", "journal torn", "checkpoint damaged"):
            search.wait_training(more=2)
            put_in(search, fault, choose)
        while search.wait_end() != 0:
            search.verify()
            search.resume()
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
