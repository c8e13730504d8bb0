"""`MlflowTracker`: a study as a tree of MLflow runs, written beside the search by a thread of its own.

One experiment a dataset; in it one parent run a study; under that one child run a trial and a re-training::

    digits                          experiment, named as the dataset
    └── digits-mlp-001              settings, best value after each trial, test score, model
        ├── trial-0000              config, every epoch, how it ended
        ├── finalist-0000-1         the same config on a fresh seed
        └── refit-0000              the winner on training and validation rows

The study is the only truth. The tracker keeps the newest `StudyRecord` and writes what MLflow does not have
yet; what that is it reads from MLflow itself (tags, run status, last step), when it starts and after every
error. So nothing is written twice, whoever crashed in between, and an outage needs no buffer. How a trial
ended is in the tag `automl.state`; MLflow calls complete and pruned trials FINISHED, because both hold a
usable model, and failed ones FAILED. Trials that were still running when the tracker closed are KILLED, and
opened again when the study resumes.

mlflow is imported in the thread only: it takes seconds, and `import automl` must not.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from automl.home import Home
from automl.study_record import StudyRecord
from automl.tracking.mlflow_runs import LIVE_SECONDS, Projection
from automl.tracking.mlflow_values import one_line, without_password

_log = logging.getLogger(__name__)

ROUND_SECONDS = 1.0
"""Pause between two rounds: a finished trial shows within a second, and short ones are written several at a time."""

FIRST_RETRY_SECONDS = 1.0
"""Pause after the first error; it doubles with each further one."""

LAST_RETRY_SECONDS = 30.0
"""Longest pause between two attempts: how late MLflow's return is noticed."""

OUTAGE_SECONDS = 5.0
"""What the end of a search gives an MLflow that is not answering, or not answering a request, to come back.

`automl sync` catches up later.
"""

_LOOK_SECONDS = 0.2  # between two looks, at the end, whether MLflow still answers
_NOISY_LOGGERS = ("mlflow", "alembic", "sqlalchemy.engine", "urllib3.connectionpool")
_QUIET_ENVIRONMENT = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The tracker retries by itself, after looking at what arrived; a blind retry would create a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def embedded_uri(home: Path) -> str:
    """Return the tracking URI of the store that lies in a home folder.

    Example:
        >>> embedded_uri(Path("/data/automl-runs"))
        'sqlite:////data/automl-runs/mlflow.db'
    """
    return f"sqlite:///{home.absolute() / 'mlflow.db'}"


def store_of(home: Home) -> tuple[str, Path | None]:
    """Return where studies of a home folder are tracked: a tracking URI, and where new experiments keep artifacts.

    That is `MLFLOW_TRACKING_URI`, whose server has a place of its own for artifacts, or the store in the home folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return (uri, None) if uri else (embedded_uri(home.path), home.mlflow_artifacts)


class MlflowTracker:
    """Projects one study into MLflow. Never raises into the search: warns once, tries again, catches up.

    Sets `MLFLOW_DISABLE_TELEMETRY` in this process's environment and, where they are not set, the variables
    that keep MLflow from printing and from repeating requests by itself.

    Example:
        >>> tracker = MlflowTracker("http://localhost:5000", artifact_root=None)
        >>> tracker.close(timeout_seconds=0)
        0
    """

    def __init__(self, tracking_uri: str, *, artifact_root: Path | None) -> None:
        """Remember where to write; nothing is imported, opened or started yet.

        Args:
            tracking_uri: Any MLflow tracking URI.
            artifact_root: Where a new experiment in a SQLite store keeps its artifacts; servers have a place.
        """
        self._shown_uri = without_password(tracking_uri)
        self._projection = Projection(tracking_uri, artifact_root)
        self._record: StudyRecord | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._is_out = False

    def update(self, record: StudyRecord) -> None:
        """Say what the study knows now. Returns at once; after `close` it does nothing."""
        if self._closing.is_set():
            return
        self._record = record
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_until_closed, name="mlflow-tracker", daemon=True)
            self._thread.start()

    def close(self, timeout_seconds: float) -> int:
        """Write what is left for at most `timeout_seconds`, then stop; an MLflow that is out or silent gets less.

        Returns:
            How many of the started trainings are unsent; the final score and model count as one.
        """
        self._closing.set()
        self._wake.set()
        if self._thread is not None:
            first_seconds = min(timeout_seconds, OUTAGE_SECONDS) if self._is_out else timeout_seconds
            self._wait_for(self._thread, first_seconds)
            if self._projection.is_open:  # it answers again
                self._wait_for(self._thread, timeout_seconds - first_seconds)
        self._projection.stopped.set()
        return self._projection.count_unsent(self._record) if self._record is not None else 0

    def _wait_for(self, thread: threading.Thread, seconds: float) -> None:
        """Wait for the last words, unless MLflow leaves a request without an answer."""
        deadline = time.monotonic() + seconds
        while thread.is_alive() and (left := deadline - time.monotonic()) > 0:
            if self._projection.silent_seconds > OUTAGE_SECONDS:
                return
            thread.join(min(left, _LOOK_SECONDS))

    def _write_until_closed(self) -> None:
        try:
            with quiet_mlflow():
                self._write_rounds()
        except ImportError as error:
            _log.warning("mlflow cannot be imported (%s); the search goes on without tracking", one_line(error))

    def _write_rounds(self) -> None:
        retry_seconds = FIRST_RETRY_SECONDS
        while not self._projection.stopped.is_set():
            self._wake.wait(LIVE_SECONDS)
            self._wake.clear()
            is_last = self._closing.is_set()  # Asked before the record is read: the last round sees the last one.
            if self._write_round(is_last=is_last):
                if is_last:
                    return
                retry_seconds = FIRST_RETRY_SECONDS
                self._closing.wait(ROUND_SECONDS)
                continue
            # While closing only the end of the time limit cuts a pause short; before, closing does.
            (self._projection.stopped if is_last else self._closing).wait(retry_seconds)
            self._wake.set()
            longer_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
            retry_seconds = FIRST_RETRY_SECONDS if self._closing.is_set() else longer_seconds

    def _write_round(self, *, is_last: bool) -> bool:
        if self._record is None:
            return True
        try:
            self._projection.catch_up(self._record, is_last=is_last)
        except Exception as error:  # noqa: BLE001 - whatever a store, a network or a disk raises must not end tracking
            self._projection.forget()
            self._warn_once(error)
            return False
        if self._is_out:
            _log.info("MLflow at %s answers again; tracking has caught up", self._shown_uri)
            self._is_out = False
        return True

    def _warn_once(self, error: Exception) -> None:
        _log.debug("writing to MLflow failed", exc_info=error)
        if not self._is_out:
            self._is_out = True
            _log.warning(
                "MLflow at %s cannot be written (%s); the search goes on, tracking catches up when it can",
                self._shown_uri,
                one_line(error),
            )


class _Quiet(logging.Filter):
    """Drops what noisy libraries log in this thread: the tracker says in one line what they say in thirty."""

    def __init__(self) -> None:
        super().__init__()
        self._ident = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        # The name counts too: a handler of theirs may be one of everybody's.
        return record.thread != self._ident or not record.name.startswith(_NOISY_LOGGERS)


@contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Import mlflow with telemetry off, and keep what it logs in this thread from the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # mlflow 3.17 with SQLAlchemy 2.1; as an error it would keep the store from opening.
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated", DeprecationWarning)
    quiet = _Quiet()
    filterers: list[logging.Filterer] = []
    try:
        import mlflow  # noqa: F401 - gives its loggers their handlers

        for name in _NOISY_LOGGERS:
            logger = logging.getLogger(name)
            filterers += [logger, *logger.handlers]
        for filterer in filterers:
            filterer.addFilter(quiet)
        yield
    finally:
        for filterer in filterers:
            filterer.removeFilter(quiet)
