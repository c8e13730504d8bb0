"""The floor: this machine's single-precision matrix products, against what the fixed trials on MNIST need and take.

    python -m benchmarks.floor [--rounds 3] [--backend tensorflow] [--size 1024] [--json floor.json]

Every round measures, in turn, the rate of square products by TensorFlow (one process of one thread, one process with
all cores, and as many processes of one thread as there are cores, at once) and the fixed trials through automl (MLflow
logging on) with one worker of one thread, and with one such worker a core. Medians count. Prints what the further
workers gain beside what matrix products gain from the further cores, as long as there are trials for all of them; then
how far the trials are above the floor: the seconds that their matrix products alone would take at the rate of all
processes at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from automl.cores import core_count
from benchmarks.fixed_run import SEED, WORKS
from benchmarks.reporting import table, write_json

_WARM_UP_SECONDS = 1.0
_PIXELS, _CLASSES = 784, 10
_TRAIN_ROWS, _VALIDATION_ROWS = 48_000, 12_000


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    options = _options()
    if options.rate_once:
        if options.rate_once == 1:
            _stay_on(options.core)
        print(json.dumps(_own_rate(options.rate_once, options.size, options.seconds)))
        return
    rates, runs = _measured(options)
    found = figures(rates, runs, products(options.trials, options.epochs, options.seed))
    _print(found)
    write_json(options.json, found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate-once", type=int, default=0, metavar="THREADS", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the matrices")
    parser.add_argument("--seconds", type=float, default=5.0, help="for which each rate is measured")
    parser.add_argument("--backend", choices=("tensorflow", "jax"), default="tensorflow")
    parser.add_argument("--trials", type=int, default=WORKS["mnist"].trials)
    parser.add_argument("--epochs", type=int, default=WORKS["mnist"].epochs)
    parser.add_argument("--seed", type=int, default=SEED, help="of the list of trials")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


def layer_weights(config: Mapping[str, Any]) -> list[int]:
    """Return the weights of each dense layer of a fixed trial, biases apart, from the first layer to the last.

    Example:
        >>> layer_weights({"layers": 2, "units": 32})
        [25088, 1024, 320]
    """
    widths = [_PIXELS, *[config["units"]] * config["layers"], _CLASSES]
    return [rows * columns for rows, columns in pairwise(widths)]


def products(trials: int, epochs: int, seed: int) -> dict[str, float]:
    """Return the floating-point operations of the trials' matrix products.

    Returns:
        `needed`: two operations a weight and row going forward, as many for the gradient of the weights, and as many
        for the gradient of a layer's input, which the first layer does not need. `three_a_weight`: with that of the
        first layer.
    """
    from benchmarks.fixed_trials import configs

    weights = [layer_weights(config) for config in configs(trials, seed)]
    every, first = sum(map(sum, weights)), sum(layers[0] for layers in weights)
    three = 2.0 * epochs * every * (3 * _TRAIN_ROWS + _VALIDATION_ROWS)
    return {"needed": three - 2.0 * epochs * first * _TRAIN_ROWS, "three_a_weight": three}


def _measured(options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[int, list[dict[str, float]]]]:
    """Return operations a second of each round, and what its runs of the fixed trials took by number of workers.

    They are measured in turn: a shared machine is not as fast in one minute as in the next.
    """
    cores = core_count()
    threads = {"one_thread": [1], "one_process": [cores], "one_thread_a_core": [1] * cores}
    rates: dict[str, list[float]] = {name: [] for name in threads}
    runs: dict[int, list[dict[str, float]]] = {1: [], cores: []}
    for _ in range(options.rounds):
        for name, found in rates.items():
            found.append(_rate_of(threads[name], options))
            print(f"{name}: {found[-1] / 1e9:.0f} GFLOP/s", file=sys.stderr, flush=True)
        for workers, took in runs.items():
            took.append(_run(workers, options))
            print(f"{workers} workers: {took[-1]}", file=sys.stderr, flush=True)
    return rates, runs


def _rate_of(threads: Sequence[int], options: argparse.Namespace) -> float:
    """Return the rate of processes of so many threads each, all at once, each of one thread on a core of its own."""
    beside = ("--size", str(options.size), "--seconds", str(options.seconds))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor", "--rate-once", str(count), "--core", str(core), *beside],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for core, count in enumerate(threads)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(_told(process) for process in processes)


def _told(process: subprocess.Popen[str]) -> float:
    told, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a process that measures the rate ended with {process.returncode}")
    return float(json.loads(told))


def _stay_on(core: int) -> None:
    """Keep this process on one core: a thread alone wanders from core to idle core, and is the slower for it."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def _own_rate(threads: int, size: int, seconds: float) -> float:
    """Return this process's rate, from when a line comes in."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    left, right = tf.random.stateless_normal([2, size, size], seed=[0, 1])
    tf.matmul(left, right)
    print("ready", flush=True)
    sys.stdin.readline()
    _products_for(_WARM_UP_SECONDS, left, right)
    started = time.monotonic()
    count = _products_for(seconds, left, right)
    return 2.0 * size**3 * count / (time.monotonic() - started)


def _products_for(seconds: float, left: Any, right: Any) -> int:
    import tensorflow as tf

    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        tf.matmul(left, right).numpy()
        count += 1
    return count


def _run(workers: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.fixed_run", "mnist", "--workers", str(workers)]
    command += ["--trials", str(options.trials), "--epochs", str(options.epochs), "--seed", str(options.seed)]
    started = time.monotonic()
    done = subprocess.run([*command, "--backend", options.backend], stdout=subprocess.PIPE, text=True, check=True)
    whole = time.monotonic() - started
    found = json.loads(done.stdout)
    return {
        "seconds": found["seconds"],
        "busy_seconds": found["seconds"] - found["idle_seconds"] / workers,
        "whole_seconds": whole,
    }


def figures(
    rates: Mapping[str, Sequence[float]],
    runs: Mapping[int, Sequence[Mapping[str, float]]],
    operations: Mapping[str, float],
) -> dict[str, Any]:
    """Return every figure that is printed.

    Args:
        rates: Operations a second of each round, as `_measured` names them.
        runs: By number of workers, what each run took: `seconds` less start-up, `busy_seconds` of them less those in
            which a worker had no trial left, `whole_seconds`.
        operations: What `products` gave.
    """
    rate = {name: median(found) for name, found in rates.items()}
    many = max(runs)
    trials_gain = _median_of("busy_seconds", runs[1]) / _median_of("busy_seconds", runs[many])
    products_gain = rate["one_thread_a_core"] / rate["one_thread"]
    floor_seconds = operations["needed"] / rate["one_thread_a_core"]
    return {
        "workers_gain_of_products_gain": trials_gain / products_gain,
        "workers_gain": trials_gain,
        "workers_gain_to_the_end": _median_of("seconds", runs[1]) / _median_of("seconds", runs[many]),
        "products_gain": products_gain,
        "times_the_floor": _median_of("seconds", runs[many]) / floor_seconds,
        "floor_seconds": floor_seconds,
        "operations": dict(operations),
        "operations_a_second": rate,
        "rounds": {
            "operations_a_second": dict(rates),
            "runs": {str(count): list(took) for count, took in runs.items()},
        },
    }


def _median_of(name: str, runs: Iterable[Mapping[str, float]]) -> float:
    return median(run[name] for run in runs)


def _print(found: Mapping[str, Any]) -> None:
    share, gain, bound = (found[name] for name in ("workers_gain_of_products_gain", "workers_gain", "products_gain"))
    print(f"workers of one thread, while all have trials: one a core is {gain:.2f} times as fast as one alone")
    print(f"matrix products: {bound:.2f} times; the workers gain {share:.2f} of that")
    print(f"to the end of the list, when some have none left: {found['workers_gain_to_the_end']:.2f} times as fast")
    print(f"the trials take {found['times_the_floor']:.2f} times their matrix products alone, less start-up\n")
    operations, rates = found["operations"], found["operations_a_second"]
    rows = [["rate, GFLOP/s", name.replace("_", " "), f"{rate / 1e9:.0f}"] for name, rate in rates.items()]
    rows += [["products, TFLOP", name.replace("_", " "), f"{one / 1e12:.2f}"] for name, one in operations.items()]
    rows += [["seconds", "floor: products needed, one thread a core", f"{found['floor_seconds']:.1f}"]]
    kinds = {"busy": "while all have trials", "": "less start-up", "whole": "whole process"}
    for workers, runs in found["rounds"]["runs"].items():
        for kind, of in kinds.items():
            took = _median_of(f"{kind}_seconds".lstrip("_"), runs)
            rows += [["seconds", f"trials, {workers} workers, {of}", f"{took:.1f}"]]
    print(table(["figure", "of", "measured"], rows))


if __name__ == "__main__":
    main()
