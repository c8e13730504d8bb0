"""One driver's session with a study: its workers, its tracker, its loop, and what interrupts it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from automl.driver import Driver, Progress
from automl.errors import CallTimeoutError, SearchInterrupted, SpaceError
from automl.executors.backends import TENSORFLOW
from automl.executors.base import Executor
from automl.executors.choice import make_executor
from automl.home import Home
from automl.results import Result
from automl.search_loop import SearchLoop
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.shared_study import SharedStudy
from automl.study.storage import STORE_ERRORS, store_failures
from automl.study.study import Study
from automl.tracking.base import NullTracker, TakingTurns, Tracker
from automl.training.assemble import check_build

WORKERS_LOG = "workers.log"
"""File in a study's folder that takes what its workers print."""

CHECK_SECONDS = 300.0
"""What the model of a space's default config is given to be built, where no `--trial-timeout` says otherwise."""

_SILENT_SECONDS = 2.0  # of building that model: then whoever waits for it is told so
_TRACKER_SECONDS = 30.0  # what the tracker is given at the end to write what is left

_log = logging.getLogger(__name__)


@contextmanager
def early_workers(settings: SearchSettings, home: Home) -> Iterator[Executor]:
    """Start workers, which import Keras while the data is prepared; a wrong request leaves nothing behind."""
    log_path = home.new_worker_log()
    executor = workers_of(settings, log_path, home)
    try:
        executor.start()
        yield executor
    except BaseException:
        executor.close()
        log_path.unlink(missing_ok=True)
        home.remove_unused()
        raise


def workers_of(settings: SearchSettings, log_path: Path, home: Home) -> Executor:
    """Return an executor that is not started, for whatever a study will call it for."""
    return make_executor(settings, log_path=log_path, compiled=home.compiled, also=_backends(settings))


def check_everywhere(executor: Executor, space: SearchSpace, settings: SearchSettings) -> None:
    """Refuse a space that cannot work on every backend that it will be built on.

    Raises:
        SpaceError: The model of the default config cannot be built, does not fit the data, or is not built in time.
    """
    config, seconds = space.default_config(), settings.trial_timeout_seconds or CHECK_SECONDS
    waiting = _patience(f"building the model of the space's default config, which may take {seconds:g} s")
    for backend in _backends(settings):
        try:
            executor.call(check_build, backend=backend, timeout_seconds=seconds, waiting=waiting, config=config)
        except CallTimeoutError as error:
            raise SpaceError(
                f"building the model of the space's default config took longer than {seconds:g} s; it stood in "
                f"{error.place}: mend what it waits for there, or allow more with --trial-timeout"
            ) from error


def _patience(words: str) -> Callable[[float], None]:
    """Return what says once that something is waited for, when that takes a while."""
    unsaid = [words]

    def waiting(seconds: float) -> None:
        if seconds > _SILENT_SECONDS and unsaid:
            _log.warning("%s", unsaid.pop())

    return waiting


def _backends(settings: SearchSettings) -> list[str]:
    """Return where models are trained, and where the final one is built, if there will be one."""
    return list(dict.fromkeys([settings.backend, *([TENSORFLOW] if settings.finalists else [])]))


def run_study(
    study: Study,
    executor: Executor,
    home: Home,
    *,
    started: float,
    mlflow: bool,
    progress: Callable[[Progress], None] | None,
    storage: str | None,
) -> Result:
    """Search a study to its end, and tell the tracker and the caller of it; workers and study are closed then.

    Args:
        study: The study, new or opened again.
        executor: Started, and prepared for the study's dataset and space.
        home: Where the study lives.
        started: `time.monotonic()` when the command began.
        mlflow: Log to MLflow.
        progress: Called a few times a second.
        storage: The Optuna storage URL, if any.

    Raises:
        NoUsableModelError: No trial gave a value.
        SurroundingsError: Disk, store or workers failed; the study can be resumed.
        SearchInterrupted: SIGINT or SIGTERM; the study can be resumed.
    """
    name = study.record.name
    again = home.command("resume", name, storage)
    try:
        with closing(study):
            tracker = _tracker(home, study) if mlflow else NullTracker()
            with (
                _ended_in_order(study, executor, tracker, sync=home.command("sync", name, storage)),
                store_failures("the store", f"once it is well, go on with: {again}"),
                _interrupts() as is_interrupted,
            ):
                driver = Driver(
                    study,
                    executor,
                    tracker,
                    progress=progress or (lambda _: None),
                    is_interrupted=is_interrupted,
                    started=started,
                )
                SearchLoop(driver).run()
            return Result(study.record)
    except KeyboardInterrupt as error:  # a second signal too, while the last words are written
        raise SearchInterrupted(name, again) from error


@contextmanager
def _ended_in_order(study: Study, executor: Executor, tracker: Tracker, *, sync: str) -> Iterator[None]:
    """End the workers, however a session ends, and let the tracker write what is left; `sync` sends the rest."""
    try:
        yield
    finally:
        executor.close()
        tracker.update(study.record)
        unsent = tracker.close(_TRACKER_SECONDS)
        if unsent:
            _log.warning("MLflow has not got %d runs of this study yet; later send them with: %s", unsent, sync)


def _tracker(home: Home, study: Study) -> Tracker:
    from automl.tracking.mlflow import MlflowTracker, store_of

    uri, artifact_root = store_of(home)
    tracker = MlflowTracker(uri, artifact_root=artifact_root)
    return TakingTurns(tracker, partial(_takes_turn, study)) if isinstance(study, SharedStudy) else tracker


def _takes_turn(study: Study) -> bool:
    try:
        return not study.take_role("mlflow")
    except STORE_ERRORS:  # the search meets it too, and says so
        return False


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a flag that the loop looks at; a second SIGINT interrupts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag.is_set
        return

    def note(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
