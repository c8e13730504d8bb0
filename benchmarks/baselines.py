"""Every textbook system, as one command each: what it reached, beside what it has to beat.

    python -m benchmarks.baselines [--rows 5 9b 13] [--json baselines.json]

Runs on the data in `AUTOML_DATA` and on scikit-learn's sets, with sealed test splits, in a home folder of its own that
is deleted afterwards. Each row has ten minutes at most (the convolutional half of row 9: thirty); all rows together
take about an hour and a half on two cores. Every command is printed before it is run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from automl.home import Home
from examples import least_squares, multilabel_digits, two_heads_digits

_SEEDS = range(5)
_MANY_EPOCHS = ("--epochs", "150", "--patience", "30")  # an epoch of a hundred rows is two steps
_ONE_POINT = 0.01  # a head of a multi-task model may be so much worse than its single-task model
_ONE_SHARE = 0.03  # ... or its RMSE so much larger


@dataclass(frozen=True)
class Reached:
    """One figure: what was measured, and the bound that it has to reach (`at_least`) or not to exceed."""

    what: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        """True when the bound is kept."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Row:
    """One textbook system.

    Attributes:
        name: Its number in the list of baselines.
        system: What it is.
        measure: Runs it and returns what was reached.
    """

    name: str
    system: str
    measure: Callable[[Bench], list[Reached]]


class Bench:
    """Runs searches in one home folder, and notes the commands."""

    def __init__(self, folder: Path, data: Path) -> None:
        """Use `folder` for homes and made files, and read real data from `data`."""
        self.folder = folder
        self.data = data
        self.home = Home(folder / "home")

    def search(self, dataset: str | Path, *arguments: str) -> Mapping[str, Any]:
        """Run `automl search` in a process of its own, and return what it printed as JSON."""
        command = ["automl", "search", str(dataset), *arguments]
        print("   $", shlex.join(command), flush=True)
        done = subprocess.run(
            [str(Path(sys.executable).with_name("automl")), *command[1:], "--json"],
            env={**os.environ, "AUTOML_HOME": str(self.home.path)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        (found,) = json.loads(done.stdout)
        return dict(found)

    def test(self, dataset: str | Path, *arguments: str) -> Mapping[str, float]:
        """Run a search and return the metrics of its sealed test."""
        metrics: Mapping[str, float] = self.search(dataset, *arguments)["test"]["metrics"]
        return metrics

    def mean_over_splits(self, dataset: str | Path, metric: str, *arguments: str) -> float:
        """Return the mean test metric over five split seeds."""
        return fmean(self.test(dataset, *arguments, "--split-seed", str(seed))[metric] for seed in _SEEDS)

    def python(self, module: Any, **options: Any) -> Any:
        """Run an example's search in this process."""
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        print(f"   >>> {module.__name__}.search({given})", flush=True)
        return module.search(home=self.home.path, **options)


def _dense(bench: Bench, dataset: Path, *arguments: str) -> list[Reached]:
    metrics = bench.test(dataset, *arguments, "--space", "mlp", "--time", "4m")
    return [Reached("test accuracy", metrics["accuracy"], 0.983)]


def _first_model(bench: Bench) -> list[Reached]:
    """Row 5: the search, and how long it took to a first model above 97.82 % validation accuracy."""
    found = bench.search(bench.data / "mnist.npz", "--space", "mlp", "--time", "4m")
    seconds = _seconds_to(bench, found["study"], "val_accuracy", 0.9782)
    return [
        Reached("test accuracy", found["test"]["metrics"]["accuracy"], 0.983),
        Reached("seconds of training to validation accuracy 0.9782", seconds, 38.0, at_least=False),
    ]


def _seconds_to(bench: Bench, study: str, metric: str, value: float) -> float:
    """Return the training seconds of the first trial, by number, that reached a value, up to that epoch."""
    import automl

    for trial in automl.load_result(study, home=bench.home.path).trials:
        spent = trial.compile_seconds
        for report in trial.epochs:
            spent += report.seconds
            if report.metrics[metric] > value:
                return spent
    return float("inf")


def _mnist_csv(bench: Bench) -> list[Reached]:
    paths = {part: bench.folder / f"mnist_{part}.csv" for part in ("train", "test")}
    with np.load(bench.data / "mnist.npz") as arrays:
        for part, path in paths.items():
            rows = np.column_stack([arrays[f"y_{part}"], arrays[f"x_{part}"].reshape(-1, 784)])
            header = ",".join(["label", *(f"pixel{index}" for index in range(784))])
            np.savetxt(path, rows, fmt="%d", delimiter=",", header=header, comments="")
    return _dense(bench, paths["train"], "--target", "label", "--test", str(paths["test"]))


def _mnist_idx(bench: Bench) -> list[Reached]:
    folder = bench.folder / "mnist_idx"
    folder.mkdir(exist_ok=True)
    with np.load(bench.data / "mnist.npz") as arrays:
        for key, name in (("x_train", "train-images-idx3"), ("y_train", "train-labels-idx1")):
            _write_idx(folder / f"{name}-ubyte.gz", arrays[key])
            _write_idx(folder / f"{name.replace('train', 't10k')}-ubyte.gz", arrays[key.replace("train", "test")])
    return _dense(bench, folder)


def _write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header + array.astype("uint8").tobytes())


def _fashion_dense(bench: Bench) -> list[Reached]:
    metrics = bench.test(bench.data / "fashion_mnist.npz", "--space", "mlp", "--time", "9m30s", "--finalists", "1")
    return [Reached("test accuracy", metrics["accuracy"], 0.90)]


def _fashion_convolutional(bench: Bench) -> list[Reached]:
    metrics = bench.test(
        bench.data / "fashion_mnist.npz", "--space", "cnn", "--time", "29m", "--epochs", "10", "--finalists", "1"
    )
    return [Reached("test accuracy", metrics["accuracy"], 0.925)]


def _iris(bench: Bench) -> list[Reached]:
    arguments = ("--trials", "12", "--folds", "5", "--epochs", "100", "--patience", "20")
    mean = bench.mean_over_splits("iris", "accuracy", *arguments)
    return [Reached("test accuracy, mean over five split seeds", mean, 0.95)]


def _reviews(bench: Bench) -> list[Reached]:
    metrics = bench.test(bench.data / "movie_reviews.csv.gz", "--target", "label", "--time", "3m")
    return [Reached("test accuracy", metrics["accuracy"], 0.82)]


def _housing(bench: Bench) -> list[Reached]:
    arguments = ("--target", "medv", "--time", "50s")
    mean = bench.mean_over_splits(bench.data / "housing.csv", "rmse", *arguments, *_MANY_EPOCHS)
    return [Reached("test RMSE, mean over five split seeds", mean, 3.5, at_least=False)]


def _adult(bench: Bench) -> list[Reached]:
    metrics = _adult_search(bench, "income")
    return [Reached("test accuracy", metrics["accuracy"], 0.85), Reached("test AUC", metrics["auc"], 0.905)]


def _adult_search(bench: Bench, target: str) -> Mapping[str, float]:
    train, test = bench.data / "adult_train.csv", bench.data / "adult_test.csv"
    return bench.test(train, "--test", str(test), "--target", target, "--time", "100s")


def _classes(bench: Bench) -> list[Reached]:
    # 36 rows of wine are sealed: each weighs 2.8 points, so that one split says little
    wine = bench.mean_over_splits("wine", "accuracy", "--trials", "20", *_MANY_EPOCHS)
    digits = bench.test("digits", "--trials", "25")["accuracy"]
    return [
        Reached("wine, test accuracy, mean over five split seeds", wine, 0.96),
        Reached("digits, test accuracy", digits, 0.975),
    ]


def _labels(bench: Bench) -> list[Reached]:
    metrics = bench.python(multilabel_digits, trials=25).record.final.metrics
    return [
        Reached(f"test accuracy of {label}", metrics[f"accuracy_{label}"], 0.97)
        for label in ("even", "above_four", "prime")
    ]


def _two_heads(bench: Bench) -> list[Reached]:
    income, hours = _adult_search(bench, "income"), _adult_search(bench, "hours_per_week")
    both = _adult_search(bench, "income,hours_per_week")
    digits = {
        heads: bench.python(two_heads_digits, heads=heads, trials=25).record.final.metrics
        for heads in (("digit",), ("ink",), ("digit", "ink"))
    }
    pair = digits["digit", "ink"]
    return [
        _no_worse("adult, accuracy of income", both["income_accuracy"], income["accuracy"]),
        _no_larger("adult, RMSE of hours_per_week", both["hours_per_week_rmse"], hours["rmse"]),
        _no_worse("digits, accuracy of digit", pair["digit_accuracy"], digits["digit",]["accuracy"]),
        _no_larger("digits, RMSE of ink", pair["ink_rmse"], digits["ink",]["rmse"]),
    ]


def _no_worse(what: str, together: float, alone: float) -> Reached:
    return Reached(f"{what} beside a single task's", together, alone - _ONE_POINT)


def _no_larger(what: str, together: float, alone: float) -> Reached:
    return Reached(f"{what} beside a single task's", together, alone * (1 + _ONE_SHARE), at_least=False)


def _images(bench: Bench) -> list[Reached]:
    metrics = bench.test(bench.data / "cifar10_images.zip", "--time", "7m")
    return [Reached("test accuracy", metrics["accuracy"], 0.60)]


def _line(bench: Bench) -> list[Reached]:
    result = bench.python(least_squares, trials=3)
    ours, numpys = least_squares.lines(result, bench.home.datasets)
    return [
        Reached(f"{what}, distance from least squares", abs(own / theirs - 1), 0.01, at_least=False)
        for what, own, theirs in zip(("slope", "intercept"), ours, numpys, strict=True)
    ]


ROWS = (
    Row("5", "MNIST, dense layers (rows 1 to 5 by hand)", _first_model),
    Row("6", "MNIST from pixel columns", _mnist_csv),
    Row("7", "MNIST from raw IDX files", _mnist_idx),
    Row("9a", "Fashion-MNIST, dense layers (rows 8 and 9 by hand)", _fashion_dense),
    Row("9b", "Fashion-MNIST, convolutions", _fashion_convolutional),
    Row("10", "iris", _iris),
    Row("11", "movie reviews", _reviews),
    Row("12", "house prices", _housing),
    Row("13", "adult, two classes", _adult),
    Row("14", "wine and digits, several classes", _classes),
    Row("15", "digits, three labels", _labels),
    Row("16", "two outputs at once", _two_heads),
    Row("17", "images from a folder", _images),
    Row("18", "least squares by gradient descent", _line),
)


def main() -> None:
    """Run the rows, print the table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    data = Path(os.environ["AUTOML_DATA"]).resolve()
    lines: list[dict[str, Any]] = []
    for row in ROWS:
        if row.name in options.rows:
            print(f"{row.name}: {row.system}", flush=True)
            lines += _measured(row, data)
            if options.json is not None:
                options.json.write_text(json.dumps(lines, indent=1) + "\n", "utf-8")
    _print_table(lines)
    sys.exit(0 if all(line["met"] for line in lines) else 1)


def _measured(row: Row, data: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="automl-baselines-") as folder:
        started = time.monotonic()
        reached = row.measure(Bench(Path(folder), data))
        seconds = time.monotonic() - started
    for one in reached:
        print(f"   {one.what}: {one.value:.4f} ({'met' if one.is_met else 'NOT MET'}), {seconds:.0f} s", flush=True)
    return [
        {
            "row": row.name,
            "system": row.system,
            "what": one.what,
            "reached": one.value,
            "bound": one.bound,
            "at_least": one.at_least,
            "met": one.is_met,
            "seconds": seconds,
        }
        for one in reached
    ]


def _print_table(lines: Sequence[Mapping[str, Any]]) -> None:
    print(
        "\n| row | system | figure | reached | to beat | met | seconds |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for line in lines:
        sign = ">=" if line["at_least"] else "<="
        cells = [line["row"], line["system"], line["what"], f"{line['reached']:.4f}", f"{sign} {line['bound']:.4f}"]
        print("| " + " | ".join([*cells, "yes" if line["met"] else "no", f"{line['seconds']:.0f}"]) + " |")


if __name__ == "__main__":
    main()
