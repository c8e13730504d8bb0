"""The same fixed trials through automl and through its peers, whole processes, interleaved in one run.

    python -m benchmarks.throughput [--work mnist|fashion|digits|conv] [--backend tensorflow jax] [--seeds 7 8]
        [--peers plain kerastuner optuna "optuna mlflow" ray] [--rounds 3] [--json throughput.json]

The peers' scripts are those of the folder `bench` beside the data (`AUTOML_DATA`), each as its own documentation shows
it; of the small trials (`digits`, `conv`) that is plain `fit`, and `benchmarks/peers_small.py` has the others. Ours
runs with two workers and MLflow logging on. Every round runs every system once, in turn. Prints how many times as fast
as the fastest peer ours is, by medians, then seconds, and the best validation accuracy of each, by which one sees that
it was the same work.

The JAX backend is measured with a warm compilation cache: the first run, not counted, fills the folder `compiled` of a
home folder, of which nothing else is kept between runs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.fixed_run import SEED, WORKS
from benchmarks.reporting import data_folder, table, write_json

_ROOT = Path(__file__).resolve().parent.parent
_BEST = re.compile(r"best\W+(\d\.\d+)")


@dataclass
class System:
    """One system under test, and what was measured of it.

    Attributes:
        name: Its name in tables.
        command: The process that runs all trials.
        is_ours: Whether it is automl.
        seconds: Wall-clock of each counted run.
        best: Best validation accuracy of the last run.
        cold_seconds: Wall-clock of the run that filled the compilation cache; None where there is none.
    """

    name: str
    command: Sequence[str]
    is_ours: bool = False
    seconds: list[float] = field(default_factory=list)
    best: float = 0.0
    cold_seconds: float | None = None

    def run(self, environment: Mapping[str, str]) -> float:
        """Run the process, and return its wall-clock seconds.

        Raises:
            SystemExit: It failed, or did not say what it reached.
        """
        given = {**os.environ, **environment}
        with tempfile.TemporaryDirectory() as folder:  # peers leave files where they run
            started = time.monotonic()
            done = subprocess.run(self.command, env=given, cwd=folder, stdout=subprocess.PIPE, text=True)
            seconds = time.monotonic() - started
        found = _BEST.search(done.stdout)
        if done.returncode or found is None:
            raise SystemExit(f"{self.name} ended with {done.returncode} and printed {done.stdout.strip()!r}")
        self.best = float(found[1])
        print(f"{self.name}: {seconds:.1f} s, best {self.best:.4f}", file=sys.stderr, flush=True)
        return seconds


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    options = _options()
    found: dict[str, Any] = {"work": options.work, "trials": options.trials, "epochs": options.epochs, "seeds": {}}
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as homes:
            systems = _systems(options, seed, Path(homes))
            _measure(systems, _environment(options, seed), options.rounds)
        _print(options.work, seed, systems)
        found["seeds"][seed] = summary(systems)
        write_json(options.json, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=WORKS, default="mnist")
    parser.add_argument("--backend", nargs="+", choices=("tensorflow", "jax"), default=["tensorflow"])
    parser.add_argument("--peers", nargs="*", default=None, help="by default all that run this work")
    parser.add_argument("--seeds", nargs="+", type=int, default=None, help="of the list of dense networks")
    parser.add_argument("--trials", type=int, default=None, help="of dense networks")
    parser.add_argument("--epochs", type=int, default=None, help="of dense networks")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    work = WORKS[options.work]
    if "optuna mlflow" not in work.peers and (options.seeds or options.trials or options.epochs):
        parser.error(f"the list of trials of {options.work} is one: leave out --seeds, --trials and --epochs")
    options.peers = work.peers if options.peers is None else options.peers
    unknown = set(options.peers) - set(work.peers)
    if unknown:
        parser.error(f"no peer {', '.join(unknown)} runs {options.work}; known: {', '.join(work.peers)}")
    options.seeds = options.seeds or [SEED]
    options.trials, options.epochs = options.trials or work.trials, options.epochs or work.epochs
    return options


def _systems(options: argparse.Namespace, seed: int, homes: Path) -> list[System]:
    ours = [
        System(
            f"automl, {backend}",
            [
                *(sys.executable, "-m", "benchmarks.fixed_run", options.work, "--seed", str(seed)),
                *("--trials", str(options.trials), "--epochs", str(options.epochs), "--backend", backend),
                *(("--home", str(homes / backend)) if backend == "jax" else ()),
            ],
            is_ours=True,
        )
        for backend in options.backend
    ]
    return [*ours, *(System(peer, _peer_command(options.work, peer)) for peer in options.peers)]


def _peer_command(work: str, peer: str) -> list[str]:
    if WORKS[work].file.endswith(".npz"):
        return [sys.executable, str(_scripts() / "peers_throughput.py"), *peer.split()]
    if peer == "plain":
        return [sys.executable, str(_scripts() / "small_trials.py"), work, "plain"]
    return [sys.executable, str(Path(__file__).with_name("peers_small.py")), work, peer]


def _scripts() -> Path:
    return data_folder().parent / "bench"


def _environment(options: argparse.Namespace, seed: int) -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join([str(_scripts()), str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        "AUTOML_DATA": str(data_folder().resolve()),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "BENCH_DATA": str(data_folder() / WORKS[options.work].file),
        "BENCH_N": str(options.trials),
        "BENCH_EPOCHS": str(options.epochs),
        "BENCH_SEED": str(seed),
    }


def _measure(systems: Sequence[System], environment: Mapping[str, str], rounds: int) -> None:
    for system in systems:
        if "--home" in system.command:
            system.cold_seconds = system.run(environment)
    for _ in range(rounds):
        for system in systems:
            system.seconds.append(system.run(environment))


def summary(systems: Sequence[System]) -> dict[str, Any]:
    """Return ratios, and every system's seconds: what is written as JSON."""
    return {
        "times_as_fast_as_fastest_peer": {system.name: _ratio(system, systems) for system in systems if system.is_ours},
        "fastest_peer": _fastest(systems).name,
        "systems": {
            system.name: {
                "median_seconds": median(system.seconds),
                "seconds": system.seconds,
                "best_val_accuracy": system.best,
                **({} if system.cold_seconds is None else {"cold_seconds": system.cold_seconds}),
            }
            for system in systems
        },
    }


def _fastest(systems: Sequence[System]) -> System:
    """Return the fastest peer, or ours where no peer was run."""
    return min((system for system in systems if not system.is_ours), key=_median_seconds, default=systems[0])


def _median_seconds(system: System) -> float:
    return median(system.seconds)


def _ratio(system: System, systems: Sequence[System]) -> float:
    return median(_fastest(systems).seconds) / median(system.seconds)


def _print(work: str, seed: int, systems: Sequence[System]) -> None:
    fastest = _fastest(systems)
    for system in systems:
        if system.is_ours:
            print(
                f"{work}, seed {seed}: {system.name} is {_ratio(system, systems):.2f} times as fast as {fastest.name}"
            )
    rows = [
        [
            system.name,
            f"{median(system.seconds):.1f}",
            f"{median(system.seconds) / median(systems[0].seconds):.2f}",
            f"{system.best:.4f}",
            "" if system.cold_seconds is None else f"{system.cold_seconds:.1f}",
        ]
        for system in systems
    ]
    first = systems[0].name
    print(table(["system", "seconds", f"times those of {first}", "best val accuracy", "with a cold cache"], rows))


if __name__ == "__main__":
    main()
