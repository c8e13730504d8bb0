"""Study records made by hand, for the tests of the dashboards."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task
from automl.objective import Objective
from automl.records import Config, EpochReport, FinalScore, TrialRecord, TrialState
from automl.study_record import StudyRecord

TRACEBACK = 'Traceback (most recent call last):\n  File "space.py", line 3, in build\nValueError: loss is <nan>'


def dataset(name: str = "digits", task: Task = Task.MULTICLASS) -> DatasetSpec:
    shape = (8, 8, 1)
    regression = task is Task.REGRESSION
    output = OutputSpec(
        name="target",
        task=task,
        units=1 if regression else 10,
        labels=() if regression else tuple(range(10)),
        offset=(150.0,) if regression else (),
        scale=(77.0,) if regression else (),
    )
    return DatasetSpec(
        name=name,
        raw_inputs=(RawInput(name="image", dtype="float32", shape=shape),),
        inputs=(InputSpec(name="image", kind=InputKind.IMAGE, shape=shape),),
        outputs=(output,),
        train_rows=1149,
        validation_rows=288,
        test_rows=360,
        fingerprint=f"fingerprint-of-{name}",
    )


def config(draw: random.Random) -> Config:
    layers = [
        {"units": draw.choice([16, 32, 64, 128, 256, 512]), "dropout": round(draw.random() * 0.6, 3)}
        for _ in range(draw.randint(1, 4))
    ]
    optimizer = draw.choice(["sgd", "adam", "rmsprop"])
    return {
        "hidden": layers,
        "activation": draw.choice(["relu", "tanh", "elu"]),
        "batch_norm": draw.random() < 0.5,
        "optimizer": optimizer,
        "learning_rate": 10 ** draw.uniform(-4, -1),
        **({"momentum": draw.uniform(0, 0.99)} if optimizer == "sgd" else {}),
        "batch_size": draw.choice([16, 32, 64, 128]),
    }


def epochs(count: int, value: float, metric: str = "val_accuracy") -> tuple[EpochReport, ...]:
    """A curve that gets better with every epoch and ends at exactly `value`."""
    worse = 3.0 if metric == "val_rmse" else -1.0
    return tuple(
        EpochReport(
            epoch=n,
            metrics={metric: value * (1 + worse * (0.5**n - 0.5**count)), "val_loss": 0.5**n, "loss": 0.4**n},
            seconds=0.1,
        )
        for n in range(1, count + 1)
    )


def trial(number: int, value: float | None, *, metric: str = "val_accuracy", **changes: Any) -> TrialRecord:
    """A complete trial of a random config whose last epoch has exactly `value`."""
    curve = epochs(8, value, metric) if value is not None else ()
    made = TrialRecord(
        number=number,
        config=config(random.Random(number)),
        seed=number,
        state=TrialState.COMPLETE,
        value=value,
        best_epoch=len(curve) or None,
        epochs=curve,
        reason="epochs",
        parameter_count=12_810 + number,
        compile_seconds=0.7,
    )
    return replace(made, **changes)


def failed(number: int, reason: str = "nan", message: str = TRACEBACK) -> TrialRecord:
    return trial(number, None, state=TrialState.FAILED, reason=reason, message=message, parameter_count=0)


def study(trials: Sequence[TrialRecord] = (), **changes: Any) -> StudyRecord:
    made = StudyRecord(
        name="digits-mlp-001",
        folder=Path("automl-runs/studies/digits-mlp-001"),
        dataset=dataset(),
        space="mlp",
        space_table=(
            {"name": "hidden", "range": "1..4 times", "default": "2", "when": ""},
            {"name": "hidden.units", "range": "16..512, log", "default": "128", "when": ""},
            {"name": "momentum", "range": "0..0.99", "default": "0.9", "when": "optimizer is sgd"},
        ),
        objective=Objective("val_accuracy", "max"),
        settings={
            "sampler": "tpe",
            "scheduler": "asha",
            "seed": 0,
            "epochs": 30,
            "trials": 25,
            "seconds": None,
        },
        trials=tuple(trials),
        elapsed_seconds=83.4,
    )
    return replace(made, **changes)


def random_trials(count: int, *, metric: str = "val_accuracy", scale: float = 1.0) -> list[TrialRecord]:
    """Complete, pruned and failed trials whose values improve a little over time."""
    draw = random.Random(0)
    made = []
    for number in range(count):
        if draw.random() < 0.08:
            made.append(failed(number, draw.choice(["nan", "oom"])))
            continue
        value = scale * (0.985 - 0.25 * draw.random() ** 2 / (1 + number / count))
        pruned = draw.random() < 0.4
        ending: dict[str, Any] = {"state": TrialState.PRUNED, "reason": "scheduler"} if pruned else {}
        made.append(trial(number, value, metric=metric, **ending))
    return made


def finished_study(count: int = 40) -> StudyRecord:
    """A whole study: trials of every kind, finalists of its top three, and the sealed test's verdict."""
    searched = study(random_trials(count))
    top = searched.ranked[:3]
    finalists = tuple(
        replace(one, seed=1000 + seed, value=(one.value or 0.0) - 0.006 + 0.002 * seed)
        for one in top
        for seed in range(3)
    )
    final = FinalScore(
        trial=top[1].number,
        metrics={"accuracy": 0.97222, "loss": 0.10234},
        interval=(0.95556, 0.98611),
        seed_metrics=({"accuracy": 0.97222}, {"accuracy": 0.96944}, {"accuracy": 0.975}),
    )
    return replace(searched, finalists=finalists, final=final)


def regression_study() -> StudyRecord:
    """A minimised objective in the target's units, with one trial that diverged."""
    trials = [*random_trials(30, metric="val_rmse", scale=60.0), trial(30, 9_000.0, metric="val_rmse")]
    searched = study(trials, name="diabetes-mlp-001", dataset=dataset("diabetes", Task.REGRESSION))
    searched = replace(searched, objective=Objective("val_rmse", "min"))
    best = searched.ranked[0]
    final = FinalScore(
        trial=best.number,
        metrics={"rmse": 53.2091, "mae": 42.1, "r2": 0.51},
        interval=(49.1, 57.6),
        seed_metrics=({"rmse": 53.2091}, {"rmse": 54.5}),
    )
    return replace(searched, finalists=(replace(best, value=49.5), replace(best, value=50.5)), final=final)
