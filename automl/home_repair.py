"""What is wrong with a home folder, and the repair of what can be repaired without losing a result."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from automl.data import PreparedDataset
from automl.data.prepared import SPEC_FILE
from automl.errors import AutomlError, RequestError
from automl.finalist_plan import weights_path
from automl.home import Home
from automl.records import TrialState
from automl.study.storage import JOURNAL_NAME, mend_torn_line
from automl.study.study import Study
from automl.training.checkpoint import checkpoint_folder

_ABANDONED_SECONDS = 3600.0  # what is half-written for so long is nobody's work

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is wrong with a home folder.

    Attributes:
        where: The file or folder, or the study.
        meaning: What it means.
        done: What was done about it; empty where it was left alone.
    """

    where: str
    meaning: str
    done: str = ""

    def __str__(self) -> str:
        """Show the finding in one line."""
        return f"{self.where}: {self.meaning}; {self.done or 'left alone'}"


def repair_home(home: Home) -> list[Finding]:
    """Repair a home folder: no result is deleted, and nothing of a study that is being searched is touched.

    Raises:
        OSError: The disk failed.
    """
    findings = [*_deletions(home), *_datasets(home)]
    for name in home.study_names():
        findings += _study(home, name)
    return [*findings, *_mlflow(home)]


def _deletions(home: Home) -> Iterator[Finding]:
    for folder in sorted(home.studies.glob(".deleted-*")):
        shutil.rmtree(folder)
        yield Finding(where=folder.name, meaning="a deletion that was interrupted", done="deleted")


def _datasets(home: Home) -> Iterator[Finding]:
    for folder in sorted(path for path in home.datasets.iterdir() if path.is_dir()):
        is_fresh = time.time() - folder.stat().st_mtime < _ABANDONED_SECONDS
        if folder.name.startswith("."):
            if not is_fresh:
                shutil.rmtree(folder)
                yield Finding(where=f"datasets/{folder.name}", meaning="half of a prepared dataset", done="deleted")
        elif not _FINGERPRINT.fullmatch(folder.name):
            continue  # somebody else's
        elif not (folder / SPEC_FILE).exists():
            shutil.rmtree(folder)
            meaning = "a prepared dataset without its last file"
            yield Finding(where=f"datasets/{folder.name}", meaning=meaning, done="deleted, the next search prepares it")
        else:
            try:
                PreparedDataset.open(folder)
            except AutomlError as error:
                yield Finding(where=f"datasets/{folder.name}", meaning=str(error))


def _study(home: Home, name: str) -> list[Finding]:
    folder = home.study_folder(name)
    if not (folder / JOURNAL_NAME).exists():  # its trials are in a --storage
        return []
    try:
        with home.driving(name):
            return list(_idle_study(folder))
    except RequestError:  # it is being searched: its driver sees to it
        return []


def _idle_study(folder: Path) -> Iterator[Finding]:
    cut = mend_torn_line(folder / JOURNAL_NAME)
    if cut:
        meaning = "the journal's last line was torn by a crash"
        yield Finding(where=f"study {folder.name}", meaning=meaning, done=f"{cut} bytes cut, all before them is kept")
    try:
        record = Study.open(folder, storage=None).record
    except AutomlError as error:
        yield Finding(where=f"study {folder.name}", meaning=str(error))
        return
    is_running = record.count(TrialState.RUNNING) > 0  # a larger budget was interrupted: its checkpoints are needed
    if is_running or record.final is None or record.final.judged_trials < len(record.ranked):
        return
    for leftover in (weights_path(folder, 0, 0).parent, checkpoint_folder(folder, 0).parent):
        if leftover.exists():
            shutil.rmtree(leftover)
            meaning = f"{leftover.name} of a search that has ended"
            yield Finding(where=f"study {folder.name}", meaning=meaning, done="deleted, nothing needs them")


def _mlflow(home: Home) -> Iterator[Finding]:
    path = home.path / "mlflow.db"
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as store:
            (verdict,) = store.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        meaning = (
            f"MLflow's store is damaged ({verdict}): move it away, and send the studies again by automl sync --all"
        )
        yield Finding(where=path.name, meaning=" ".join(meaning.split()))
