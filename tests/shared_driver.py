"""A driver of a shared study as a process of its own, over an executor that trains nothing; run as a script.

Its argument is a JSON object: `folder`, `url`, `slots`, and `beat_seconds` and `grace_seconds`. It prints a line
for each job that it submits and for each trial that it tells.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from scripted_search import SPACE, Clock, RememberingTracker, ScriptedExecutor

from automl.driver import Driver
from automl.executors.base import Event
from automl.records import TrialRecord, TrialResult
from automl.search_loop import SearchLoop
from automl.study import claims
from automl.study.shared_study import SharedStudy
from automl.training.job import TrialJob

EPOCH_SECONDS = 0.02


def _say(word: str, number: int) -> None:
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


class SlowExecutor(ScriptedExecutor):
    """Takes real time, and says what it does."""

    def submit(self, job: TrialJob) -> None:
        _say("trains" if job.weights_path is None else "finalist", job.number)
        super().submit(job)

    def wait(self, timeout_seconds: float) -> list[Event]:
        time.sleep(EPOCH_SECONDS)
        return super().wait(timeout_seconds)

    def call(self, function: Any, *, backend: str | None = None, **arguments: Any) -> Any:
        _say("scores", arguments["trial"])
        return super().call(function, backend=backend, **arguments)


class TellingStudy(SharedStudy):
    """Says what it tells."""

    def tell(self, number: int, result: TrialResult) -> TrialRecord | None:
        told = super().tell(number, result)
        if told is not None:
            _say("told", number)
        return told


def main(folder: Path, url: str, slots: int, beat_seconds: float, grace_seconds: float) -> None:
    claims.BEAT_SECONDS, claims.GRACE_SECONDS = beat_seconds, grace_seconds
    study = TellingStudy.open(folder, storage=url, space=SPACE)
    executor = SlowExecutor(Clock(), slot_count=slots, epoch_seconds=EPOCH_SECONDS)
    driver = Driver(
        study,
        executor,
        RememberingTracker(),
        progress=lambda _: None,
        is_interrupted=lambda: False,
        started=time.monotonic(),
    )
    try:
        SearchLoop(driver).run()
    finally:
        study.close()
    _say("ends", study.counted)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    main(**asked | {"folder": Path(asked["folder"])})
