"""One worker a core, or fewer workers of more threads? The same fixed trials both ways, interleaved in one run.

    python -m benchmarks.worker_shapes [--works digits mnist conv] [--rounds 3] [--json shapes.json]

Prints how many times as fast a worker a core is as one worker with all cores, for each kind of work, then the seconds
from the first trial's start to the end. `plan_slots` (`automl/executors/devices.py`) goes by it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

from automl.cores import core_count
from benchmarks.fixed_run import WORKS
from benchmarks.reporting import table, write_json

Shape = tuple[int, int]


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=["digits", "mnist", "conv"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = core_count()
    shapes: list[Shape] = [(cores, 1), (1, cores)]
    found: dict[str, dict[Shape, list[float]]] = {work: {shape: [] for shape in shapes} for work in options.works}
    for _ in range(options.rounds):
        for work, runs in found.items():
            for shape, seconds in runs.items():
                seconds.append(_seconds(work, shape))
                print(f"{work}, {_named(shape)}: {seconds[-1]:.1f} s", file=sys.stderr, flush=True)
    ratios = {work: median(runs[1, cores]) / median(runs[cores, 1]) for work, runs in found.items()}
    for work, ratio in ratios.items():
        print(f"{work}: {_named((cores, 1))} are {ratio:.2f} times as fast as {_named((1, cores))}")
    rows = [[work, *(f"{median(seconds):.1f} s" for seconds in runs.values())] for work, runs in found.items()]
    print("\n" + table(["work", *map(_named, shapes)], rows))
    named = {work: {_named(shape): taken for shape, taken in runs.items()} for work, runs in found.items()}
    write_json(options.json, {"times_as_fast": ratios, "seconds": named})


def _seconds(work: str, shape: Shape) -> float:
    workers, threads = map(str, shape)
    command = [sys.executable, "-m", "benchmarks.fixed_run", work, "--workers", workers, "--threads", threads]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["seconds"])


def _named(shape: Shape) -> str:
    workers, threads = shape
    return f"{workers} worker{'s' * (workers > 1)} of {threads} thread{'s' * (threads > 1)}"


if __name__ == "__main__":
    main()
