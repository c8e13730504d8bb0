"""Finalists: the top configs re-trained on fresh seeds; the winner, refit on all rows but the sealed, and its test.

The jobs and the choice are the driver's; `score_on_test` runs in a worker, which owns keras.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from automl.data import PreparedDataset
from automl.dataset_spec import DatasetSpec
from automl.export import save_final_model
from automl.final_model import final_model
from automl.finalist_plan import SEEDS, Plan, refit_epochs, weights_path
from automl.records import Config, FinalScore, TrialRecord
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

_RESAMPLES = 1000
_FEWEST_RESAMPLES = 100
_RESAMPLED_ROWS = 50_000_000  # in all resamples together: a few seconds
_COSTLY = 5  # times as long as a cheap metric
_FRESH = 1_000_003  # sets finalists' seeds apart from those of trials
_REFIT = SEEDS  # stands for the refit where re-trainings of a config are numbered


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


def refit_job(trial: TrialRecord, whole: Sequence[TrialRecord], record: StudyRecord) -> TrialJob:
    """Return the job that trains a config on all rows that are not sealed, for as long as was best without some.

    Args:
        trial: The winner.
        whole: Its whole trainings, the best first, whose seed is taken.
        record: The study.
    """
    return replace(
        finalist_job(trial, 0, record),
        seed=whole[0].seed,
        weights_path=weights_path(record.folder, trial.number, _REFIT),
        checkpoint_folder=checkpoint_folder(record.folder, trial.number, _REFIT),
        fold=None,
        refit_epochs=refit_epochs(whole),
    )


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
