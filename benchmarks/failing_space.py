"""What it is worth to tell the sampler of failed configs: half of a space fails, and nothing is trained.

    python -m benchmarks.failing_space [--seeds N]

Prints, for two made-up problems, the share of proposals among trials 20 to 60 that fail, and the best value after 60
trials: with failures that count as violated constraints, and with failures that the sampler never hears of (here they
end as interrupted, which says nothing about a config). In `edge` the best configs lie beside those that fail, as with
models that outgrow the memory; in `bowl` they do not.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.objective import Objective
from automl.parameters import Choice, Float
from automl.records import Config, EpochReport, FailureReason, TrialResult, TrialState
from automl.search_space import SearchSpace
from automl.settings import SearchSettings
from automl.study.study import Study

_TRIALS = 60
_LEARNED = 20  # trials after which the sampler is expected to know
_SPACE = SearchSpace(
    "half",
    [Float("width", 0.0, 1.0), Float("depth", 0.0, 1.0), Float("rate", 0.0, 1.0), Choice("kind", ["a", "b", "c"])],
    print,
)
_SPEC = DatasetSpec(
    name="none",
    raw_inputs=(RawInput(name="input", dtype="float32", shape=(1,)),),
    inputs=(InputSpec(name="input", kind=InputKind.NUMERIC, shape=(1,)),),
    outputs=(OutputSpec(name="target", task=Task.BINARY, units=1, labels=(0, 1)),),
    train_rows=1,
    validation_rows=1,
    test_rows=1,
    fingerprint="0",
)


def _edge(config: Config) -> float:
    return float(0.4 * (config["width"] + config["depth"]) - 0.2 * abs(config["rate"] - 0.3) + 0.1)


def _bowl(config: Config) -> float:
    distance = (config["width"] - 0.25) ** 2 + (config["depth"] - 0.3) ** 2 + (config["rate"] - 0.3) ** 2
    return float(0.9 - 0.3 * distance)


def _fails(config: Config) -> bool:
    return bool(config["width"] + config["depth"] > 1.0)


def _search(folder: Path, value: Callable[[Config], float], seed: int, reason: FailureReason) -> tuple[float, float]:
    """Return the share of late proposals that fail, and the best value."""
    folder.mkdir()
    settings = SearchSettings(trials=_TRIALS, seconds=None, seed=seed, scheduler="none")
    goal = Objective("val_accuracy", "max")
    study = Study.create(folder, storage=None, space=_SPACE, spec=_SPEC, objective=goal, settings=settings)
    late = []
    for number in range(_TRIALS):
        trial = study.ask()
        assert trial is not None
        failed = _fails(trial.config)
        if number >= _LEARNED:
            late.append(failed)
        if failed:
            study.tell(trial.number, TrialResult(state=TrialState.FAILED, reason=reason))
            continue
        study.report(trial.number, EpochReport(epoch=1, metrics={"val_accuracy": value(trial.config)}, seconds=0.0))
        study.tell(trial.number, TrialResult(state=TrialState.COMPLETE, reason="epochs"))
    best = study.record.best
    return fmean(late), 0.0 if best is None or best.value is None else best.value


def main() -> None:
    """Print both problems, with and without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = range(parser.parse_args().seeds)
    for value in (_edge, _bowl):
        shares = {}
        for name, reason in (("told", FailureReason.OOM), ("not told", FailureReason.INTERRUPTED)):
            with tempfile.TemporaryDirectory() as folder:
                found = [_search(Path(folder) / str(seed), value, seed, reason) for seed in seeds]
            shares[name] = fmean(share for share, _ in found)
            best = fmean(one for _, one in found)
            late = f"{shares[name]:6.1%} of trials {_LEARNED} to {_TRIALS} fail"
            print(f"{value.__name__[1:]:5} {name:8} {late}; best {best:.4f}")
        print(f"{value.__name__[1:]:5} ratio    {shares['not told'] / max(shares['told'], 1e-9):.1f} times fewer")


if __name__ == "__main__":
    main()
