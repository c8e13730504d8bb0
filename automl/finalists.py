"""Finalists: the top configs re-trained on fresh seeds; the winner, refit on all rows but the sealed, and its test.

The first half of this module plans in the driver; `score_on_test` runs in a worker, which owns keras.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, median

import numpy as np

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec
from automl.export import save_final_model
from automl.final_model import final_model
from automl.records import Config, FinalScore, TrialRecord, TrialState
from automl.search_space import Build
from automl.seeds import derive_seed
from automl.study_record import StudyRecord
from automl.training.assemble import build_model
from automl.training.checkpoint import checkpoint_folder
from automl.training.job import TrialJob
from automl.training.loop import Evaluator
from automl.training.metrics import COSTLY, METRICS, Array, in_target_units, metric_name, score_in_full
from automl.training.rows import open_rows
from automl.training.weights import load_weights

SEEDS = 3
TIME_SHARE = 0.3  # of the whole budget, at most
CLOSING_SECONDS = 8.0  # kept for the sealed test, saving the model and the last words to MLflow
CLOSING_SHARE = 0.1  # of a small budget, at most
_RESAMPLES = 1000
_FEWEST_RESAMPLES = 100
_RESAMPLED_ROWS = 50_000_000  # in all resamples together: a few seconds
_COSTLY = 5  # times as long as a cheap metric
_FRESH = 1_000_003  # sets finalists' seeds apart from those of trials
_REFIT = SEEDS  # stands for the refit where re-trainings of a config are numbered


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be re-trained.

    Attributes:
        configs: Trials whose configs are repeated, best first.
        seeds: Fresh seeds for each.
        seconds: Predicted wall-clock time, refit and closing included.
        refit_seconds: What of it is the winner's refit; 0 where there is none.
        shortened: What was dropped to stay within the budget, in words; empty where nothing was.
    """

    configs: tuple[TrialRecord, ...]
    seeds: int
    seconds: float
    refit_seconds: float = 0.0
    shortened: str = ""


def closing_seconds(budget_seconds: float | None) -> float:
    """Return what is kept of a budget for what follows the last epoch."""
    return CLOSING_SECONDS if budget_seconds is None else min(CLOSING_SECONDS, CLOSING_SHARE * budget_seconds)


def plan_finalists(record: StudyRecord, *, slots: int, seconds: float, closing: float = CLOSING_SECONDS) -> Plan:
    """Choose what to re-train within a time: everything if possible, then fewer seeds, fewer finalists, and no refit.

    What an earlier session has re-trained takes no time. Where nothing is, and not even one run fits, it is that of the
    trial that was best after so much time: a slow winner of the search would be cut before it is any good.

    Args:
        record: The study so far.
        slots: Trials that run at a time.
        seconds: Wall-clock time that may be used, closing included; infinite where there is no bound.
        closing: Wall-clock time of what follows the last epoch.
    """
    wanted = int(record.settings["finalists"])
    top = record.ranked[:wanted]
    if not top:
        return Plan(configs=(), seeds=0, seconds=0.0)
    options = [(top, seeds) for seeds in range(SEEDS, 0, -1)]
    options += [(top[:count], 1) for count in range(len(top) - 1, 0, -1)]
    refits = [True, False] if record.settings.get("refit") else [False]
    for refit, (configs, seeds) in product(refits, options):
        last = max(_reserved_for_refit(trial, record) for trial in configs) if refit else 0.0
        predicted = _predicted_seconds(configs, seeds, slots, record) + last + closing
        if predicted <= seconds:
            return Plan(
                configs=configs,
                seeds=seeds,
                seconds=predicted,
                refit_seconds=last,
                shortened=_shortened(configs, seeds, wanted, top),
            )
    done = tuple(trial for trial in top if any(_is_done(trial, repeat, record) for repeat in range(SEEDS)))
    if done:
        return Plan(configs=done, seeds=1, seconds=closing, shortened=_shortened(done, 1, wanted, top))
    only = (min(record.ranked, key=lambda trial: _loss_within(trial, seconds - closing, record)),)
    predicted = _predicted_seconds(only, 1, slots, record) + closing
    return Plan(configs=only, seeds=1, seconds=predicted, shortened=_shortened(only, 1, wanted, top))


def _is_done(trial: TrialRecord, repeat: int, record: StudyRecord) -> bool:
    """Return True where an earlier session has re-trained a config, and its weights are still there."""
    return bool(record.finalist_values(trial.number)) and weights_path(record.folder, trial.number, repeat).exists()


def _shortened(configs: Sequence[TrialRecord], seeds: int, wanted: int, top: Sequence[TrialRecord]) -> str:
    if len(configs) == len(top) and seeds == SEEDS:
        return ""
    return f"time allowed {len(configs)} x {seeds} of {wanted} x {SEEDS} runs"


def _loss_within(trial: TrialRecord, seconds: float, record: StudyRecord) -> float:
    """Return the loss that a trial had by then: what its re-training will reach, if it is cut there."""
    spent = trial.compile_seconds + np.cumsum([report.seconds for report in trial.epochs])
    in_time = [report for report, end in zip(trial.epochs, spent, strict=True) if end <= seconds]
    best = record.objective.counted_epoch(in_time)
    return math.inf if best is None else record.objective.loss(best.metrics[record.objective.metric])


def _predicted_seconds(top: Sequence[TrialRecord], seeds: int, slots: int, record: StudyRecord) -> float:
    runs = [
        _run_seconds(trial, record) for trial in top for repeat in range(seeds) if not _is_done(trial, repeat, record)
    ]
    if not runs:
        return 0.0
    return max(runs) * math.ceil(len(runs) / slots)


def _run_seconds(trial: TrialRecord, record: StudyRecord) -> float:
    """Predict a re-training: a stopped trial would have gone on for as long as the longest complete one."""
    epoch_seconds = fmean(report.seconds for report in trial.epochs)
    complete = [len(one.epochs) for one in record.trials if one.state is TrialState.COMPLETE and one.epochs]
    usual = max(complete, default=int(record.settings["epochs"]))
    epochs = len(trial.epochs) if trial.state is TrialState.COMPLETE else max(len(trial.epochs), usual)
    return trial.compile_seconds + epochs * epoch_seconds


def finalist_jobs(plan: Plan, record: StudyRecord) -> list[tuple[int, TrialJob]]:
    """Return (repeat, job) for every re-training, the first seed of every config before any second."""
    return [(repeat, finalist_job(trial, repeat, record)) for repeat in range(plan.seeds) for trial in plan.configs]


def finalist_job(trial: TrialRecord, repeat: int, record: StudyRecord) -> TrialJob:
    """Return the job that repeats a trial's config on a fresh seed and saves its best weights.

    With cross-validation each repeat is validated by another fold.
    """
    settings = record.settings
    folds = record.dataset.folds
    return TrialJob(
        number=trial.number,
        config=trial.config,
        seed=derive_seed(int(settings["seed"]), _FRESH, trial.number, repeat),
        epochs=int(settings["epochs"]),
        patience=int(settings["patience"]),
        objective=record.objective,
        weights_path=weights_path(record.folder, trial.number, repeat),
        checkpoint_folder=checkpoint_folder(record.folder, trial.number, repeat),
        fold=repeat % folds if folds else None,
    )


def refit_epochs(trained: Sequence[TrialRecord]) -> int:
    """Return for how many epochs a config is refit: the median of the best epochs of its trainings."""
    return max(1, round(median(one.best_epoch or 1 for one in trained)))


def refit_job(trial: TrialRecord, trained: Sequence[TrialRecord], record: StudyRecord) -> TrialJob:
    """Return the job that trains a config on all rows that are not sealed, for as long as was best without some.

    Args:
        trial: The winner.
        trained: Its re-trainings, the best first, whose seed is taken.
        record: The study.
    """
    return replace(
        finalist_job(trial, 0, record),
        seed=trained[0].seed,
        weights_path=weights_path(record.folder, trial.number, _REFIT),
        checkpoint_folder=checkpoint_folder(record.folder, trial.number, _REFIT),
        fold=None,
        refit_epochs=refit_epochs(trained),
    )


def refit_seconds(trial: TrialRecord, trained: Sequence[TrialRecord], record: StudyRecord) -> float:
    """Predict the wall-clock seconds of a refit; arguments as for `refit_job`."""
    spec = record.dataset
    growth = 1.0 if spec.folds else 1 + spec.validation_rows / spec.train_rows
    epoch_seconds = fmean(report.seconds for one in trained for report in one.epochs)
    return trial.compile_seconds + refit_epochs(trained) * epoch_seconds * growth


def _reserved_for_refit(trial: TrialRecord, record: StudyRecord) -> float:
    """Return what a refit may take, and the epoch by which the finalists before it may end late."""
    return refit_seconds(trial, (trial,), record) + max(report.seconds for report in trial.epochs)


def weights_path(folder: Path, number: int, repeat: int) -> Path:
    """Return where a finalist's weights are kept until the winner is known."""
    return folder / "finalists" / f"{number:06d}-{repeat:02d}.npz"


def choose_winner(record: StudyRecord, plan: Plan) -> int | None:
    """Return the number of the planned config with the best mean validation score over its fresh seeds, or None.

    Re-trainings of configs that a larger budget has pushed out of the plan do not count: their weights are gone.
    """
    means = {
        trial.number: fmean(record.objective.loss(value) for value in values)
        for trial in plan.configs
        if (values := record.finalist_values(trial.number))
    }
    return min(means, key=lambda number: means[number], default=None)  # ties go to the better search score


def score_on_test(
    build: Build,
    prepared: PreparedDataset,
    *,
    trial: int,
    config: Config,
    seeds_and_weights: Sequence[tuple[int, Path]],
    refit: tuple[int, Path] | None = None,
    epochs: int,
    metric: str,
    folder: Path,
) -> FinalScore:
    """Evaluate the winner on the sealed test rows, and save its model. The one reader of the test split.

    Args:
        build: The space's builder.
        prepared: The dataset.
        trial: Number of the winning trial.
        config: Its config.
        seeds_and_weights: Seed and weights file of each re-training, the best first.
        refit: Seed and weights file of the model to be saved; None for the best re-training.
        epochs: The epoch cap.
        metric: The objective's metric without prefix.
        folder: Where the model is saved.
    """
    test = prepared.sealed_test()
    spec = prepared.spec
    rows = open_rows(test)
    truths = [np.asarray(output) for output in test.outputs]
    saved = refit or seeds_and_weights[0]
    scores: dict[tuple[int, Path], Mapping[str, float]] = {}
    interval = (math.nan, math.nan)
    for seed, weights in dict.fromkeys([saved, *seeds_and_weights]):
        model = build_model(build, config, seed, spec, epochs)
        load_weights(model, weights)
        sweep = Evaluator(model, rows).evaluate()
        scores[seed, weights] = {"loss": sweep.loss, **score_in_full(truths, sweep.predictions, spec.outputs)}
        if (seed, weights) == saved:
            interval = _interval(truths, sweep.predictions, spec, metric, scores[saved][metric])
            save_final_model(final_model(model, prepared), prepared, folder)
    return FinalScore(
        trial=trial,
        metrics=scores[saved],
        interval=interval,
        seed_metrics=tuple(scores[one] for one in seeds_and_weights),
        is_refit=refit is not None,
    )


def _interval(
    truths: Sequence[Array], predictions: Sequence[Array], spec: DatasetSpec, metric: str, value: float
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval over rows; for the loss, the value twice."""
    from scipy.stats import bootstrap

    named = {
        metric_name(output, name, spec.outputs): (index, function, (output.task, name) in COSTLY)
        for index, output in enumerate(spec.outputs)
        for name, function in METRICS[output.task].items()
    }
    if metric not in named:
        return value, value
    index, function, is_costly = named[metric]
    output = spec.outputs[index]
    truth, prediction = in_target_units(truths[index], output), in_target_units(predictions[index], output)
    found = bootstrap(
        (np.arange(len(truth)),),
        lambda rows: function(truth[rows], prediction[rows]),
        vectorized=False,
        n_resamples=_resamples(len(truth) * (_COSTLY if is_costly else 1)),
        batch=1,  # all resamples of a million rows at once would take 16 GB
        method="percentile",
        rng=np.random.default_rng(0),
    )
    # Resamples without one of the classes have no AUC; the interval is that of the others.
    low, high = np.nanquantile(found.bootstrap_distribution, [0.025, 0.975])
    return float(low), float(high)


def _resamples(rows: int) -> int:
    """Return how many resamples are drawn: fewer of many rows, which need fewer."""
    return min(_RESAMPLES, max(_FEWEST_RESAMPLES, _RESAMPLED_ROWS // rows))
