"""What Ray costs: reports a second through Ray Tune, the driver's memory, and wall-clock beside the local executor.

    python -m benchmarks.ray_cluster [--trials 2000] [--work digits] [--rounds 2] [--json ray.json]

First a study (journal file, random sampler) over simulated trials of five reports in two actors of a Ray of this
machine: nothing is trained, so that what is measured is the driver and Ray; beside it the same in the driver's own
process, without a cluster. Then a list of fixed trials
(`benchmarks/fixed_run.py`) with two local workers and with two actors, in turn: the seconds from the executor's start
to the end of the last trial, and whether both gave the same learning curves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from automl.data import prepare, raw_from_arrays
from automl.driver import Driver, Progress
from automl.executors.base import Executor
from automl.executors.ray_request import RayRequest
from automl.executors.ray_tune import RayExecutor
from automl.objective import Objective
from automl.records import TrialRecord, TrialState
from automl.search_loop import SearchLoop
from automl.settings import SearchSettings
from automl.study.study import Study
from automl.tracking.base import NullTracker
from benchmarks import fixed_run
from benchmarks.reporting import table, write_json
from benchmarks.simulated import EPOCHS, SPACE, SPEC, SimulatedExecutor, simulated_slot

_WORKERS = 2
_MARKS = 8  # readings of the driver's memory


@dataclass(frozen=True, kw_only=True)
class Controller:
    """What the driver did.

    Attributes:
        trials: Trials that ended.
        reports: Epochs that it heard of and decided on.
        seconds: Wall-clock, from the first trial's start to the end.
        memory: Resident bytes of the driver by the number of trials that had ended.
    """

    trials: int
    reports: int
    seconds: float
    memory: Mapping[int, int]

    @property
    def reports_per_second(self) -> float:
        """Reports a second, over the whole study."""
        return self.reports / self.seconds

    @property
    def bytes_a_trial(self) -> float:
        """What a trial adds to the driver's memory, from the first reading to the last."""
        first, last = min(self.memory), max(self.memory)
        return (self.memory[last] - self.memory[first]) / max(1, last - first)


class MemoryReader:
    """Reads the driver's memory whenever so many trials more have ended."""

    def __init__(self, every: int) -> None:
        """Begin without a reading."""
        self.readings: dict[int, int] = {}
        self._every = every

    def __call__(self, progress: Progress) -> None:
        """Read, if it is time."""
        ended = progress.record.count(TrialState.COMPLETE) + progress.record.count(TrialState.PRUNED)
        if ended >= max(self.readings, default=0) + self._every:
            self.readings[ended] = psutil.Process().memory_info().rss


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="simulated trials; 0 for none")
    parser.add_argument("--work", choices=fixed_run.WORKS, default="digits", help="the list of fixed trials")
    parser.add_argument("--rounds", type=int, default=2, help="of the list, with each executor; 0 for none")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.trials:
        controllers = {name: controlled(name, options.trials) for name in ("ray", "none")}
        found["controller"] = {
            name: asdict(one) | {"reports_per_second": one.reports_per_second, "bytes_a_trial": one.bytes_a_trial}
            for name, one in controllers.items()
        }
        print(_controlled(controllers))
    if options.rounds:
        found["fixed_list"] = compare(options.work, options.rounds)
        print(_compared(found["fixed_list"]))
    write_json(options.json, found)


def controlled(name: str, trials: int) -> Controller:
    """Return what `control` gives in a process of its own, whose memory nothing else has grown."""
    with (
        tempfile.TemporaryDirectory() as home,
        ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process,
    ):
        return process.submit(control, name, Path(home), trials).result()


def control(name: str, home: Path, trials: int) -> Controller:
    """Drive a study of simulated trials to its end, on `ray` or on `none`."""
    random = np.random.default_rng(0)
    raw = raw_from_arrays("tiny", random.normal(size=(100, 4)), np.arange(100) % 2)
    data = prepare(raw, task=None, split_seed=0, cache=home / "datasets")
    folder = home / "simulated"
    folder.mkdir()
    study = Study.create(
        folder,
        storage=None,
        space=SPACE,
        spec=SPEC,
        objective=Objective("val_accuracy", "max"),
        settings=SearchSettings(trials=trials, seconds=None, epochs=EPOCHS, sampler="random", finalists=0),
    )
    executor = _executor(name, folder)
    memory = MemoryReader(max(1, trials // _MARKS))
    try:
        executor.start()
        executor.prepare(data.folder, SPACE.build)
        started = time.monotonic()
        driver = Driver(study, executor, NullTracker(), progress=memory, is_interrupted=lambda: False, started=started)
        SearchLoop(driver).run()
        seconds = time.monotonic() - started
    finally:
        executor.close()
    return Controller(
        trials=study.counted,
        reports=sum(len(trial.epochs) for trial in study.record.trials),
        seconds=seconds,
        memory=memory.readings,
    )


def _executor(name: str, folder: Path) -> Executor:
    if name == "none":
        return SimulatedExecutor(slot_count=_WORKERS, epoch_seconds=0.0)
    request = RayRequest(workers=_WORKERS, gpus_per_trial=0)
    return RayExecutor(request, log_path=folder / "workers.log", make_executor=simulated_slot)


def compare(work: str, rounds: int) -> dict[str, Any]:
    """Run the fixed list with both executors, in turn."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    curves = []
    for _ in range(rounds):
        for executor, taken in seconds.items():
            with tempfile.TemporaryDirectory() as home:
                found = _fixed(work, executor, Path(home))
            taken.append(found.seconds)
            curves.append(_curves(found.trials))
    return {
        "work": work,
        "seconds": seconds,
        "ratio": median(seconds["ray"]) / median(seconds["local"]),
        "curves_are_equal": all(one == curves[0] for one in curves),
    }


def _controlled(controllers: Mapping[str, Controller]) -> str:
    ray = controllers["ray"]
    told = f"{ray.reports_per_second:.0f} reports a second through Ray ({ray.reports} in {ray.seconds:.0f} s)"
    header = ["cluster", "reports a second", "MiB by trials that have ended", "kB more a trial"]
    rows = [
        (
            name,
            f"{one.reports_per_second:.0f}",
            ", ".join(f"{trials}: {size // 2**20}" for trials, size in one.memory.items()),
            f"{one.bytes_a_trial / 1000:.1f}",
        )
        for name, one in controllers.items()
    ]
    return f"{told}\n{table(header, rows)}"


def _fixed(work: str, executor: str, home: Path) -> fixed_run.Searched:
    listed = fixed_run.WORKS[work]
    return fixed_run.search(
        work,
        seed=fixed_run.SEED,
        trials=listed.trials,
        epochs=listed.epochs,
        workers=_WORKERS,
        home=home,
        executor=executor,
    )


def _curves(trials: Sequence[TrialRecord]) -> dict[int, list[dict[str, float]]]:
    return {trial.number: [dict(report.metrics) for report in trial.epochs] for trial in trials}


def _compared(found: Mapping[str, Any]) -> str:
    rows = [
        (executor, ", ".join(f"{one:.1f}" for one in taken), f"{median(taken):.1f}")
        for executor, taken in found["seconds"].items()
    ]
    equal = "equal" if found["curves_are_equal"] else "NOT equal"
    told = f"ray / local on {found['work']}: {found['ratio']:.2f}; learning curves are {equal}"
    return f"{told}\n{table(['executor', 'seconds of each round', 'median'], rows)}"


if __name__ == "__main__":
    main()
