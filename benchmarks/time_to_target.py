"""Seconds from a process's start to a validation accuracy on MNIST: real searches over one space of dense networks.

    python -m benchmarks.time_to_target [--peers optuna kerastuner ray] [--backend tensorflow jax] [--seeds 0 1 2]
        [--seconds 300] [--targets 0.975 0.978] [--stop] [--json time_to_target.json]

Ours is `automl.search` as it is by default (TPE, ASHA, MLflow logging on) with two workers; the peers' scripts are
those of the folder `bench` beside the data (`AUTOML_DATA`), each as its own documentation shows it. All search the same
space, with at most ten epochs a trial; the same rows train, and the same validate. A search that does not get there
counts as `--seconds`. Prints how many times sooner ours is than the best peer, by medians over seeds, then the seconds.
With `--stop`, ours ends once it has reached the highest target; the peers always run to their end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.reporting import data_folder, table, write_json

if TYPE_CHECKING:
    from automl.driver import Progress

PEERS = ("optuna", "kerastuner", "ray")
TARGETS = (0.97, 0.975, 0.978, 0.98)
"""What the peers' script says the seconds to."""
EPOCHS = 10
_TRAIN_ROWS = 48_000

Arrays = tuple[npt.NDArray[Any], ...]
Times = dict[str, list[float]]
"""Seconds to one target, a system, in the order of the seeds."""


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    options = _options()
    if options.ours_once:
        print(json.dumps(run_ours(options)))
        return
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for name, command in _commands(options, seed).items():
            runs.setdefault(name, []).append(_run(name, command))
        write_json(options.json, _figures(options, runs))
    for target in options.targets:
        _print(target, times_to(target, runs, options.seconds))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours-once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--backend", nargs="+", choices=("tensorflow", "jax"), default=["tensorflow"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=300.0, help="what every search is given")
    parser.add_argument("--targets", nargs="+", type=float, choices=TARGETS, default=[0.975, 0.978])
    parser.add_argument("--stop", action="store_true", help="end ours at the highest target")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def run_ours(options: argparse.Namespace) -> dict[str, Any]:
    """Run one search in this process, and return when it reached what, in the form of the peers."""
    import automl
    from benchmarks.fixed_trials import searched_space

    data, validation = _peers_rows()
    trace = Trace(stop_at=max(options.targets) if options.stop else None)
    backend = options.backend[0]
    beside: dict[str, Any] = {} if backend == "tensorflow" else {"backend": backend}
    with tempfile.TemporaryDirectory() as home:
        try:
            automl.search(
                data,
                searched_space,
                validation=validation,
                time=options.seconds,
                epochs=EPOCHS,
                finalists=0,
                workers=2,
                seed=options.seeds[0],
                home=home,
                progress=trace.see,
                **beside,
            )
        except automl.SearchInterrupted:
            if not trace.is_stopped:
                raise
    reached = {target: trace.seconds_to(target) for target in options.targets}
    return {"seconds_to": reached, "trials": trace.trials, "best": trace.best, "trace": trace.steps}


def _peers_rows() -> tuple[Arrays, Arrays]:
    """Return MNIST as (x, y, x_test, y_test), and the rows that validate: the last fifth of x, as at the peers."""
    with np.load(data_folder() / "mnist.npz") as file:
        x, y, x_test, y_test = (file[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    return (x[:_TRAIN_ROWS], y[:_TRAIN_ROWS], x_test, y_test), (x[_TRAIN_ROWS:], y[_TRAIN_ROWS:])


class Trace:
    """The best validation accuracy over the seconds since this process was started.

    Attributes:
        steps: (seconds, accuracy) whenever the best had become better. What is seen late counts as late.
        trials: Trials so far.
        is_stopped: Whether the search was told to stop.
    """

    def __init__(self, *, stop_at: float | None) -> None:
        """Begin; at the accuracy `stop_at` the search is interrupted."""
        self._started = psutil.Process().create_time()
        self._stop_at = stop_at
        self.steps: list[tuple[float, float]] = []
        self.trials = 0
        self.is_stopped = False

    @property
    def best(self) -> float:
        """The best accuracy so far."""
        return self.steps[-1][1] if self.steps else 0.0

    def see(self, progress: Progress) -> None:
        """Look at every epoch that has been reported."""
        self.trials = len(progress.record.trials)
        reports = [report for trial in progress.record.trials for report in trial.epochs]
        best = max((report.metrics["val_accuracy"] for report in reports), default=0.0)
        if best > self.best:
            self.steps.append((time.time() - self._started, best))
        if self._stop_at is not None and best >= self._stop_at and not self.is_stopped:
            self.is_stopped = True
            signal.raise_signal(signal.SIGINT)  # as a person would end it

    def seconds_to(self, target: float) -> float | None:
        """Return when an accuracy was reached; None where it was not."""
        return next((seconds for seconds, accuracy in self.steps if accuracy >= target), None)


def _commands(options: argparse.Namespace, seed: int) -> dict[str, list[str]]:
    ours = [sys.executable, "-m", "benchmarks.time_to_target", "--ours-once", "--seeds", str(seed)]
    ours += ["--seconds", str(options.seconds), "--targets", *map(str, options.targets)]
    ours += ["--stop"] if options.stop else []
    script = str(data_folder().parent / "bench" / "peers_time_to_target.py")
    return {
        **{f"automl, {backend}": [*ours, "--backend", backend] for backend in options.backend},
        **{peer: [sys.executable, script, peer, str(options.seconds), str(seed)] for peer in options.peers},
    }


def _run(name: str, command: Sequence[str]) -> dict[str, Any]:
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "BENCH_DATA": str(data_folder() / "mnist.npz")}
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise SystemExit(f"{name} ended with {done.returncode} and printed {done.stdout.strip()!r}")
    found: dict[str, Any] = json.loads(lines[-1])
    print(f"{name}: {found['seconds_to']}, {found['trials']} trials", file=sys.stderr, flush=True)
    return found


def times_to(target: float, runs: Mapping[str, Sequence[Mapping[str, Any]]], never_seconds: float) -> Times:
    """Return each system's seconds to a target, a run each; `never_seconds` where it was not reached.

    Example:
        >>> times_to(0.975, {"optuna": [{"seconds_to": {"0.975": 41.5}}, {"seconds_to": {"0.975": None}}]}, 300.0)
        {'optuna': [41.5, 300.0]}
    """

    def seconds(run: Mapping[str, Any]) -> float:
        reached = run["seconds_to"][str(target)]
        return never_seconds if reached is None else min(reached, never_seconds)

    return {name: [seconds(run) for run in found] for name, found in runs.items()}


def ratios(times: Times) -> dict[str, float]:
    """Return how many times sooner each of ours is than the best peer, by medians; nothing where no peer ran.

    Example:
        >>> ratios({"automl, tensorflow": [20.0, 30.0, 25.0], "optuna": [100.0, 300.0, 200.0], "ray": [300.0] * 3})
        {'automl, tensorflow': 8.0}
    """
    medians = {name: median(seconds) for name, seconds in times.items()}
    best_peer = min((seconds for name, seconds in medians.items() if not _is_ours(name)), default=None)
    return {} if best_peer is None else {name: best_peer / medians[name] for name in times if _is_ours(name)}


def _is_ours(name: str) -> bool:
    return name.startswith("automl")


def _figures(options: argparse.Namespace, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return all figures for JSON."""
    times = {target: times_to(target, runs, options.seconds) for target in options.targets}
    return {
        "seconds_given": options.seconds,
        "times_sooner_than_best_peer": {target: ratios(found) for target, found in times.items()},
        "seconds_to": times,
        "runs": runs,
    }


def _print(target: float, times: Times) -> None:
    for name, ratio in ratios(times).items():
        print(f"validation accuracy {target}: {name} is {ratio:.2f} times sooner than the best peer")
    rows = [
        [name, f"{median(seconds):.1f}", ", ".join(f"{one:.1f}" for one in seconds)] for name, seconds in times.items()
    ]
    print(table(["system", f"median seconds to {target}", "each seed"], rows))


if __name__ == "__main__":
    main()
