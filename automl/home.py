"""The home folder: where studies, prepared datasets and the embedded MLflow store live.

::

    automl-runs/
      automl.json            version stamp
      mlflow.db, mlflow/     the embedded MLflow store and its artifacts
      datasets/              prepared arrays, by content
      studies/NAME/          journal, log, weights of finalists, model, report: a study is moved or deleted as a folder
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from automl.errors import RequestError, UnknownNameError

_VERSION = 1
_STAMP = "automl.json"
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
    def mlflow_artifacts(self) -> Path:
        """Folder of the embedded MLflow store's artifacts."""
        return self.path / "mlflow"

    def create(self) -> None:
        """Make the folder where it is missing, and check that it can be used.

        Raises:
            RequestError: It cannot be written, or was made by a later version.
        """
        try:
            for folder in (self.studies, self.datasets, self.mlflow_artifacts):
                folder.mkdir(parents=True, exist_ok=True)
            stamp = self.path / _STAMP
            if not stamp.exists():
                stamp.write_text(json.dumps({"version": _VERSION}) + "\n", "utf-8")
            if not os.access(self.studies, os.W_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise RequestError(
                f"the home folder {self.path} cannot be written ({error.strerror}): choose another with --home"
            ) from error
        self._check_version(stamp)

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

    def new_study_folder(self, name: str | None, stem: str) -> Path:
        """Make the folder of a new study.

        Args:
            name: An explicit name, or None for the next free `stem-NNN`.
            stem: Beginning of a generated name.

        Raises:
            RequestError: The explicit name is taken, or is no name.
        """
        if name is None:
            stem = re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-._")[:90] or "study"
            return next(folder for number in range(1, 10**6) if (folder := self._claim(f"{stem}-{number:03d}")))
        if not _NAME.fullmatch(name):
            raise RequestError(f"a study's name has letters, digits, '.', '_' and '-', received {name!r}")
        folder = self._claim(name)
        if folder is None:
            raise RequestError(f"a study {name!r} exists: choose another --name, or go on with: automl resume {name}")
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

    def _check_version(self, stamp: Path) -> None:
        try:
            version = json.loads(stamp.read_text("utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{stamp} is damaged: delete that one file, the studies beside it are whole") from error
        if version != _VERSION:
            raise RequestError(f"{self.path} was made by version {version} of this folder's format, not {_VERSION}")
