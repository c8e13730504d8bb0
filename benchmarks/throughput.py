"""The same fixed trials through automl and through its peers, whole processes, one after the other in one run.

    python -m benchmarks.throughput [--peers plain kerastuner optuna ray] [--rounds 3] [--json throughput.json]

The peers' scripts are those of the folder `bench` beside the data (`AUTOML_DATA`), each as its own documentation shows
it. Ours runs with two workers and MLflow logging on. Prints the ratio of the fastest peer's median to ours, then the
seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

PEERS = ("plain", "kerastuner", "optuna", "ray")


def main() -> None:
    """Measure, print ratios first, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours-once", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--data", default="mnist.npz", help="file in AUTOML_DATA")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7, help="of the list of trials")
    parser.add_argument("--backend", default="tensorflow", help="what Keras runs on in automl")
    parser.add_argument("--compiled", type=Path, default=None, help="folder that keeps JAX's compiled code [none]")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    data = Path(os.environ["AUTOML_DATA"], options.data).resolve()
    if options.ours_once:
        run_ours(data, options.trials, options.epochs, options.seed, options.backend, options.compiled)
        return
    seconds: dict[str, list[float]] = {name: [] for name in ("automl", *options.peers)}
    for _ in range(options.rounds):
        for name in seconds:
            seconds[name].append(_time(name, data, options))
            print(f"{name}: {seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)
    medians = {name: median(values) for name, values in seconds.items()}
    fastest = min(options.peers, key=lambda name: medians[name], default=None)
    if fastest is not None:
        print(f"automl is {medians[fastest] / medians['automl']:.2f} times as fast as the fastest peer ({fastest})")
    for name, value in medians.items():
        print(f"{name:12} {value:8.1f} s   {value / medians['automl']:.2f} times automl's")
    if options.json is not None:
        options.json.write_text(json.dumps({"seconds": seconds, "medians": medians}, indent=1) + "\n", "utf-8")


def run_ours(data: Path, trials: int, epochs: int, seed: int, backend: str, compiled: Path | None) -> None:
    """Run the fixed trials through automl."""
    import automl
    from benchmarks.fixed_trials import configs, space

    with tempfile.TemporaryDirectory() as home:
        if compiled is not None:
            compiled.mkdir(parents=True, exist_ok=True)
            Path(home, "compiled").symlink_to(compiled.resolve())
        result = automl.search(
            data,
            space,
            trials=trials,
            epochs=epochs,
            patience=0,
            scheduler="none",
            enqueue=configs(trials, seed),
            finalists=0,
            workers=2,
            backend=backend,
            home=home,
        )
        done = [trial for trial in result.trials if len(trial.epochs) == epochs]
        print(f"automl: {len(done)} trials x {epochs} epochs, best {result.best.value:.4f}", file=sys.stderr)
        if len(done) != trials:
            raise SystemExit(f"expected {trials} whole trials, found {len(done)}")


def _time(name: str, data: Path, options: argparse.Namespace) -> float:
    environment = {
        **os.environ,
        "BENCH_DATA": str(data),
        "BENCH_N": str(options.trials),
        "BENCH_EPOCHS": str(options.epochs),
        "BENCH_SEED": str(options.seed),
    }
    if name == "automl":
        arguments = ["--ours-once", "--data", options.data, "--trials", str(options.trials)]
        arguments += ["--epochs", str(options.epochs), "--seed", str(options.seed), "--backend", options.backend]
        arguments += [] if options.compiled is None else ["--compiled", str(options.compiled)]
        command = [sys.executable, "-m", "benchmarks.throughput", *arguments]
    else:
        command = [sys.executable, str(data.parent.parent / "bench" / "peers_throughput.py"), name]
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=sys.stderr)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
