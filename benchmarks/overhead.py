"""What the driver costs: processor time a trial at 10, 100, 1,000 and 10,000 trials, memory, and start-up.

    python -m benchmarks.overhead [--trials 10 100 1000 10000] [--sampler tpe] [--random-until 0] [--skip-start-up]
        [--json overhead.json]

A real study (journal file) and a real MLflow tracker (SQLite store) in a temporary home, driven by the real loop over
simulated trials: eight parameters, five reports each, some stopped by the scheduler, two at a time. Beside it what
cannot be had for less: the same proposals by plain Optuna in memory (ask, suggest, tell), and the same points by
MLflow's client alone (create_run, log_batch, set_terminated). Each figure is the mean over the last trials before the
number in its row. Prints first what we need beyond both.

`--sampler random` leaves out what TPE itself needs, which grows with the number of trials. A thousand trials take three
minutes, ten thousand an hour; what is done is said on standard error. `--random-until 9700` has the first trials
proposed at random, which takes ten minutes or so: what TPE needs goes by how many trials there are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar
from unittest.mock import patch

import optuna
import psutil

from automl.driver import Driver, Progress
from automl.objective import Objective
from automl.records import Decision, EpochReport, TrialRecord, TrialResult
from automl.search_loop import SearchLoop
from automl.settings import SearchSettings
from automl.study.distributions import suggest
from automl.study.samplers import make_sampler
from automl.study.storage import open_storage
from automl.study.study import Study
from automl.tracking.mlflow import MlflowTracker, embedded_uri
from automl.tracking.mlflow_values import flatten
from benchmarks.simulated import EPOCHS, SPACE, SPEC, SimulatedExecutor, report

T = TypeVar("T")

_SLOTS = 2
_EPOCH_SECONDS = 0.02
_SAID_EVERY = 100  # trials
_WINDOW = 200  # trials at most
_ROUND_SECONDS = 1.5  # longer than the tracker's pauses
_LOOKS = 3
_START_UP = {
    "import automl": "import automl; print()",
    "automl --help": "import sys; sys.argv[1:] = ['--help']; from automl.cli import main; main()",
    "first epoch of iris reported": """
import automl
from automl.errors import SearchInterrupted
def stop(progress):
    if any(trial.epochs for trial in progress.record.trials):
        print(flush=True)
        raise KeyboardInterrupt
try:
    automl.search("iris", trials=1, epochs=500, workers=1, home=sys.argv[1], progress=stop)
except SearchInterrupted:
    pass
""",
}


@dataclass(frozen=True)
class Window:
    """Processor milliseconds a trial, over `trials` trials that end at number `end`.

    Attributes:
        end: Trials at the end of the window.
        trials: Trials in the window.
        total_ms: All threads of the driver.
        ask_ms: `Study.ask`, and `Study.prefetch` before it.
        report_ms: All of a trial's calls to `Study.report`.
        tell_ms: `Study.tell`.
        loop_ms: What else the main thread did: the loop, and the records for tracker and progress.
        tracker_ms: The tracker's thread.
        optuna_ms: Plain Optuna in memory.
        mlflow_ms: MLflow's client alone.
        look_ms: One record of the study and one round of the tracker when nothing is new: not a trial, but a look.
        memory_bytes: Resident memory of the driver.
    """

    end: int
    trials: int
    total_ms: float
    ask_ms: float
    report_ms: float
    tell_ms: float
    loop_ms: float
    tracker_ms: float
    optuna_ms: float
    mlflow_ms: float
    look_ms: float
    memory_bytes: int

    @property
    def own_ms(self) -> float:
        """What we need beyond Optuna and MLflow."""
        return self.total_ms - self.optuna_ms - self.mlflow_ms


class TimedStudy(Study):
    """A study that adds up the processor seconds of its calls."""

    def __init__(self, *arguments: Any) -> None:
        """Start at zero."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._is_timed = False
        super().__init__(*arguments)

    def ask(self) -> TrialRecord | None:
        """Ask, and note what it took."""
        return self._timed("ask", super().ask)

    def prefetch(self) -> None:
        """Choose the next trial, and note what it took as part of asking for it."""
        self._timed("ask", super().prefetch)

    def report(self, number: int, report: EpochReport) -> Decision:
        """Report, and note what it took."""
        return self._timed("report", super().report, number, report)

    def tell(self, number: int, result: TrialResult) -> TrialRecord | None:
        """Tell, and note what it took."""
        return self._timed("tell", super().tell, number, result)

    def _timed(self, name: str, call: Callable[..., T], *arguments: Any) -> T:
        if self._is_timed:  # a call that belongs to another one
            return call(*arguments)
        self._is_timed, started = True, time.thread_time()
        try:
            return call(*arguments)
        finally:
            self.seconds[name] += time.thread_time() - started
            self._is_timed = False


@dataclass(frozen=True)
class Clocks:
    """Processor seconds up to one moment."""

    trials: int
    process: float
    main: float
    calls: dict[str, float]
    memory_bytes: int
    look_ms: float


class Meter:
    """Reads the clocks when the study has so many trials; told of progress right after the tracker."""

    def __init__(self, study: TimedStudy, tracker: MlflowTracker, client: Any, marks: Sequence[int]) -> None:
        """Set the numbers of trials to stop at; `client` is an MLflow client of the tracker's store."""
        self.readings: dict[int, Clocks] = {}
        self._client = client
        self._study = study
        self._tracker = tracker
        self._marks = sorted(set(marks))
        self._pause = 0.0  # processor seconds of the main thread that went into measuring
        self._looks = 0.0  # and of the tracker's thread
        self._said = 0

    def __call__(self, progress: Progress) -> None:
        """Let the tracker finish, and read."""
        self._say()
        if not self._marks or self._study.counted < self._marks[0]:
            return
        mark = self._marks.pop(0)
        main = time.thread_time()
        self._wait_for_tracker()
        self._pause += time.thread_time() - main
        process, main = time.process_time(), time.thread_time()
        look_ms = median(self._look() for _ in range(_LOOKS)) if mark else 0.0
        self.readings[mark] = Clocks(
            trials=self._study.counted,
            process=process - self._pause - self._looks,
            main=main - self._pause,
            calls=dict(self._study.seconds),
            memory_bytes=psutil.Process().memory_info().rss,
            look_ms=look_ms,
        )
        self._pause += time.thread_time() - main
        self._looks += time.process_time() - process - (time.thread_time() - main)

    def _say(self) -> None:
        if self._study.counted >= self._said + _SAID_EVERY:
            self._said = self._study.counted
            print(f"{self._said} trials", file=sys.stderr, flush=True)

    def _wait_for_tracker(self) -> None:
        """Return when MLflow has the last trial that has ended, and the tracker has had time for the parent run."""
        last = max((trial.number for trial in self._study.record.trials if trial.state.is_final), default=None)
        query = f"tags.`automl.trial` = '{last}' AND attributes.status != 'RUNNING'"
        while last is not None and not self._client.search_runs(self._experiment_ids(), query, max_results=1):
            time.sleep(0.5)
        time.sleep(_ROUND_SECONDS)

    def _experiment_ids(self) -> list[str]:
        return [experiment.experiment_id for experiment in self._client.search_experiments()]

    def _look(self) -> float:
        before = time.process_time()
        self._tracker.update(self._study.record)
        time.sleep(_ROUND_SECONDS)
        return 1000 * (time.process_time() - before)


def main() -> None:
    """Measure, print what is ours first, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    parser.add_argument("--sampler", default="tpe", choices=["tpe", "random"])
    parser.add_argument("--random-until", type=int, default=0, metavar="N", help="propose the first N trials at random")
    parser.add_argument("--skip-start-up", action="store_true")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    if options.random_until and min(options.trials) < options.random_until + _WINDOW:
        parser.error(f"--random-until N takes --trials of N + {_WINDOW} and more: TPE is compared with TPE")
    warnings.filterwarnings("ignore", "The ``noload`` loader strategy is deprecated", DeprecationWarning)
    with tempfile.TemporaryDirectory() as home:
        with _random_until(options.random_until):
            windows = measure(Path(home), sorted(options.trials), options.sampler)
        start_up = {} if options.skip_start_up else {name: _start_up(code) for name, code in _START_UP.items()}
    _show(windows, start_up)
    if options.json is not None:
        rows = [asdict(window) | {"own_ms": window.own_ms} for window in windows]
        found = {"sampler": options.sampler, "windows": rows, "start_up_seconds": start_up}
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def measure(home: Path, ends: Sequence[int], sampler: str) -> list[Window]:
    """Drive one study to the last of `ends` trials; return a window before each."""
    starts = {end: end - min(max(10, end // 5), _WINDOW) for end in ends}
    mlflow_ms = mlflow_alone(home / "alone")
    client = _client(home)
    study = _study(home, ends[-1], sampler)
    tracker = MlflowTracker(embedded_uri(home), artifact_root=home / "artifacts")
    meter = Meter(study, tracker, client, [*starts.values(), *ends])
    executor = SimulatedExecutor(slot_count=_SLOTS, epoch_seconds=_EPOCH_SECONDS)
    started = time.monotonic()
    SearchLoop(Driver(study, executor, tracker, progress=meter, is_interrupted=lambda: False, started=started)).run()
    meter(Progress(record=study.record, phase="done"))
    if tracker.close(timeout_seconds=60):
        raise SystemExit("the tracker did not write all trials")
    known = optuna.load_study(study_name=study.record.name, storage=open_storage(study.record.folder, None)).trials
    return [
        _window(
            end,
            meter.readings[starts[end]],
            meter.readings[end],
            optuna_alone(known[: starts[end]], end, sampler),
            mlflow_ms,
        )
        for end in ends
    ]


@contextmanager
def _random_until(trials: int) -> Iterator[None]:
    """Propose the first trials at random, whatever the sampler."""

    def sampler(name: str, *, seed: int, number: int) -> optuna.samplers.BaseSampler:
        return make_sampler("random" if number < trials else name, seed=seed, number=number)

    with patch("automl.study.proposals.make_sampler", sampler):
        yield


def _study(home: Path, trials: int, sampler: str) -> TimedStudy:
    folder = home / "studies" / "simulated"
    folder.mkdir(parents=True)
    settings = SearchSettings(trials=trials, seconds=None, epochs=EPOCHS, sampler=sampler, finalists=0)
    study = TimedStudy.create(
        folder,
        storage=None,
        space=SPACE,
        spec=SPEC,
        objective=Objective("val_accuracy", "max"),
        settings=settings,
    )
    assert isinstance(study, TimedStudy)
    return study


def _client(home: Path) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(embedded_uri(home))
    client.search_experiments()  # a new store is migrated, which takes seconds
    return client


def _window(end: int, first: Clocks, last: Clocks, optuna_ms: float, mlflow_ms: float) -> Window:
    trials = last.trials - first.trials

    def a_trial(seconds: float) -> float:
        return 1000 * seconds / trials

    calls = {name: last.calls.get(name, 0.0) - first.calls.get(name, 0.0) for name in ("ask", "report", "tell")}
    process, main_thread = last.process - first.process, last.main - first.main
    return Window(
        end=end,
        trials=trials,
        total_ms=a_trial(process),
        ask_ms=a_trial(calls["ask"]),
        report_ms=a_trial(calls["report"]),
        tell_ms=a_trial(calls["tell"]),
        loop_ms=a_trial(main_thread - sum(calls.values())),
        tracker_ms=a_trial(process - main_thread),
        optuna_ms=optuna_ms,
        mlflow_ms=mlflow_ms,
        look_ms=last.look_ms,
        memory_bytes=last.memory_bytes,
    )


def optuna_alone(known: Sequence[optuna.trial.FrozenTrial], end: int, sampler: str) -> float:
    """Return the processor milliseconds a trial of plain Optuna in memory, from the `known` trials to number `end`."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler(sampler, seed=0, number=0))
    study.add_trials(known)
    started = time.process_time()
    for _ in range(end - len(known)):
        trial = study.ask()
        config = SPACE.walk(partial(suggest, trial))
        study.tell(trial, report(config, EPOCHS).metrics["val_accuracy"])
    return 1000 * (time.process_time() - started) / (end - len(known))


def mlflow_alone(home: Path, trials: int = 50) -> float:
    """Return the processor milliseconds a trial of MLflow's client, given the very points of a trial."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

    home.mkdir()
    client = MlflowClient(embedded_uri(home))
    experiment = client.create_experiment("simulated", artifact_location=(home / "artifacts").as_uri())
    config = SPACE.default_config()
    points = {epoch: {**report(config, epoch).metrics, "epoch_seconds": 0.2} for epoch in range(1, EPOCHS + 1)}
    params = [Param(name, value) for name, value in flatten(config).items()]

    def track(number: int) -> None:
        tags = {"automl.study": "simulated", "automl.trial": str(number)}
        run = client.create_run(experiment, tags=tags, run_name=f"trial-{number:04d}")
        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, step) for step, one in points.items() for name, value in one.items()]
        client.log_batch(run.info.run_id, metrics=metrics, params=params, tags=[RunTag("automl.state", "complete")])
        client.set_terminated(run.info.run_id)

    track(0)  # the first one imports and connects
    started = time.process_time()
    for number in range(1, trials + 1):
        track(number)
    return 1000 * (time.process_time() - started) / trials


def _start_up(code: str) -> float:
    """Return the wall-clock seconds until a new process that runs `code` prints its first line."""
    with tempfile.TemporaryDirectory() as home:
        started = time.monotonic()
        command = [sys.executable, "-c", f"import sys\n{code}", home]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            seconds = time.monotonic() - started
            process.stdout.read()
        if process.returncode:
            raise SystemExit(f"a new process failed: {code}")
        return seconds


def _show(windows: Sequence[Window], start_up: dict[str, float]) -> None:
    for window in windows:
        print(f"ours beyond Optuna and MLflow: {window.own_ms:6.1f} ms a trial at {window.end} trials")
    print("\nprocessor milliseconds a trial, and of a look at a study where nothing is new")
    names = ("total", "ask", "report", "tell", "loop", "tracker", "optuna", "mlflow", "look")
    print(f"{'trials':>7} " + " ".join(f"{name:>8}" for name in names) + f" {'memory':>9}")
    for window in windows:
        values = [getattr(window, f"{name}_ms") for name in names]
        memory = f"{window.memory_bytes / 2**20:6.0f} MiB"
        print(f"{window.end:>7} " + " ".join(f"{value:8.2f}" for value in values) + f" {memory:>9}")
    for name, seconds in start_up.items():
        print(f"{name}: {seconds:.2f} s")


if __name__ == "__main__":
    main()
