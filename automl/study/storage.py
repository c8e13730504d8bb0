"""Where a study's trials are kept: a journal file in its folder, or any Optuna storage URL."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from automl.errors import RequestError, SurroundingsError
from automl.storage_url import MASK, STORAGE_VARIABLE, shown_url
from automl.study.journal import DriverStorage

JOURNAL_NAME = "journal.log"
_LOCK_SUFFIX = ".lock"  # of Optuna's lock on a journal file
_LONGEST_WRITE_SECONDS = 3.0
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY")
STORE_ERRORS = (OSError, StorageInternalError, SQLAlchemyError)
"""What a disk or a database raises through Optuna."""


@contextmanager
def store_failures(what: str, advice: str) -> Iterator[None]:
    """Turn what a disk or a database raises into one line; it serves as a decorator too.

    Args:
        what: What failed, such as `"the store"`.
        advice: What to do once the disk or the database is well.

    Raises:
        SurroundingsError: The disk or the database failed.
    """
    try:
        yield
    except STORE_ERRORS as error:
        raise SurroundingsError(f"{what} failed ({_reason(error)}); {advice}") from error


def _reason(error: BaseException) -> str:
    """Say what a disk or a database complains of, in its own words: Optuna's are about something else."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, SQLAlchemyError):  # its text goes on with the whole statement
        return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(str(error).split())


def open_storage(folder: Path, url: str | None, *, read_only: bool = False) -> BaseStorage:
    """Open the storage of the study in `folder`.

    Args:
        folder: The study's folder, which exists.
        url: An Optuna storage URL such as `postgresql://...`; None for the journal file in the folder.
        read_only: Nothing will be written: a journal is left as it is (a torn last line is read over).

    Raises:
        RequestError: The URL cannot be opened, or there is no journal to read.
        SurroundingsError: The journal cannot be read or written, or the database is locked, full or read-only.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # one line a trial is what the live table shows better
    if url is not None:
        if MASK in url:
            advice = f"write it there, or set {STORAGE_VARIABLE} to the whole URL instead"
            raise RequestError(f"--storage {url!r}: {MASK} stands for a password: {advice}")
        try:
            return _open_database(sqlalchemy_url(url))
        except RequestError:
            raise
        except Exception as error:
            kind = SurroundingsError if _is_busy(error) else RequestError
            raise kind(f"--storage {shown_url(url)!r} cannot be opened: {_reason(error)}") from error
    path = folder / JOURNAL_NAME
    if read_only and not path.exists():
        raise RequestError(f"{folder} holds no study ({JOURNAL_NAME} is missing); was it searched with --storage?")
    try:
        if read_only:
            return JournalStorage(JournalFileBackend(str(path)))
        mend_torn_line(path)
        return DriverStorage(path)
    except OSError as error:
        raise SurroundingsError(f"the journal {path} cannot be opened: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:  # what Optuna meets in a journal that was damaged
        raise SurroundingsError(f"the journal {path} is damaged ({_reason(error)}); see: automl doctor") from error


def _open_database(address: URL) -> BaseStorage:
    database = RDBStorage(address.render_as_string(hide_password=False))
    storage = optuna.storages.get_storage(database)
    weakref.finalize(storage, database.engine.dispose)  # psycopg warns of connections that nobody has closed
    return storage


def sqlalchemy_url(url: str) -> URL:
    """Return the address of a database, with the client that talks to it.

    Raises:
        RequestError: It is one of PostgreSQL, whose client is not installed.
        sqlalchemy.exc.ArgumentError: It is no URL.
    """
    address = make_url(url)
    if address.drivername != "postgresql":
        return address
    if find_spec("psycopg") is None:
        raise RequestError("--storage postgresql:// needs a client: pip install 'keras-automl[postgresql]'")
    return address.set(drivername="postgresql+psycopg")


def _is_busy(error: Exception) -> bool:
    """Return True for a database that is there, and cannot serve now."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    code = getattr(getattr(cause, "orig", None), "sqlite_errorname", "")
    return isinstance(cause, OperationalError) and code.startswith(_BUSY)


def mend_torn_line(path: Path) -> int:
    """Cut a journal to its last newline: a line torn by a crash would swallow the next record and be fatal later.

    The caller holds the study (`Home.driving`).

    Returns:
        How many bytes were cut.
    """
    if not path.exists():
        return 0
    _drop_stale_lock(path)
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with path.open("rb+") as file:
            content = file.read()
            whole = content.rfind(b"\n") + 1
            if whole != len(content):
                file.truncate(whole)
            return len(content) - whole
    finally:
        lock.release()


def _drop_stale_lock(path: Path) -> None:
    """Remove the lock of a driver that was killed while it wrote; Optuna would wait half a minute for its release."""
    lock = path.with_name(path.name + _LOCK_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        if time.time() - lock.lstat().st_mtime > _LONGEST_WRITE_SECONDS:  # a dashboard may be writing
            lock.unlink()


def sqlite_file(url: str) -> Path | None:
    """Return the file of an SQLite database; None for any other URL.

    Example:
        >>> sqlite_file("sqlite:///studies.db?timeout=60"), sqlite_file("postgresql://host/studies")
        (PosixPath('studies.db'), None)
    """
    address = _parsed(url)
    if address is None or address.get_backend_name() != "sqlite":
        return None
    name = address.database or ""
    return None if name.startswith(("file:", ":memory:")) or not name else Path(name)


def _parsed(url: str) -> URL | None:
    """Return the parts of a URL; None where it has none, which is told when it is opened."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def stored_names(url: str) -> list[str]:
    """Return the names of every study in an Optuna storage.

    Raises:
        RequestError: The URL cannot be opened.
        SurroundingsError: The database is locked, or what it says of a study is damaged.
    """
    storage = open_storage(Path(), url)
    try:
        return optuna.get_all_study_names(storage)
    except ValueError as error:  # Optuna reads what is said of every study, to name them
        where = f"a study in --storage {shown_url(url)!r}"
        raise SurroundingsError(f"{where} is damaged ({_reason(error)}); see: automl doctor") from error


def delete_stored(name: str, url: str) -> None:
    """Delete a study from an Optuna storage that is not in its folder.

    Raises:
        RequestError: The URL cannot be opened, or holds no such study.
    """
    try:
        optuna.delete_study(study_name=name, storage=open_storage(Path(), url))
    except KeyError as error:
        raise RequestError(f"the storage {shown_url(url)!r} holds no study {name!r}") from error
