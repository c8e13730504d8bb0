"""The small trials through KerasTuner or Optuna, each as its own documentation shows it.

    python peers_small.py digits|conv kerastuner|optuna

Data, configs and models are those of `small_trials.py` in the folder `bench` beside the data, which has to be on
`PYTHONPATH` and reads the same arguments; `benchmarks.throughput` starts it.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from typing import Any

warnings.filterwarnings("ignore")
started = time.monotonic()


def kerastuner(trials: Any, keras: Any) -> list[float]:
    """Return every trial's best validation accuracy, by KerasTuner's grid search over the list."""
    import keras_tuner

    configs = trials.configs()

    class Listed(keras_tuner.HyperModel):  # type: ignore[misc]  # keras_tuner has no types
        def build(self, hp: Any) -> Any:
            return trials.build(configs[hp.Choice("i", list(range(len(configs))))], keras)

        def fit(self, hp: Any, model: Any, *args: Any, **options: Any) -> Any:
            return model.fit(*args, batch_size=configs[hp.get("i")]["bs"], **options)

    tuner = keras_tuner.GridSearch(
        Listed(), "val_accuracy", max_trials=len(configs), directory=tempfile.mkdtemp(), project_name="peer"
    )
    x, y, x_validation, y_validation = trials.data()
    tuner.search(x, y, epochs=trials.EP, validation_data=(x_validation, y_validation), verbose=0)
    return [trial.score for trial in tuner.oracle.trials.values()]


def optuna(trials: Any, keras: Any) -> list[float]:
    """Return every trial's best validation accuracy, by an Optuna study in SQLite over the list."""
    import optuna as library

    library.logging.set_verbosity(library.logging.WARNING)
    configs = trials.configs()
    x, y, x_validation, y_validation = trials.data()

    def objective(trial: Any) -> float:
        config = configs[trial.suggest_categorical("i", list(range(len(configs))))]
        model = trials.build(config, keras)
        history = model.fit(
            x, y, batch_size=config["bs"], epochs=trials.EP, validation_data=(x_validation, y_validation), verbose=0
        )
        keras.backend.clear_session()
        return float(max(history.history["val_accuracy"]))

    study = library.create_study(
        direction="maximize",
        sampler=library.samplers.GridSampler({"i": list(range(len(configs)))}),
        storage=f"sqlite:///{tempfile.mkdtemp()}/peer.db",
    )
    study.optimize(objective, n_trials=len(configs))
    return [float(trial.value or 0.0) for trial in study.trials]


def main() -> None:
    """Run the peer that the command line names."""
    import keras
    import small_trials  # type: ignore[import-not-found]  # a script of the folder `bench`; it reads sys.argv

    kind, peer = sys.argv[1:3]
    values = {"kerastuner": kerastuner, "optuna": optuna}[peer](small_trials, keras)
    expected = len(small_trials.configs())
    if len(values) != expected:
        raise SystemExit(f"expected {expected} trials, found {len(values)}")
    seconds = time.monotonic() - started
    print(f"{kind} {peer}: {expected} trials in {seconds:.1f} s  best {max(values):.4f}", flush=True)


if __name__ == "__main__":
    main()
