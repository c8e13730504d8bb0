"""What is wrong with a home folder or a storage, and the repair of what can be repaired without losing a result."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from automl.data import PreparedDataset
from automl.data.prepare import PARTIAL, is_abandoned
from automl.data.prepared import SPEC_FILE
from automl.durable import is_whole_zip
from automl.errors import AutomlError, RequestError, SurroundingsError
from automl.finalist_plan import weights_path
from automl.home import PARTIAL_STAMP, STAMP, WORKER_LOG, Home
from automl.records import TrialState
from automl.storage_url import shown_url
from automl.study.storage import (
    JOURNAL_NAME,
    mend_torn_line,
    open_storage,
    sqlite_file,
    store_failures,
    stored_names,
)
from automl.study.study import Study
from automl.study_record import StudyRecord
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

    One that is missing is made.

    Raises:
        RequestError: The home folder cannot be written, or was made by a later version.
        SurroundingsError: The disk is full or fails.
        OSError: The home folder cannot be listed.
    """
    findings = list(_stamp(home))
    home.create()
    for folder in sorted(home.studies.glob(".deleted-*")):
        findings += _looked_at(folder.name, _deletion(folder))
    findings += _looked_at("leftovers", _leftovers(home))
    for folder in sorted(path for path in home.datasets.iterdir() if path.is_dir()):
        findings += _looked_at(f"datasets/{folder.name}", _dataset(folder))
    for name in home.study_names():
        findings += _looked_at(f"study {name}", _study(home, name))
    return [*findings, *_looked_at("mlflow.db", _mlflow(home))]


def check_storage(home: Home, url: str) -> tuple[int, list[Finding]]:
    """Look at every study in an Optuna storage, and at what this home folder has of them.

    Nothing is written to the storage. Where its list of studies cannot be read, those of the home folder are looked at.

    Returns:
        How many studies were looked at, and what is wrong.

    Raises:
        RequestError: The storage cannot be opened.
        SurroundingsError: It is locked.
    """
    file = sqlite_file(url)
    if file is not None and not file.exists():
        raise RequestError(f"--storage {shown_url(url)!r}: there is no file {file.absolute()}")  # SQLite would make it
    with store_failures(f"--storage {shown_url(url)!r}", "once it is well, run it again"):
        open_storage(Path(), url)
    findings: list[Finding] = []
    damage = "" if file is None else _sqlite_damage(file)
    if damage:
        findings.append(Finding(where=str(file), meaning=f"the database is damaged ({damage}): bring back a backup"))
    in_home = [name for name in home.study_names() if not (home.studies / name / JOURNAL_NAME).exists()]
    try:
        stored = stored_names(url)
    except SurroundingsError as error:
        findings.append(Finding(where="storage", meaning=str(error)))
        stored = in_home
    for name in sorted({*stored, *in_home}):
        findings += _looked_at(f"study {name}", _stored_study(home, name, stored, url))
    return len(stored), findings


def _looked_at(where: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield what is found in one place; a disk that fails there is a finding, and hides no other."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(where=where, meaning=f"{error.filename or 'a file'}: {error.strerror or error}")


def _stamp(home: Home) -> Iterator[Finding]:
    if home.mend_stamp():
        meaning = "the folder's version cannot be read, as after a full disk"
        yield Finding(where=STAMP, meaning=meaning, done="written again")


def _deletion(folder: Path) -> Iterator[Finding]:
    shutil.rmtree(folder)
    yield Finding(where=folder.name, meaning="a deletion that was interrupted", done="deleted")


def _leftovers(home: Home) -> Iterator[Finding]:
    meanings = {
        WORKER_LOG: "the log of a search that was killed as it began",
        PARTIAL_STAMP: "a stamp of a search that was killed as it wrote it",
    }
    for name, meaning in meanings.items():
        for leftover in home.path.glob(f"{name}*"):
            if is_abandoned(leftover):
                leftover.unlink()
                yield Finding(where=leftover.name, meaning=meaning, done="deleted")


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
    journal = home.study_folder(name) / JOURNAL_NAME
    if not journal.exists():  # its trials are in a --storage
        return
    try:
        with home.driving(name):
            cut = mend_torn_line(journal)
            if cut:
                meaning = "the journal's last line was torn by a crash"
                yield Finding(where=f"study {name}", meaning=meaning, done=f"{cut} bytes cut, all before them is kept")
            yield from _idle_study(journal.parent, storage=None)
    except RequestError:  # it is being searched: its driver sees to it
        return


def _stored_study(home: Home, name: str, stored: Collection[str], storage: str) -> Iterator[Finding]:
    folder = home.studies / name
    if not folder.is_dir():  # the folder is another home's
        yield from _records(folder, storage)
        return
    try:
        with home.driving(name):
            if name in stored:
                yield from _idle_study(folder, storage)
            else:
                meaning = "its trials are neither in a journal nor in this --storage"
                yield Finding(where=f"study {name}", meaning=meaning)
    except RequestError:  # as above
        return


def _idle_study(folder: Path, storage: str | None) -> Iterator[Finding]:
    record = yield from _records(folder, storage)
    if record is None:
        return
    if record.final is not None and _has_damaged_model(folder):
        advice = f"bring back a backup, or let a larger budget make another: automl resume {folder.name}"
        meaning = f"its final model cannot be read (model/model.keras): {advice}, with more --trials or --time"
        yield Finding(where=f"study {folder.name}", meaning=meaning)
        return
    is_running = record.count(TrialState.RUNNING) > 0  # a larger budget was interrupted: its checkpoints are needed
    if is_running or record.final is None or record.final.judged_trials < len(record.ranked):
        return
    for leftover in (weights_path(folder, 0, 0).parent, checkpoint_folder(folder, 0).parent):
        if leftover.exists():
            shutil.rmtree(leftover)
            meaning = f"{leftover.name} of a search that has ended"
            yield Finding(where=f"study {folder.name}", meaning=meaning, done="deleted, nothing needs them")


def _has_damaged_model(folder: Path) -> bool:
    model = folder / "model" / "model.keras"
    return model.exists() and not is_whole_zip(model)


def _records(folder: Path, storage: str | None) -> Generator[Finding, None, StudyRecord | None]:
    """Yield what is wrong with a study's records, and return them; None where they are not whole."""
    where = f"study {folder.name}"
    try:
        record = Study.open(folder, storage=storage).record
    except AutomlError as error:
        if folder.is_dir() or isinstance(error, SurroundingsError):  # or else it may be another program's
            yield Finding(where=where, meaning=str(error))
        return None
    lost = list(_lost(record))
    yield from (Finding(where=where, meaning=meaning) for meaning in lost)
    return None if lost else record


def _lost(record: StudyRecord) -> Iterator[str]:
    """Yield what a study's records speak of, or must have had, and lack."""
    for trial in (*record.trials, *record.finalists):
        known = {report.epoch for report in trial.epochs}
        missing = set(range(1, max(known, default=0))) - known
        if missing:
            yield f"trial {trial.number} has lost its epochs {', '.join(map(str, sorted(missing)))}"
    if record.final is not None and all(trial.number != record.final.trial for trial in record.trials):
        yield f"its winner, trial {record.final.trial}, is not among its trials"


def _mlflow(home: Home) -> Iterator[Finding]:
    path = home.path / "mlflow.db"
    damage = _sqlite_damage(path)
    if damage:
        advice = "move it away, and send the studies again by automl sync --all"
        yield Finding(where=path.name, meaning=f"MLflow's store is damaged ({damage}): {advice}")


def _sqlite_damage(path: Path) -> str:
    """Return what SQLite finds wrong with a file; empty where that is nothing, or there is no file."""
    if not path.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            (verdict,) = store.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    return "" if verdict == "ok" else " ".join(verdict.split())
