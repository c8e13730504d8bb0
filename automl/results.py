"""Read-only view of studies, for people, reports and dashboards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automl.errors import NoUsableModelError, RequestError
from automl.failed_trials import failures_by_reason, failures_text, retries_text
from automl.home import Home
from automl.records import FinalScore, TrialRecord, TrialState
from automl.search_space import flatten
from automl.study.study import Study
from automl.study_record import StudyRecord, mean_and_spread

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FinalScore",
    "Result",
    "StudyRecord",
    "TrialRecord",
    "TrialState",
    "describe_config",
    "failures_by_reason",
    "failures_text",
    "load_record",
    "load_result",
    "mean_and_spread",
    "retries_text",
    "write_report",
]

MODEL_NAME = "model.keras"


class Result:
    """What a search found.

    Attributes:
        record: Everything that is known of the study.

    Example:
        ```python
        result = automl.load_result("digits-mlp-001")
        print(result.best.config, result.test_score)
        table = result.predict(raw_rows)
        ```
    """

    def __init__(self, record: StudyRecord) -> None:
        """Wrap a record."""
        self.record = record

    def __repr__(self) -> str:
        """Show the name, the best value and the test score."""
        best = self.record.best
        value = "none" if best is None else f"{best.value:.4f}"
        score = self.test_score
        test = "" if score is None else f", test_score={score:.4f}"
        return f"Result({self.record.name!r}, {self.record.objective.metric}={value}{test})"

    @property
    def best(self) -> TrialRecord:
        """The winning trial: config, value, epochs, parameter count, seconds.

        Raises:
            NoUsableModelError: No trial gave a value.
        """
        if self.record.best is None:
            raise NoUsableModelError(f"study {self.record.name!r} has no trial with a value")
        return self.record.best

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, by number."""
        return self.record.trials

    @property
    def test_score(self) -> float | None:
        """The saved model's score on the sealed test rows, in the objective's metric; None without finalists."""
        return None if self.record.final is None else self.record.final.metrics[self._test_metric]

    @property
    def test_interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of `test_score` over test rows; None without finalists."""
        return None if self.record.final is None else self.record.final.interval

    @property
    def test_mean_and_spread(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the test score over the winner's fresh seeds; None where there are none."""
        if self.record.final is None or not self.record.final.seed_metrics:
            return None
        return mean_and_spread(tuple(metrics[self._test_metric] for metrics in self.record.final.seed_metrics))

    @property
    def model_path(self) -> Path:
        """Where the final model lies; it may not exist."""
        return self.record.folder / "model" / MODEL_NAME

    def check_model(self) -> None:
        """Check that there is a final model.

        Raises:
            RequestError: The study has none.
        """
        if not self.model_path.exists():
            raise RequestError(
                f"study {self.record.name!r} has no final model yet: automl resume {self.record.name}, with finalists"
            )

    def model(self) -> Any:
        """Return the final `keras.Model`: raw rows in, probabilities or values in the target's units out.

        It takes an array, or a dict of columns of shape (rows, 1); Keras's `predict` takes no strings, but
        `predict_on_batch` does, and so does `Result.predict`. Class probabilities are in the order of
        `record.dataset.output.labels`.

        Raises:
            RequestError: The study has no final model.
        """
        self.check_model()
        import keras

        return keras.saving.load_model(self.model_path, compile=False, safe_mode=True)

    def predict(self, rows: Any) -> pd.DataFrame:
        """Return the final model's predictions as a table: labels and probabilities, or values in the target's units.

        Args:
            rows: An array of raw rows of shape (rows, ...), a mapping of columns, a data frame, or a path to a file.

        Raises:
            RequestError: The study has no final model.
            DataError: The rows do not have the columns or the shape of those that the model was trained on.

        Example:
            ```python
            table = automl.load_result("iris-mlp-001").predict("new.csv")
            ```
        """
        from automl.predict import predict_table

        return predict_table(self.model(), self.record.dataset, rows)

    def export(
        self, folder: str | Path, *, force: bool = False, say: Callable[[int, int], None] = lambda done, total: None
    ) -> str:
        """Write the final model and all that belongs to it, whole or not at all.

        The folder gets `model.keras`, `saved_model/` (TensorFlow), `train.py` with its rows in `data/`,
        `model_card.md`, `labels.json` and `dataset_spec.json`.

        Args:
            folder: A folder that is new or empty.
            force: Replace what is in the folder.
            say: Called with how many parts are done, of how many.

        Returns:
            What a person should know, such as why there is no `train.py`; empty where all was written.

        Raises:
            RequestError: The study has no final model, or the folder is not empty or cannot be written.
            SurroundingsError: The disk failed.

        Example:
            ```python
            automl.load_result("iris-mlp-001").export("iris-model")
            ```
        """
        from automl.executors.child import call_in_child
        from automl.export import check_export, partial_export, publish_export

        target = Path(folder)
        check_export(self.record, target, force=force)
        partial = partial_export(target)
        try:
            note = call_in_child("automl.export:write_export", say=say, record=self.record, partial=partial)
            publish_export(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return str(note)

    def to_dataframe(self, *, epochs: bool = False) -> pd.DataFrame:
        """Return one row a trial, or one row an epoch.

        Args:
            epochs: One row an epoch, with every metric; otherwise one row a trial, with config and value.
        """
        import pandas as pd

        if epochs:
            rows = [
                {"number": trial.number, "epoch": report.epoch, "seconds": report.seconds, **report.metrics}
                for trial in self.trials
                for report in trial.epochs
            ]
        else:
            rows = [_trial_row(trial) for trial in self.trials]
        return pd.DataFrame(rows)

    def report(self, path: str | Path) -> Path:
        """Write a self-contained HTML page about the study.

        Raises:
            RequestError: The page cannot be written there.
        """
        return write_report([self.record], Path(path))

    @property
    def _test_metric(self) -> str:
        return self.record.test_metric


def load_record(name: str, *, home: Home, storage: str | None = None) -> StudyRecord:
    """Read a study, running or not, without changing anything.

    Raises:
        UnknownNameError: There is no such study.
        RequestError: It was never wholly created.
    """
    return Study.open(home.study_folder(name), storage=storage).record


def load_result(name: str, *, home: str | Path | None = None, storage: str | None = None) -> Result:
    """Read what a search found.

    Args:
        name: The study's name.
        home: The home folder; by default `AUTOML_HOME` or `./automl-runs`.
        storage: The Optuna storage URL that the search was given, if any.

    Raises:
        UnknownNameError: There is no such study.

    Example:
        ```python
        automl.load_result("digits-mlp-001").best.config
        ```
    """
    return Result(load_record(name, home=Home(home), storage=storage))


def write_report(records: list[StudyRecord], path: Path, *, form: str = "html") -> Path:
    """Write a report by the installed writer of that form (entry-point group `automl.reports`).

    Raises:
        RequestError: No such writer is installed, or the report cannot be written.
    """
    points = {point.name: point for point in entry_points(group="automl.reports")}
    if form not in points:
        raise RequestError(f"no report writer {form!r} is installed; installed: {', '.join(sorted(points)) or 'none'}")
    written: Path = points[form].load()(records, path)
    return written


def describe_config(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a config for people: parameter and value; a list of items becomes one value a nested parameter.

    Example:
        >>> describe_config({"hidden": [{"units": 64}, {"units": 32}], "learning_rate": 0.00123456})
        [('hidden', '2'), ('hidden.units', '64, 32'), ('learning_rate', '0.001235')]
    """
    rows = []
    for name, value in config.items():
        if not isinstance(value, list):
            rows.append((name, _text(value)))
            continue
        rows.append((name, str(len(value))))
        nested = dict.fromkeys(key for item in value for key in item)
        rows += [(f"{name}.{key}", ", ".join(_text(item.get(key, "-")) for item in value)) for key in nested]
    return rows


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _trial_row(trial: TrialRecord) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.value,
        "reason": trial.reason,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "epochs": len(trial.epochs),
        "seconds": trial.seconds,
        "attempts": len(trial.attempts) + (trial.state is not TrialState.WAITING),
        "lost_seconds": trial.lost_seconds,
        "parameter_count": trial.parameter_count,
        **{f"config.{name}": value for name, value in flatten(trial.config).items()},
    }
