"""The trial function: reports, decisions, and every way to end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole_trials import Ran, run

from automl.data import PreparedDataset
from automl.layers import input_layers, output_layers
from automl.objective import Objective
from automl.records import Decision, EpochReport, TrialState
from automl.seeds import derive_seed
from automl.training.assemble import build_model, build_network, compile_model, steps_until_cap
from automl.training.job import TrialJob
from automl.training.loop import Evaluator, TrainingLoop
from automl.training.rows import ResidentRows, open_rows
from automl.training.run_trial import run_trial
from automl.training.weights import load_weights

CONTINUE, STOP, PAUSE = Decision.CONTINUE, Decision.STOP, Decision.PAUSE


def _build(config: Any, spec: Any) -> Any:
    import keras

    inputs, x = input_layers(spec)
    x = keras.layers.Dense(config.get("units", 16), activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(config.get("dropout", 0.2))(x)
    return keras.Model(inputs, output_layers(x, spec))


def _job(**changes: Any) -> TrialJob:
    values: dict[str, Any] = {
        "number": 0,
        "config": {"batch_size": 100, "learning_rate": 0.01},
        "seed": 7,
        "epochs": 4,
        "patience": 0,
        "objective": Objective("val_accuracy", "max"),
    }
    return TrialJob(**(values | changes))


def _run(
    job: TrialJob, data: PreparedDataset, build: Any = _build, *, decisions: dict[int, Decision] | None = None
) -> Ran:
    return run(job, build, data, decisions=decisions)


def _curve(reports: list[EpochReport]) -> list[dict[str, float]]:
    return [dict(report.metrics) for report in reports]


def test_a_trial_learns_and_ends_by_its_epochs(digits: PreparedDataset) -> None:
    reports, result = _run(_job(epochs=6), digits)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    metrics = ("loss", "accuracy", "precision", "recall", "f1")
    names = {"learning_rate", *metrics, *(f"val_{name}" for name in metrics)}
    assert all(set(report.metrics) == names and report.seconds > 0 for report in reports)
    assert reports[-1].metrics["val_accuracy"] > 0.7 > reports[0].metrics["accuracy"]
    assert (result.state, result.reason, result.message) == (TrialState.COMPLETE, "epochs", "")
    assert result.parameter_count == 64 * 16 + 16 + 16 * 10 + 10
    assert result.compile_seconds > 0


def test_the_same_seed_gives_the_same_curve_twice(digits: PreparedDataset) -> None:
    one, _ = _run(_job(), digits)
    two, _ = _run(_job(), digits)
    other, _ = _run(_job(seed=8), digits)
    assert _curve(one) == _curve(two)
    assert _curve(one) != _curve(other)


@pytest.mark.parametrize("last", [1, 4])
@pytest.mark.parametrize(("decision", "state"), [(STOP, TrialState.PRUNED), (PAUSE, TrialState.PAUSED)])
def test_a_decision_ends_it_also_at_the_last_epoch(
    digits: PreparedDataset, decision: Decision, state: TrialState, last: int
) -> None:
    reports, result = _run(_job(), digits, decisions={last: decision})
    assert len(reports) == last
    assert (result.state, result.reason) == (state, "")


def test_an_epochs_parameter_lowers_the_cap_and_never_raises_it(digits: PreparedDataset) -> None:
    config = _job().config
    assert len(_run(_job(config=config | {"epochs": 2}), digits)[0]) == 2
    assert len(_run(_job(config=config | {"epochs": 9}), digits)[0]) == 4


def test_a_schedule_spans_the_lowered_cap(digits: PreparedDataset) -> None:
    config = {"batch_size": 100, "epochs": 2, "learning_rate_schedule": "cosine"}
    reports, _ = _run(_job(config=config), digits)
    assert [report.metrics["learning_rate"] for report in reports] == pytest.approx([0.0005, 0.0], abs=1e-6)


def test_patience_ends_what_does_not_improve(digits: PreparedDataset) -> None:
    frozen = {"batch_size": 100, "optimizer": "sgd", "learning_rate": 0.0}
    reports, result = _run(_job(config=frozen, epochs=9, patience=2), digits)
    assert len(reports) == 3
    assert (result.state, result.reason) == (TrialState.COMPLETE, "patience")
    assert len(_run(_job(config=frozen, epochs=5, patience=0), digits)[0]) == 5


def test_a_loss_that_explodes_is_nan(prices: PreparedDataset) -> None:
    config = {"batch_size": 20, "optimizer": "sgd", "learning_rate": 1e30}
    reports, result = _run(_job(config=config, objective=Objective("val_rmse", "min")), prices)
    assert reports == []
    assert (result.state, result.reason) == (TrialState.FAILED, "nan")
    assert "after epoch 1" in result.message


def test_predictions_that_are_nan_are_nan_also_where_the_metrics_refuse_them(grey: PreparedDataset) -> None:
    config = {"batch_size": 20, "optimizer": "sgd", "learning_rate": 1e38}
    _, result = _run(_job(config=config), grey)
    assert result.reason == "nan", result.message


def _raising(error: Exception) -> Callable[[Any, Any], Any]:
    def build(config: Any, spec: Any) -> Any:
        raise error

    return build


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no such layer"), "invalid_model"),
        (MemoryError("no room"), "oom"),
        (RuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "oom"),
    ],
)
def test_a_build_that_raises_is_typed(digits: PreparedDataset, error: Exception, reason: str) -> None:
    reports, result = _run(_job(), digits, _raising(error))
    assert reports == []
    assert (result.state, result.reason) == (TrialState.FAILED, reason)
    assert result.message.endswith(f"{type(error).__name__}: {error}")


def test_memory_that_runs_out_is_known_behind_the_error_of_a_builder(digits: PreparedDataset) -> None:
    def build(config: Any, spec: Any) -> Any:
        try:
            np.zeros(2**50)
        except MemoryError as error:
            raise ValueError("no model of this size") from error

    _, result = _run(_job(), digits, build)
    assert (result.state, result.reason) == (TrialState.FAILED, "oom")
    assert result.message.endswith("ValueError: no model of this size")


def test_an_error_while_training_is_a_crash(digits: PreparedDataset) -> None:
    import keras

    class Odd(keras.Model):
        def train_step(self, data: Any) -> Any:
            raise RuntimeError("odd step")

    def build(config: Any, spec: Any) -> Any:
        inputs, x = input_layers(spec)
        return Odd(inputs, output_layers(x, spec))

    _, result = _run(_job(), digits, build)
    assert (result.state, result.reason) == (TrialState.FAILED, "crashed")
    assert "odd step" in result.message
    assert result.parameter_count == 650


def test_data_that_has_gone_is_a_data_failure(digits: PreparedDataset, tmp_path: Path) -> None:
    reports, result = _run(_job(), replace(digits, folder=tmp_path / "gone"))
    assert reports == []
    assert (result.state, result.reason) == (TrialState.FAILED, "data")


def test_a_model_with_its_own_step_and_loss_is_trained_by_them(digits: PreparedDataset) -> None:
    import keras

    steps: list[int] = []

    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            steps.append(1)
            return super().train_step(data)

    def build(config: Any, spec: Any) -> Any:
        inputs, x = input_layers(spec)
        model = Own(inputs, output_layers(x, spec))
        model.compile(optimizer=keras.optimizers.SGD(0.25), loss="poisson" if config["poisson"] else None, metrics=[])
        if not config["poisson"]:
            model.compile(optimizer=keras.optimizers.SGD(0.25), loss="sparse_categorical_crossentropy")
        return model

    reports, result = _run(_job(config={"poisson": False}), digits, build)
    assert result.state is TrialState.COMPLETE, result.message
    assert steps  # traced
    assert reports[0].metrics["learning_rate"] == 0.25
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]
    assert reports[-1].metrics["val_accuracy"] > 0.5


@pytest.mark.parametrize("stopped", [None, 4])
def test_the_weights_that_are_saved_are_those_of_the_best_epoch(
    digits: PreparedDataset, tmp_path: Path, stopped: int | None
) -> None:
    """With a rate this large the curve goes up and down, so that the best epoch is not the last."""
    objective = Objective("val_loss", "min")
    job = _job(config={"batch_size": 50, "learning_rate": 0.5}, seed=5, epochs=5, objective=objective)
    job = replace(job, weights_path=tmp_path / "finalists" / "weights.npz")
    reports, _ = _run(job, digits, decisions={stopped: STOP} if stopped else None)
    best = objective.counted_epoch(reports)
    assert best is not None
    assert best.epoch < len(reports)
    model = build_model(_build, job.config, 99, digits.spec, job.epochs)
    load_weights(model, tmp_path / "finalists" / "weights.npz")
    validation = digits.split("validation")
    sweep = Evaluator(model, open_rows(validation)).evaluate()
    assert sweep.loss == pytest.approx(best.metrics["val_loss"], abs=1e-6)
    assert [path.name for path in (tmp_path / "finalists").iterdir()] == ["weights.npz"]


def test_weights_are_there_as_soon_as_their_epoch_is_reported(digits: PreparedDataset, tmp_path: Path) -> None:
    """A worker that is ended at the deadline leaves what it has found."""
    path = tmp_path / "weights.npz"
    trial = run_trial(_job(weights_path=path), _build, digits)
    next(trial)
    with np.load(path) as arrays:
        assert len(arrays.files) == 5  # two layers, and the state of the dropout's seed
    trial.close()


def test_regression_is_reported_in_the_targets_units(prices: PreparedDataset) -> None:
    config = {"batch_size": 50, "learning_rate": 0.0, "optimizer": "sgd"}
    reports, _ = _run(_job(config=config, epochs=1, objective=Objective("val_rmse", "min")), prices)
    metrics = reports[0].metrics
    assert metrics["val_rmse"] > 50  # the first target's standard deviation is 300
    assert metrics["val_loss"] < 10  # the loss is of scaled targets


def test_batch_sizes_beyond_the_rows_and_of_one_work(grey: PreparedDataset) -> None:
    for batch_size, config in itertools.product((1, 10_000), ({},)):
        reports, result = _run(_job(config=config | {"batch_size": batch_size}, epochs=1), grey)
        assert len(reports) == 1, result.message


def test_a_costly_metric_is_reported_where_it_is_the_objective(digits: PreparedDataset) -> None:
    reports, _ = _run(_job(epochs=1, objective=Objective("val_auc", "max")), digits)
    assert 0.5 < reports[0].metrics["val_auc"] <= 1
    assert "auc" not in reports[0].metrics


def test_every_kind_of_column_can_be_learned_from(table: PreparedDataset) -> None:
    reports, result = _run(_job(epochs=12, config={"batch_size": 32, "learning_rate": 0.02}), table)
    assert result.state is TrialState.COMPLETE
    assert max(report.metrics["val_accuracy"] for report in reports) > 0.8


def test_two_heads_are_scored_apart(two_heads: PreparedDataset) -> None:
    reports, result = _run(_job(objective=Objective("val_loss", "min")), two_heads)
    assert result.state is TrialState.COMPLETE
    assert {"val_digit_accuracy", "val_ink_rmse", "digit_f1", "ink_r2", "val_loss"} <= set(reports[-1].metrics)
    assert reports[-1].metrics["val_loss"] < reports[0].metrics["val_loss"]


def test_folds_are_trained_in_lockstep_and_their_mean_is_reported(folded: PreparedDataset) -> None:
    together, result = _run(_job(epochs=2), folded)
    assert (result.state, len(together)) == (TrialState.COMPLETE, 2)
    seeds = [derive_seed(7, fold) for fold in range(3)]
    alone = [_run(_job(epochs=2, fold=fold, seed=seed), folded)[0] for fold, seed in enumerate(seeds)]
    for epoch in range(2):
        for name in ("loss", "val_loss", "val_accuracy"):
            mean = np.mean([reports[epoch].metrics[name] for reports in alone])
            assert together[epoch].metrics[name] == pytest.approx(mean, abs=1e-6)
    assert len({reports[0].metrics["val_loss"] for reports in alone}) == 3


def test_a_refit_trains_on_the_validation_rows_too_and_keeps_its_last_weights(
    digits: PreparedDataset, tmp_path: Path
) -> None:
    """What a loop over both splits gives whose schedule runs until the cap, and ends before it."""
    config = {"batch_size": 100, "learning_rate": 0.01, "learning_rate_schedule": "cosine"}
    job = _job(config=config, epochs=4, patience=1, refit_epochs=2, weights_path=tmp_path / "weights.npz")
    reports, result = _run(job, digits)
    assert (result.state, result.reason) == (TrialState.COMPLETE, "epochs")
    assert [one.epoch for one in reports] == [1, 2]
    assert not [name for name in reports[-1].metrics if name.startswith("val_")]

    x, y = (
        np.concatenate([getattr(digits.split(name), part)[0] for name in ("train", "validation")])
        for part in ("inputs", "outputs")
    )
    network = build_network(_build, config, job.seed, digits.spec)
    model = compile_model(network, config, digits.spec, total_steps=steps_until_cap(config, len(x), job.epochs))
    loop = TrainingLoop(model, ResidentRows([x], [y]), batch_size=100, seed=job.seed)
    losses = [loop.train_epoch(epoch).loss for epoch in (1, 2)]
    assert [one.metrics["loss"] for one in reports] == pytest.approx(losses, abs=1e-6)
    saved = build_model(_build, config, 99, digits.spec, 1)
    load_weights(saved, tmp_path / "weights.npz")
    for ours, theirs in zip(saved.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_refit_that_is_stopped_leaves_the_weights_of_its_last_epoch(digits: PreparedDataset, tmp_path: Path) -> None:
    _, result = _run(_job(refit_epochs=3, weights_path=tmp_path / "cut.npz"), digits, decisions={2: STOP})
    assert result.state is TrialState.PRUNED
    _run(_job(refit_epochs=2, weights_path=tmp_path / "whole.npz"), digits)
    with np.load(tmp_path / "cut.npz") as cut, np.load(tmp_path / "whole.npz") as whole:
        for name in whole.files:
            np.testing.assert_allclose(cut[name], whole[name], atol=1e-6)
