"""Memory of driver and workers over many tiny trials of mixed architectures, and what recycling workers costs.

    python -m benchmarks.worker_memory [--trials 1000] [--workers 2] [--json memory.json]

A search on scikit-learn's digits: random configs of dense networks, of which hardly two have the same graph, an epoch
each, MLflow logging on. Resident memory is sampled four times a second. Prints how much the driver grew from its 50th
trial to the end, each worker's largest size against its size after its tenth trial, and what recycling cost: the
seconds from the end of a recycled worker's last trial to the beginning of the next one's first, as a share of the
seconds of all workers.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.mixed_trials import Note, mixed_space, read_notes
from benchmarks.reporting import table, write_json

if TYPE_CHECKING:
    from automl.driver import Progress

SETTLED_TRIALS = 50
"""Trials after which the driver should not grow any more."""
WARM_TRIALS = 10
"""Trials after which a worker's size is the one that its later sizes are compared with."""

_SAMPLE_SECONDS = 0.25
_MIB = 2**20


@dataclass
class Memory:
    """Resident memory of this process and of its children, sampled by a thread.

    Attributes:
        trials: Trials that have ended, as the search says.
        settled_bytes: Size of the driver when `SETTLED_TRIALS` had ended; 0 before.
        driver_bytes: Its size when last looked at.
        largest_bytes: The largest size of each child, by process id.
    """

    trials: int = 0
    settled_bytes: int = 0
    driver_bytes: int = 0
    largest_bytes: dict[int, int] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Memory:
        """Start sampling."""
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def see(self, progress: Progress) -> None:
        """Take note of how many trials have ended."""
        self.trials = sum(trial.state.is_final for trial in progress.record.trials)
        if progress.phase == "done":
            self._ended.set()  # before the driver takes down what it has built up

    def _sample(self) -> None:
        driver = psutil.Process()
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.driver_bytes = driver.memory_info().rss
            if self.trials >= SETTLED_TRIALS and not self.settled_bytes:
                self.settled_bytes = self.driver_bytes
            for child in driver.children():
                self._look_at(child)

    def _look_at(self, child: psutil.Process) -> None:
        try:
            size = child.memory_info().rss
        except psutil.NoSuchProcess:  # it has ended since it was listed
            return
        self.largest_bytes[child.pid] = max(size, self.largest_bytes.get(child.pid, 0))


@dataclass(frozen=True, kw_only=True)
class WorkerSize:
    """How large one worker became.

    Attributes:
        trials: Trials that it ran.
        warm_bytes: Its size after its tenth trial, or when it began its last where it ran no more than ten.
        largest_bytes: The largest size that was seen.
    """

    trials: int
    warm_bytes: int
    largest_bytes: int

    @property
    def growth(self) -> float:
        """How many times its warm size the largest was."""
        return self.largest_bytes / self.warm_bytes


def main() -> None:
    """Measure, print the shares first, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    if options.trials <= SETTLED_TRIALS:
        parser.error(f"--trials takes more than {SETTLED_TRIALS}, after which the driver's growth is measured")
    found = _measured(options.trials, options.workers)
    _print(found)
    write_json(options.json, found)


def _measured(trials: int, workers: int) -> dict[str, Any]:
    import automl

    with tempfile.TemporaryDirectory() as folder:
        notes_folder = Path(folder, "notes")
        notes_folder.mkdir()
        started = time.monotonic()
        with Memory() as memory:
            result = automl.search(
                "digits",
                mixed_space(notes_folder),
                trials=trials,
                epochs=1,
                patience=0,
                scheduler="none",
                sampler="random",
                finalists=0,
                workers=workers,
                home=Path(folder, "home"),
                progress=memory.see,
            )
        seconds = time.monotonic() - started
        notes = read_notes(notes_folder)
    trial_seconds = {trial.config["learning_rate"]: trial.seconds for trial in result.trials}
    sizes = [_worker_size(one, memory.largest_bytes[pid]) for pid, one in notes.items()]
    return {
        "driver_growth": memory.driver_bytes / memory.settled_bytes - 1,
        "most_worker_growth": max(size.growth for size in sizes),
        "recycling_share": recycling_seconds(list(notes.values()), trial_seconds, workers) / (workers * seconds),
        "recyclings": len(notes) - workers,
        "driver_settled_bytes": memory.settled_bytes,
        "driver_bytes": memory.driver_bytes,
        "trials": len(result.trials),
        "failed": sum(trial.state == "failed" for trial in result.trials),
        "seconds": seconds,
        "workers": [asdict(size) for size in sizes],
    }


def _worker_size(notes: Sequence[Note], largest_bytes: int) -> WorkerSize:
    warm = notes[min(WARM_TRIALS, len(notes) - 1)]  # what is noted before its eleventh trial is the size after ten
    return WorkerSize(trials=len(notes), warm_bytes=warm.memory_bytes, largest_bytes=largest_bytes)


def recycling_seconds(notes: Sequence[Sequence[Note]], trial_seconds: Mapping[float, float], workers: int) -> float:
    """Return the seconds in which there was a worker too few, because one had been replaced.

    Args:
        notes: Each worker's notes, in order.
        trial_seconds: What each trial took, by its learning rate.
        workers: How many ran at a time. Which worker replaced which does not matter to the sum.
    """
    replaced = len(notes) - workers
    ends = sorted(one[-1].seconds + trial_seconds[one[-1].learning_rate] for one in notes)
    starts = sorted(one[0].seconds for one in notes)
    return sum(starts[workers:]) - sum(ends[:replaced])


def _print(found: Mapping[str, Any]) -> None:
    before, after = found["driver_settled_bytes"] / _MIB, found["driver_bytes"] / _MIB
    print(
        f"driver: grew {found['driver_growth']:.1%} from trial {SETTLED_TRIALS} ({before:.0f} MiB) to the end "
        f"({after:.0f} MiB)"
    )
    print(f"workers: at most {found['most_worker_growth']:.2f} times the size after the tenth trial")
    print(f"recycling: {found['recyclings']} times, {found['recycling_share']:.2%} of the workers' seconds")
    print(f"{found['trials']} trials, {found['failed']} failed, {found['seconds']:.0f} s\n")
    rows = []
    for number, values in enumerate(found["workers"], start=1):
        size = WorkerSize(**values)
        sizes = [f"{one / _MIB:.0f}" for one in (size.warm_bytes, size.largest_bytes)]
        rows.append([number, size.trials, *sizes, f"{size.growth:.2f}"])
    print(table(["worker", "trials", "MiB after the tenth", "largest, MiB", "times"], rows))


if __name__ == "__main__":
    main()
