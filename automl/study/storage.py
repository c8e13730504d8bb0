"""Where a study's trials are kept: a journal file in its folder, or any Optuna storage URL."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage

from automl.errors import RequestError, SurroundingsError
from automl.study.journal import DriverStorage

JOURNAL_NAME = "journal.log"


def open_storage(folder: Path, url: str | None, *, read_only: bool = False) -> BaseStorage:
    """Open the storage of the study in `folder`.

    Args:
        folder: The study's folder, which exists.
        url: An Optuna storage URL such as `postgresql://...`; None for the journal file in the folder.
        read_only: Nothing will be written: a journal is left as it is (a torn last line is read over).

    Raises:
        RequestError: The URL cannot be opened, or there is no journal to read.
        SurroundingsError: The journal cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # one line a trial is what the live table shows better
    if url is not None:
        try:
            return optuna.storages.get_storage(url)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise RequestError(f"--storage {url!r} cannot be opened: {reason}") from error
    path = folder / JOURNAL_NAME
    if read_only and not path.exists():
        raise RequestError(f"{folder} holds no study ({JOURNAL_NAME} is missing); was it searched with --storage?")
    try:
        if read_only:
            return JournalStorage(JournalFileBackend(str(path)))
        _mend_torn_line(path)
        return DriverStorage(path)
    except OSError as error:
        raise SurroundingsError(f"the journal {path} cannot be opened: {error.strerror}") from error


def _mend_torn_line(path: Path) -> None:
    """Cut a journal to its last newline: a line torn by a crash would swallow the next record and be fatal later."""
    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                file.truncate(whole)
    finally:
        lock.release()


def stored_names(url: str) -> list[str]:
    """Return the names of every study in an Optuna storage.

    Raises:
        RequestError: The URL cannot be opened.
    """
    return optuna.get_all_study_names(open_storage(Path(), url))


def delete_stored(name: str, url: str) -> None:
    """Delete a study from an Optuna storage that is not in its folder.

    Raises:
        RequestError: The URL cannot be opened, or holds no such study.
    """
    try:
        optuna.delete_study(study_name=name, storage=open_storage(Path(), url))
    except KeyError as error:
        raise RequestError(f"the storage {url!r} holds no study {name!r}") from error
