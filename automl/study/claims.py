"""`Claims`: which driver trains which trial of a study that several drivers share, and who of them is alive.

A driver that lives counts up a number in the study (it *beats*), a driver that ends says so. Each driver watches the
numbers of the others by its own monotonic clock: one that stood still for the grace period has died. So no two clocks
need to agree, and a machine that vanishes is noticed as well as a process that was killed. A driver on this machine
whose lock file nobody holds any more has died for certain, and is not waited for.

What is decided for all drivers is decided under one lock, the study's. It protects the budget; a driver that was
presumed dead and goes on is caught by looking, under that lock, at whose the trial is (`shared_study.py`).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

import sqlalchemy
from optuna.storages import BaseStorage
from sqlalchemy import URL

from automl.study.storage import STORE_ERRORS, open_storage, sqlalchemy_url

BEAT_SECONDS = 5.0
GRACE_SECONDS = 30.0
DRIVER = "driver"
"""Attribute of a trial: the driver that trains it, or that has chosen its values ahead."""

_BEATS = "driver:"  # with a driver's name: an attribute of the study, what it has counted to, or None once it has ended
_FOLDER = "drivers"
_WATCH_SECONDS = 0.2  # between two looks for the beat of a driver

_LOCK_STATEMENT = sqlalchemy.text(
    "SELECT set_config('idle_in_transaction_session_timeout', :patience, true), pg_advisory_xact_lock(:key)"
)

_log = logging.getLogger(__name__)


class Claims:
    """One driver among those of a study.

    Attributes:
        driver: This driver's name; no other has ever had it.
    """

    def __init__(self, storage: BaseStorage, study_id: int, *, folder: Path, lock: Lock) -> None:
        """Know nobody yet; `begin` makes this driver known to the others.

        Args:
            storage: Where the study is kept.
            study_id: The study's id there.
            folder: The study's folder, which drivers of one home share.
            lock: Held by one driver of the study at a time.
        """
        host = socket.gethostname()
        self.driver = f"{host}:{os.getpid()}:{uuid4().hex[:8]}"
        self._storage = storage
        self._study_id = study_id
        self._folder = folder / _FOLDER
        self._host = host
        self._lock = lock
        self._depth = 0
        self._seen: dict[str, tuple[object, float]] = {}  # by driver: its number, and since when it has been that
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._life: IO[bytes] | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study's lock; may be nested."""
        if self._depth:
            yield
            return
        with self._lock.held():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def others(self, attributes: Mapping[str, Any]) -> list[str]:
        """Return the drivers that may still be at work, by the study's attributes now."""
        self.look(attributes)
        return [driver for driver in self._seen if driver != self.driver and self.is_alive(driver)]

    @property
    def has_begun(self) -> bool:
        """True where the other drivers know of this one."""
        return self._thread is not None

    def begin(self) -> None:
        """Beat from now on: what this driver claims is its own."""
        if self._thread is not None or self._ended.is_set():
            return
        self._folder.mkdir(exist_ok=True)
        self._life = self._life_path(self.driver).open("wb")
        fcntl.flock(self._life, fcntl.LOCK_EX)
        self._beat(1)
        self._thread = threading.Thread(target=self._beat_on, name="driver-beats", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give up every claim: others need not wait for this driver."""
        self._lock.close()
        if self._thread is None or self._life is None or self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        try:
            self._beat(None)
        except STORE_ERRORS as error:  # by its file, which nobody holds any more, this machine's drivers know
            _log.warning("drivers of other machines will wait %g s for this one, which ended: %s", GRACE_SECONDS, error)
        else:
            self._life_path(self.driver).unlink(missing_ok=True)
        self._life.close()

    def look(self, attributes: Mapping[str, Any]) -> None:
        """Take note of the beats that the study's attributes show now."""
        now = time.monotonic()
        for name, beat in attributes.items():
            driver = name.removeprefix(_BEATS)
            if driver != name and self._seen.get(driver, (None, 0.0))[0] != beat:
                self._seen[driver] = (beat, now)

    def is_alive(self, driver: str) -> bool:
        """Return True where another driver may still be at work; one that never beat is given the grace period too."""
        beat, since = self._seen.setdefault(driver, (0, time.monotonic()))
        if beat is None or time.monotonic() - since > GRACE_SECONDS:
            return False
        return not self._has_died_here(driver)

    def _has_died_here(self, driver: str) -> bool:
        """Return True where its lock file lies here, and a driver of this machine holds it no more."""
        if driver.partition(":")[0] != self._host:
            return False
        try:
            with self._life_path(driver).open("rb") as life:
                fcntl.flock(life, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
        except (FileNotFoundError, BlockingIOError):
            return False

    def _life_path(self, driver: str) -> Path:
        return self._folder / driver

    def _beat_on(self) -> None:
        beat = 1
        while not self._ended.wait(BEAT_SECONDS):
            beat += 1
            try:
                self._beat(beat)
            except STORE_ERRORS as error:  # the search meets it too; here the next beat may go well
                _log.warning("the storage does not take this driver's beat: %s", error)
        self._storage.remove_session()

    def _beat(self, beat: int | None) -> None:
        self._storage.set_study_user_attr(self._study_id, _BEATS + self.driver, beat)


def is_shared(url: str | None) -> bool:
    """Return True for a storage on which several drivers may work on one study.

    Raises:
        RequestError: It is PostgreSQL, and the client is not installed.

    Example:
        >>> is_shared("sqlite:////data/studies.db"), is_shared("mysql://host/studies"), is_shared(None)
        (True, False, False)
    """
    if url is None:
        return False
    address = sqlalchemy_url(url)
    return address.get_backend_name() in _LOCKS and bool(address.database)


def living_driver(url: str, name: str, folder: Path, *, watching: Callable[[str], None]) -> str:
    """Return a driver that is at work on a study, from whichever home; empty where there is none.

    One that has neither said that it ended nor beats is watched for the grace period, before it is taken for dead.

    Args:
        url: The storage's URL.
        name: The study's name.
        folder: The study's folder in this home.
        watching: Is told the driver that is waited for, before the wait.
    """
    if not is_shared(url):
        return ""
    storage = open_storage(folder, url)
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:  # another says so
        return ""
    claims = Claims(storage, study_id, folder=folder, lock=study_lock(url, name))
    before = storage.get_study_user_attrs(study_id)
    if suspects := claims.others(before):
        watching(suspects[0])
    while suspects := claims.others(now := storage.get_study_user_attrs(study_id)):
        for driver in suspects:
            if now.get(_BEATS + driver) != before.get(_BEATS + driver):
                return driver
        time.sleep(_WATCH_SECONDS)
    return ""


def study_lock(url: str, name: str) -> Lock:
    """Return the lock that all drivers of a study share, wherever they run.

    Args:
        url: The storage's URL, one that `is_shared`.
        name: The study's name.
    """
    address = sqlalchemy_url(url)
    return _LOCKS[address.get_backend_name()](address, name)


class Lock(Protocol):
    """Held by one driver of a study at a time."""

    def held(self) -> AbstractContextManager[None]:
        """Wait until nobody holds it, and hold it."""

    def close(self) -> None:
        """Let go of what it takes to have one."""


class AdvisoryLock:
    """A lock of PostgreSQL, held for the length of a transaction.

    The server ends a transaction in which nothing happens for the grace period: it belongs to a driver that stands
    still, or to a machine that has vanished, and everyone else waits for it.
    """

    def __init__(self, address: URL, name: str) -> None:
        """Connect at the first use."""
        self._engine = sqlalchemy.create_engine(address)
        self._key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until nobody holds it, and hold it."""
        patience = f"{int(1000 * GRACE_SECONDS)}ms"
        with self._engine.begin() as connection:
            connection.execute(_LOCK_STATEMENT, {"patience": patience, "key": self._key})
            yield

    def close(self) -> None:
        """Disconnect."""
        self._engine.dispose()


class FileLock:
    """A file beside an SQLite database: a transaction of its own would lock Optuna out."""

    def __init__(self, address: URL, name: str) -> None:
        """Create nothing yet; studies of one file share its lock."""
        self._path = Path(f"{address.database}.lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until nobody holds it, and hold it."""
        with self._path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def close(self) -> None:
        """Do nothing."""


_LOCKS: Mapping[str, Callable[[URL, str], Lock]] = {"postgresql": AdvisoryLock, "sqlite": FileLock}
