"""A list of fixed trials through automl, as one process: what `throughput` and `floor` measure.

    python -m benchmarks.fixed_run mnist|fashion|digits|conv [--seed 7] [--backend tensorflow] [--workers 2]
        [--threads 1] [--home H]

MLflow logging is on; nothing stops a trial early, and no finalists are trained. Prints one line of JSON: the best
validation accuracy, the seconds from the first trial's start to the end, and how many of those workers stood idle at
the end of the list, all added up. With `--home`, the compilation cache in
that folder is kept and everything else in it is deleted first; without, the home folder is new and is deleted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from automl.driver import Progress
from automl.records import TrialRecord, TrialState
from benchmarks.reporting import data_folder

COMPILED = "compiled"
"""The folder in a home folder that holds what the JAX backend compiled."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A list of fixed trials.

    Attributes:
        file: What they train on, in `AUTOML_DATA`; empty for data that scikit-learn brings.
        trials: How many there are.
        epochs: Epochs of each.
        peers: Peers that run the same list.
    """

    file: str
    trials: int
    epochs: int
    peers: tuple[str, ...]


_DENSE_PEERS = ("plain", "kerastuner", "optuna", "optuna mlflow", "ray")
_SMALL_PEERS = ("plain", "kerastuner", "optuna")
WORKS = {
    "mnist": Work(file="mnist.npz", trials=16, epochs=3, peers=_DENSE_PEERS),
    "fashion": Work(file="fashion_mnist.npz", trials=16, epochs=3, peers=_DENSE_PEERS),
    "digits": Work(file="", trials=40, epochs=10, peers=_SMALL_PEERS),
    "conv": Work(file="cifar10_images.zip", trials=8, epochs=3, peers=_SMALL_PEERS),
}
SEED = 7
"""Seed of the list of dense networks; the small trials have one list only."""


def main() -> None:
    """Run the trials once, and say how long they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--trials", type=int, default=None, help="how many of the list; by default all")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--backend", default="tensorflow")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--home", type=Path, default=None)
    options = parser.parse_args()
    work = WORKS[options.work]
    with kept_home(options.home) as home:
        found = run(
            options.work,
            seed=options.seed,
            trials=options.trials or work.trials,
            epochs=options.epochs or work.epochs,
            backend=options.backend,
            workers=options.workers,
            threads=options.threads,
            home=home,
        )
    print(json.dumps(found))


def run(
    kind: str, *, seed: int, trials: int, epochs: int, backend: str, workers: int, threads: int, home: Path
) -> dict[str, float]:
    """Run the trials.

    Returns:
        `best`, the best validation accuracy, and what `Searched` has in seconds.

    Raises:
        SystemExit: Not every trial ran all its epochs.
    """
    options: dict[str, Any] = {"threads": threads} | ({} if backend == "tensorflow" else {"backend": backend})
    found = search(kind, seed=seed, trials=trials, epochs=epochs, workers=workers, home=home, **options)
    return {
        "best": max(report.metrics["val_accuracy"] for trial in found.trials for report in trial.epochs),
        "seconds": found.seconds,
        "idle_seconds": found.idle_seconds,
    }


def idle_seconds(running: Sequence[tuple[float, int]], workers: int, ended: float) -> float:
    """Return the seconds of all workers from where there was no further trial for them.

    Args:
        running: Points in time, and how many trials ran then.
        workers: How many there are.
        ended: When the last trial had ended.

    Example:
        >>> idle_seconds([(0.0, 2), (5.0, 1), (5.1, 2), (8.0, 1), (9.0, 1)], workers=2, ended=10.0)
        5.9
    """
    last_with = [max(when for when, count in running if count >= least) for least in range(1, workers + 1)]
    return sum(ended - when for when in last_with)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The fixed trials, run.

    Attributes:
        trials: Each with all its epochs.
        seconds: From the first trial's start to the end.
        idle_seconds: Of all workers, from where there was no further trial for them. The driver looks four times a
            second.
    """

    trials: Sequence[TrialRecord]
    seconds: float
    idle_seconds: float


def search(
    kind: str, *, seed: int, trials: int, epochs: int, workers: int, home: Path, threads: int = 1, **options: Any
) -> Searched:
    """Run the trials with further options of `automl.search`.

    Raises:
        SystemExit: Not every trial ran all its epochs.
    """
    import automl

    dataset, space, listed = _request(kind, trials, seed)
    looks: list[tuple[float, int]] = []
    with _slots(workers, threads):
        result = automl.search(
            dataset,
            space,
            trials=trials,
            epochs=epochs,
            patience=0,
            scheduler="none",
            enqueue=listed,
            finalists=0,
            workers=workers,
            home=home,
            progress=lambda seen: looks.append((time.monotonic(), _running(seen))),
            **options,
        )
    ended = time.monotonic()
    whole = [trial for trial in result.trials if len(trial.epochs) == epochs]
    if len(whole) != trials:
        raise SystemExit(f"expected {trials} trials of {epochs} epochs each, found {len(whole)}")
    return Searched(
        trials=whole, seconds=ended - looks[0][0], idle_seconds=idle_seconds(looks, min(workers, trials), ended)
    )


def _running(seen: Progress) -> int:
    return sum(trial.state is TrialState.RUNNING for trial in seen.record.trials)


def _request(kind: str, trials: int, seed: int) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Return dataset, space, and the list of configs."""
    from benchmarks import fixed_trials, small_lists

    if kind == "digits":
        return small_lists.digits_rows(), small_lists.SPACES[kind], small_lists.configs(kind)[:trials]
    file = data_folder() / WORKS[kind].file
    if kind == "conv":
        return small_lists.image_rows(file), small_lists.SPACES[kind], small_lists.configs(kind)[:trials]
    return file, fixed_trials.space, fixed_trials.configs(trials, seed)


@contextmanager
def _slots(workers: int, threads: int) -> Iterator[None]:
    """Give every worker so many threads, however many cores there are."""
    from automl.executors.devices import plan_slots

    def slots(_: int, *more: Any, **options: Any) -> list[Any]:
        return [replace(slot, threads=threads) for slot in plan_slots(workers, *more, **options)]

    with patch("automl.executors.choice.plan_slots", slots):
        yield


@contextmanager
def kept_home(kept: Path | None) -> Iterator[Path]:
    """Give a home folder in which there is nothing but what was compiled before; None for a new one, then deleted."""
    if kept is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    kept.mkdir(parents=True, exist_ok=True)
    for entry in kept.iterdir():
        if entry.name != COMPILED:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    yield kept


if __name__ == "__main__":
    main()
