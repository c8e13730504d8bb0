"""What is wrong with a home folder, and the repair of what can be repaired without losing a result."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from automl.data import PreparedDataset
from automl.data.prepare import PARTIAL, is_abandoned
from automl.data.prepared import SPEC_FILE
from automl.errors import AutomlError, RequestError
from automl.finalist_plan import weights_path
from automl.home import WORKER_LOG, Home
from automl.records import TrialState
from automl.study.storage import JOURNAL_NAME, mend_torn_line
from automl.study.study import Study
from automl.training.checkpoint import checkpoint_folder

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
        OSError: The home folder cannot be listed.
    """
    findings: list[Finding] = []
    for folder in sorted(home.studies.glob(".deleted-*")):
        findings += _looked_at(folder.name, _deletion(folder))
    findings += _looked_at("logs of workers", _logs(home))
    for folder in sorted(path for path in home.datasets.iterdir() if path.is_dir()):
        findings += _looked_at(f"datasets/{folder.name}", _dataset(folder))
    for name in home.study_names():
        findings += _looked_at(f"study {name}", _study(home, name))
    return [*findings, *_looked_at("mlflow.db", _mlflow(home))]


def _looked_at(where: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield what is found in one place; a disk that fails there is a finding, and hides no other."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(where=where, meaning=f"{error.filename or 'a file'}: {error.strerror or error}")


def _deletion(folder: Path) -> Iterator[Finding]:
    shutil.rmtree(folder)
    yield Finding(where=folder.name, meaning="a deletion that was interrupted", done="deleted")


def _logs(home: Home) -> Iterator[Finding]:
    for log in home.path.glob(f"{WORKER_LOG}*"):
        if is_abandoned(log):
            log.unlink()
            yield Finding(where=log.name, meaning="the log of a search that was killed as it began", done="deleted")


def _dataset(folder: Path) -> Iterator[Finding]:
    where = f"datasets/{folder.name}"
    if folder.name.endswith(PARTIAL):
        if is_abandoned(folder):
            shutil.rmtree(folder)
            yield Finding(where=where, meaning="half of a prepared dataset", done="deleted")
    elif not _FINGERPRINT.fullmatch(folder.name):
        return  # somebody else's
    elif not (folder / SPEC_FILE).exists():
        shutil.rmtree(folder)
        meaning = "a prepared dataset without its last file"
        yield Finding(where=where, meaning=meaning, done="deleted, the next search prepares it")
    else:
        try:
            PreparedDataset.open(folder)
        except AutomlError as error:
            yield Finding(where=where, meaning=str(error))


def _study(home: Home, name: str) -> Iterator[Finding]:
    folder = home.study_folder(name)
    if not (folder / JOURNAL_NAME).exists():  # its trials are in a --storage
        return
    try:
        with home.driving(name):
            yield from _idle_study(folder)
    except RequestError:  # it is being searched: its driver sees to it
        return


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
