"""`send_study`: a study that nobody searches now, sent to MLflow as far as MLflow has not got it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from automl.errors import SurroundingsError
from automl.study_record import StudyRecord
from automl.tracking.mlflow import quiet_mlflow
from automl.tracking.mlflow_runs import Projection
from automl.tracking.mlflow_values import one_line, started, without_password

_ATTEMPTS = 3  # in a row that may bring nothing further
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What MLflow has of a study's ended trials and re-trainings.

    Attributes:
        uri: MLflow's address, without a password.
        sent: Runs that were sent now.
        known: Runs that were there already.
        refused: Runs that MLflow refuses to take.
    """

    uri: str
    sent: int
    known: int
    refused: int


def send_study(record: StudyRecord, tracking_uri: str, artifact_root: Path | None) -> Sent:
    """Write what MLflow does not have of a study, each run and epoch once, and close what a dead driver left open.

    Args:
        record: A study without a living driver.
        tracking_uri: Any MLflow tracking URI.
        artifact_root: Where a new experiment in a SQLite store keeps its artifacts.

    Raises:
        SurroundingsError: MLflow does not answer, or cannot be written; what was sent until then stays.
    """
    sender = _Sender(record, Projection(tracking_uri, artifact_root), without_password(tracking_uri))
    with quiet_mlflow():
        return sender.send()


class _Sender:
    """Writes one study, again and again while that brings anything further."""

    def __init__(self, record: StudyRecord, projection: Projection, shown_uri: str) -> None:
        self._record = record
        self._projection = projection
        self._shown_uri = shown_uri

    def send(self) -> Sent:
        stuck = 0
        known: int | None = None
        while True:
            before = self._standing()
            try:
                self._projection.open(self._record)
                known = self._projection.count_ended(self._record) if known is None else known
                self._projection.catch_up(self._record, is_last=True)
                break
            except Exception as error:  # whatever a store, a network or a disk raises is said in a line
                stuck = stuck + 1 if self._standing() == before else 0
                if stuck == _ATTEMPTS or not self._projection.is_open:
                    trouble = "cannot be written" if self._projection.is_open else "does not answer"
                    raise SurroundingsError(f"MLflow at {self._shown_uri} {trouble}: {one_line(error)}") from error
                self._projection.forget()
            if stuck:
                time.sleep(_PAUSE_SECONDS)
        there = self._projection.count_ended(self._record)
        ended = sum(child.trial.state.is_final for child in started(self._record))
        return Sent(uri=self._shown_uri, sent=there - known, known=known, refused=ended - there)

    def _standing(self) -> tuple[int, int]:
        return self._projection.count_ended(self._record), self._projection.refusals
