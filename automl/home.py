"""The home folder: where studies, prepared datasets and the embedded MLflow store live.

::

    automl-runs/
      automl.json            version stamp
      mlflow.db, mlflow/     the embedded MLflow store and its artifacts
      datasets/              prepared arrays, by content
      compiled/              code that JAX has compiled, by content
      studies/NAME/          journal, log, checkpoints, weights of finalists, model, report: a study is one folder
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shlex
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from automl.errors import DISK_FAILS, RequestError, SurroundingsError, UnknownNameError
from automl.storage_url import storage_option

_VERSION = 2
STAMP = "automl.json"
"""The file that says of which version a home folder is."""
PARTIAL_STAMP = f".{STAMP}-"
"""How one is called while it is written."""
_DAMAGE = (ValueError, KeyError, TypeError)  # what a stamp raises that was not wholly written
_LOCK = "driver.lock"
WORKER_LOG = ".workers-"
"""How logs of workers are called whose study has no folder yet."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Home:
    """A home folder; nothing is created before `create`."""

    def __init__(self, path: str | Path | None = None) -> None:
        """Choose the folder: `path`, or the environment variable `AUTOML_HOME`, or `./automl-runs`."""
        self.path = Path(path or os.environ.get("AUTOML_HOME") or "automl-runs").expanduser().absolute()

    @property
    def studies(self) -> Path:
        """Folder of all studies."""
        return self.path / "studies"

    @property
    def datasets(self) -> Path:
        """Folder of all prepared datasets."""
        return self.path / "datasets"

    @property
    def compiled(self) -> Path:
        """Folder of compiled code that later searches use again."""
        return self.path / "compiled"

    @property
    def mlflow_artifacts(self) -> Path:
        """Folder of the embedded MLflow store's artifacts."""
        return self.path / "mlflow"

    def new_worker_log(self) -> Path:
        """Return the path of a log for workers that are started before their study has a folder."""
        return self.path / f"{WORKER_LOG}{uuid.uuid4().hex}"

    def create(self) -> None:
        """Make the folder where it is missing, and check that it can be used.

        Raises:
            RequestError: It cannot be written, or was made by a later version.
            SurroundingsError: The disk is full or fails.
        """
        try:
            for folder in (self.studies, self.datasets, self.mlflow_artifacts):
                folder.mkdir(parents=True, exist_ok=True)
            if not self._stamp.exists():
                self._write_stamp()
            if not os.access(self.studies, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            kind = SurroundingsError if error.errno in DISK_FAILS else RequestError
            raise kind(
                f"the home folder {self.path} cannot be written ({error.strerror}): choose another with --home"
            ) from error
        self._check_version()

    def mend_stamp(self) -> bool:
        """Write the version stamp again where what it holds cannot be read; return True where it was written.

        Raises:
            OSError: It cannot be written.
        """
        try:
            self._read_version()
        except OSError:  # there is none, or it is not ours to read: `create` says so
            return False
        except _DAMAGE:
            self._write_stamp()
            return True
        return False

    def remove_unused(self) -> None:
        """Take the folder away again where nothing was ever kept in it."""
        kept = [self.mlflow_artifacts, self.datasets, self.studies]
        if {one.name for one in self.path.iterdir()} - {STAMP, *(one.name for one in kept)}:
            return
        with suppress(OSError):  # something lies in one of them
            for folder in kept:
                folder.rmdir()
            self._stamp.unlink()
            self.path.rmdir()

    def study_names(self) -> list[str]:
        """Return the names of all studies, in the order of their names."""
        if not self.studies.is_dir():
            return []
        return sorted(folder.name for folder in self.studies.iterdir() if folder.is_dir() and folder.name[0] != ".")

    def study_folder(self, name: str) -> Path:
        """Return the folder of a study that exists.

        Raises:
            UnknownNameError: There is none of that name.
        """
        if name not in self.study_names():
            raise UnknownNameError("study", name, self.study_names(), also=f"in {self.path}")
        return self.studies / name

    def join_study(self, name: str, *, stored: Collection[str]) -> bool:
        """Make the folder of a study that drivers of other homes have in a shared storage.

        Args:
            name: The study's name.
            stored: Names of every study in that storage.

        Returns:
            True where there was no such folder.

        Raises:
            UnknownNameError: There is none of that name.
        """
        if name not in stored:
            raise UnknownNameError("study", name, stored, also="in this storage")
        self.create()
        return self._claim(name) is not None

    def leave_study(self, name: str) -> None:
        """Take away the folder of a study that was joined in vain: no driver of this home has begun to search it."""
        if any(path.is_dir() for path in self.study_folder(name).iterdir()):  # more than a lock and a log
            return
        with suppress(RequestError), self.driving(name):  # else another driver has come to it meanwhile
            self.delete_study(name)
            self.remove_unused()

    def command(self, verb: str, name: str = "", storage: str | None = None) -> str:
        """Return a command line that acts on this home or a study of it, such as `automl resume NAME --home DIR`."""
        home = "" if self.path == Home().path else f" --home {shlex.quote(str(self.path))}"
        return f"automl {verb} {name}".rstrip() + home + storage_option(storage)

    @contextmanager
    def driving(self, name: str, *, shared: bool = False) -> Iterator[None]:
        """Hold a study for the driver that writes to it from this home; however it dies, the hold ends with it.

        Args:
            name: The study's name.
            shared: Other drivers may hold it too, so long as they share it as well.

        Raises:
            RequestError: Another living process holds it.
        """
        with (self.study_folder(name) / _LOCK).open("a+") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise RequestError(
                    f"study {name!r} is being searched by process {holder}: wait for it, or end it"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def new_study_folder(self, name: str | None, stem: str, *, taken: Collection[str] = ()) -> Path:
        """Make the folder of a new study.

        Args:
            name: An explicit name, or None for the next free `stem-NNN`.
            stem: Beginning of a generated name.
            taken: Names that a shared storage has already.

        Raises:
            RequestError: The explicit name is taken, or is no name.
        """
        if name is None:
            stem = re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:90] or "study"
            names = (f"{stem}-{number:03d}" for number in itertools.count(1))
            return next(folder for free in names if free not in taken and (folder := self._claim(free)))
        if not _NAME.fullmatch(name):
            raise RequestError(f"a study's name has letters, digits, '.', '_' and '-', received {name!r}")
        folder = None if name in taken else self._claim(name)
        if folder is None:
            raise RequestError(
                f"a study {name!r} exists: choose another --name, or go on with: {self.command('resume', name)}"
            )
        return folder

    def delete_study(self, name: str) -> None:
        """Delete a study's folder.

        Raises:
            UnknownNameError: There is none of that name.
        """
        folder = self.study_folder(name)
        doomed = folder.with_name(f".deleted-{name}")  # renamed first: a half-deleted study is never seen
        if doomed.exists():  # an earlier deletion of a study of that name was interrupted
            shutil.rmtree(doomed)
        folder.rename(doomed)
        shutil.rmtree(doomed)

    def _claim(self, name: str) -> Path | None:
        try:
            (self.studies / name).mkdir()
        except FileExistsError:
            return None
        return self.studies / name

    @property
    def _stamp(self) -> Path:
        return self.path / STAMP

    def _write_stamp(self) -> None:
        """Write the version stamp, whole or not at all: the disk may be full, and others may read it meanwhile."""
        partial = self.path / f"{PARTIAL_STAMP}{uuid.uuid4().hex}"
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(json.dumps({"version": _VERSION}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._stamp)
        finally:
            partial.unlink(missing_ok=True)

    def _read_version(self) -> object:
        return json.loads(self._stamp.read_text("utf-8"))["version"]

    def _check_version(self) -> None:
        try:
            version = self._read_version()
        except (OSError, *_DAMAGE) as error:
            raise RequestError(
                f"{self._stamp} is damaged: delete that one file or run automl doctor, the studies beside it are whole"
            ) from error
        if version != _VERSION:
            raise RequestError(f"{self.path} was made by version {version} of this folder's format, not {_VERSION}")
