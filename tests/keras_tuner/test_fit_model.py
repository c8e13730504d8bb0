"""A hypermodel's own training: reports, ends and errors of `FitModel`, and what discovery sees of `fit`."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
from sklearn.datasets import load_digits

from automl.data import PreparedDataset, prepare, raw_from_arrays
from automl.errors import SpaceError
from automl.objective import Objective
from automl.search_space import SearchSpace
from automl.training.assemble import build_model
from automl.training.failures import TrialFailure
from automl.training.graphs import Graphs
from automl.training.job import TrialJob
from automl.training.trainer import Trainer
from automl.training.weights import load_weights
from automl.unions import own_fit


class Digits(keras_tuner.HyperModel):
    """A small model, compiled; subclasses train it."""

    def build(self, hp: Any) -> Any:
        import keras

        x = inputs = keras.Input((64,))
        x = keras.layers.Dense(hp.Int("units", 8, 32, default=16), activation="relu")(x)
        model = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))
        model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


class OwnBatchSize(Digits):
    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        return model.fit(*args, batch_size=hp.Choice("batch_size", [50, 100]), **kwargs)


class OwnEpochs(Digits):
    def fit(self, hp: Any, model: Any, x: Any, y: Any, validation_data: Any, callbacks: Any = None) -> Any:
        return model.fit(x, y, validation_data=validation_data, epochs=2, callbacks=callbacks)


class OwnLoop(Digits):
    def fit(self, hp: Any, model: Any, x: Any, y: Any, validation_data: Any = None, **kwargs: Any) -> Any:
        for _ in range(hp.Int("passes", 1, 3)):
            model.train_on_batch(x, y)
        return {"val_loss": 0.0}


class WrongHistory(Digits):
    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        history = model.fit(*args, **kwargs)
        return history.history["val_loss"][-1] + hp.Float("late", 0.0, 1.0)


class Raising(Digits):
    def fit(self, hp: Any, model: Any, x: Any, y: Any, **kwargs: Any) -> Any:
        if len(x) > 2:
            raise ValueError("no such training")
        return model.fit(x, y, **kwargs)


class Late(Digits):
    def fit(self, hp: Any, model: Any, x: Any, y: Any, **kwargs: Any) -> Any:
        if len(x) > 2:
            hp.Boolean("shuffled")
        return model.fit(x, y, **kwargs)


class Diverging(Digits):
    def fit(self, hp: Any, model: Any, x: Any, y: Any, **kwargs: Any) -> Any:
        model.set_weights([np.float32("nan") * weights for weights in model.get_weights()])
        return model.fit(x, y, **kwargs)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    x, y = load_digits(return_X_y=True)
    raw = raw_from_arrays("digits", x[:600], y[:600])
    return prepare(raw, task=None, split_seed=0, cache=tmp_path_factory.mktemp("datasets"))


def _trainer(hypermodel: Any, data: PreparedDataset, **changes: Any) -> Trainer:
    space = SearchSpace.from_keras_tuner(hypermodel, name="own-fit")
    values: dict[str, Any] = {
        "number": 0,
        "config": space.default_config(),
        "seed": 7,
        "epochs": 3,
        "patience": 0,
        "objective": Objective("val_accuracy", "max"),
    }
    trainer = Trainer(TrialJob(**(values | changes)), space.build, data, Graphs())
    trainer.compile()
    return trainer


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "hypermodel-fit"]


def test_an_epoch_is_reported_at_a_time_and_scored_by_our_metrics(digits: PreparedDataset) -> None:
    with closing(_trainer(OwnBatchSize, digits)) as trainer:
        reports = [trainer.train_epoch(epoch) for epoch in (1, 2, 3)]
        assert not trainer.is_out_of_patience(3)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"} <= set(reports[0].metrics)
    assert reports[-1].metrics["loss"] < reports[0].metrics["loss"]
    assert reports[-1].metrics["val_accuracy"] > 0.6
    assert trainer.parameter_count == 64 * 16 + 16 + 16 * 10 + 10
    assert _threads() == []


def test_hyperparameters_of_fit_are_found_without_training() -> None:
    space = SearchSpace.from_keras_tuner(OwnBatchSize, name="own")
    assert [(one.name, one.range_text()) for one in space.parameters] == [
        ("units", "8..32"),
        ("batch_size", "50 | 100"),
    ]
    assert space.build.withheld == ("batch_size",)
    late = SearchSpace.from_keras_tuner(WrongHistory, name="late")
    assert [one.name for one in late.parameters] == ["units", "late"]


def test_a_hypermodel_without_a_fit_of_its_own_is_trained_as_any_other() -> None:
    space = SearchSpace.from_keras_tuner(Digits, name="plain")
    assert own_fit(space.build, space.default_config()) is None


def test_the_same_seed_gives_the_same_curve_twice(digits: PreparedDataset) -> None:
    curves = []
    for _ in range(2):
        with closing(_trainer(OwnBatchSize, digits)) as trainer:
            curves.append([trainer.train_epoch(epoch).metrics for epoch in (1, 2)])
    assert curves[0] == curves[1]


def test_a_stop_at_an_epochs_end_leaves_no_thread(digits: PreparedDataset) -> None:
    trainer = _trainer(OwnBatchSize, digits, epochs=50)
    trainer.train_epoch(1)
    assert _threads() == ["hypermodel-fit"]
    trainer.close()
    assert _threads() == []


def test_closing_before_the_first_epoch_or_twice_is_harmless(digits: PreparedDataset) -> None:
    trainer = _trainer(OwnBatchSize, digits)
    trainer.close()
    trainer.close()
    assert _threads() == []


def test_a_fit_that_ends_by_itself_ends_the_trial(digits: PreparedDataset) -> None:
    with closing(_trainer(OwnEpochs, digits, epochs=10)) as trainer:
        trainer.train_epoch(1)
        assert not trainer.is_out_of_patience(1)
        trainer.train_epoch(2)
        assert trainer.is_out_of_patience(2)
        with pytest.raises(TrialFailure, match="fit ended after 2 epochs"):
            trainer.train_epoch(3)


def test_patience_is_ours_too(digits: PreparedDataset) -> None:
    with closing(_trainer(OwnBatchSize, digits, epochs=10, patience=1, objective=Objective("loss", "max"))) as trainer:
        trainer.train_epoch(1)
        assert not trainer.is_out_of_patience(1)
        trainer.train_epoch(2)
        assert trainer.is_out_of_patience(2)


def test_a_loop_without_callbacks_is_one_epoch(digits: PreparedDataset) -> None:
    with closing(_trainer(OwnLoop, digits)) as trainer:
        report = trainer.train_epoch(1)
        assert {"loss", "accuracy", "val_loss", "val_accuracy"} <= set(report.metrics)
        assert trainer.is_out_of_patience(1)


@pytest.mark.parametrize(
    ("hypermodel", "reason", "message"),
    [
        (Raising, "crashed", "ValueError: no such training"),
        (Late, "invalid_model", "asks for the hyperparameter 'shuffled'"),
        (Diverging, "nan", "loss is nan after epoch 1"),
    ],
)
def test_errors_of_fit_are_typed(hypermodel: Any, reason: str, message: str, digits: PreparedDataset) -> None:
    with closing(_trainer(hypermodel, digits)) as trainer:
        with pytest.raises(TrialFailure, match=message) as caught:
            trainer.train_epoch(1)
        assert caught.value.reason.value == reason
    assert _threads() == []


def test_the_best_epochs_weights_are_saved(digits: PreparedDataset, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    with closing(_trainer(OwnBatchSize, digits, weights_path=path)) as trainer:
        reports = [trainer.train_epoch(epoch) for epoch in (1, 2, 3)]
    best = max(reports, key=lambda report: report.metrics["val_accuracy"])
    space = SearchSpace.from_keras_tuner(OwnBatchSize, name="again")
    model = build_model(space.build, space.default_config(), 0, digits.spec, 3)
    load_weights(model, path)
    rows = digits.split("validation")
    predicted = model.predict(np.asarray(rows.inputs[0]), verbose=0).argmax(axis=1)
    assert np.mean(predicted == rows.outputs[0]) == pytest.approx(best.metrics["val_accuracy"])


def test_a_union_honours_the_fit_of_its_families() -> None:
    own, plain = (SearchSpace.from_keras_tuner(kind, name="one") for kind in (OwnEpochs, Digits))
    union = SearchSpace.union("both", {"own": own, "plain": plain})
    assert own_fit(union.build, {"family": "plain", "plain_units": 8}) is None
    fit = own_fit(union.build, {"family": "own", "own_units": 8})
    assert fit is not None
    assert fit.args == ({"units": 8},)


def test_weights_of_rows_reach_fit_or_are_refused() -> None:
    given: dict[str, Any] = {}

    class Taking(Digits):
        def fit(self, hp: Any, model: Any, x: Any, y: Any, **kwargs: Any) -> None:
            given.update(kwargs)

    weights = np.ones(3, "float32")
    space = SearchSpace.from_keras_tuner(Taking, name="taking")
    space.build.fit_for(space.default_config())(None, None, None, sample_weight=weights)
    assert given["sample_weight"] is weights
    space = SearchSpace.from_keras_tuner(OwnEpochs, name="own")
    with pytest.raises(SpaceError, match="has weights, which the hypermodel's fit does not take"):
        space.build.fit_for(space.default_config())(None, None, None, validation_data=None, sample_weight=weights)


def test_regression_is_scored_in_units_of_the_target(tmp_path: Path) -> None:
    class Line(keras_tuner.HyperModel):
        def build(self, hp: Any) -> Any:
            import keras

            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(hp.Float("rate", 0.1, 0.2)), "mse", metrics=["mae"])
            return model

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            return model.fit(*args, **kwargs)

    x = np.random.default_rng(0).normal(size=(200, 2))
    data = prepare(raw_from_arrays("line", x, 1000 * x[:, 0]), task=None, split_seed=0, cache=tmp_path)
    with closing(_trainer(Line, data, objective=Objective("rmse", "min"))) as trainer:
        metrics = trainer.train_epoch(1).metrics
    assert metrics["loss"] < 10
    assert min(metrics["rmse"], metrics["mae"], metrics["val_rmse"], metrics["val_mae"]) > 10


def test_folds_are_trained_by_fit_in_lockstep(tmp_path: Path) -> None:
    x, y = load_digits(return_X_y=True)
    data = prepare(raw_from_arrays("folded", x[:300], y[:300]), task=None, split_seed=0, cache=tmp_path, folds=2)
    with closing(_trainer(OwnBatchSize, data)) as trainer:
        reports = [trainer.train_epoch(epoch) for epoch in (1, 2)]
        assert len(_threads()) == 2
    assert reports[1].metrics["val_loss"] < reports[0].metrics["val_loss"]
    assert _threads() == []
