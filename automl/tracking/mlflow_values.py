"""What the MLflow tracker writes: records of a study as names, values, tags and params. No mlflow in here."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from automl.dataset_spec import DatasetSpec, InputKind, OutputSpec, RawInput
from automl.records import Config, EpochReport, TrialRecord, TrialState
from automl.study_record import StudyRecord, mean_and_spread

EPOCH_MARK = "epoch_seconds"
"""Every epoch has this metric, written last of all: its last step says how far a run got."""

# What MLflow's stores take, or an older server's did.
_PARAM_LENGTH = 6000
_TAG_LENGTH = 5000
_ATTEMPT_LENGTH = 1000
_NAME_LENGTH = 250
_DIGEST_LENGTH = 36
_COLUMNS_SHOWN = 1000


class RunKey(NamedTuple):
    """Which child run; `seed` is 0 for trials, whose number says it all."""

    kind: str
    number: int
    seed: int


class Signature(NamedTuple):
    """What tells one state of a trial from another: equal signatures need no writing."""

    state: str
    reason: str
    epochs: int


class Child(NamedTuple):
    """A trial, finalist or refit that has begun, with its key, the name of its run, and what of it is to be written."""

    key: RunKey
    name: str
    trial: TrialRecord
    signature: Signature


class Point(NamedTuple):
    """A metric's value, in the order of `mlflow.entities.Metric`'s arguments."""

    key: str
    value: float
    timestamp_ms: int
    step: int


def flatten(config: Config | Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a config as MLflow params: names joined by dots, values as strings.

    A `Repeat` gives its number of items and the items' params, numbered from 0.

    Example:
        >>> flatten({"hidden": [{"units": 64}, {"units": 32}], "activation": "relu"})
        {'hidden': '2', 'hidden.0.units': '64', 'hidden.1.units': '32', 'activation': 'relu'}
    """
    params: dict[str, str] = {}
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            params |= flatten(value, f"{path}.")
        elif isinstance(value, list | tuple) and all(isinstance(item, Mapping) for item in value):
            params[_clean(path)] = str(len(value))
            for index, item in enumerate(value):
                params |= flatten(item, f"{path}.{index}.")
        else:
            params[_clean(path)] = str(value)[:_PARAM_LENGTH]
    return params


def _clean(path: str) -> str:
    # MLflow takes few characters in names, and slashes make folders of them.
    return re.sub(r"[^\w.\- ]", "_", path)[:_NAME_LENGTH]


def started(record: StudyRecord, trials: Iterable[TrialRecord] | None = None) -> Iterator[Child]:
    """Yield every training that has begun; of the trials only those of `trials` where they are given."""
    for trial in record.trials if trials is None else trials:
        if trial.state is not TrialState.WAITING:
            yield Child(RunKey("trial", trial.number, 0), trial_name(trial.number), trial, _signature(trial))
    ordinals: Counter[int] = Counter()
    for finalist in record.finalists:
        ordinals[finalist.number] += 1
        if finalist.state is not TrialState.WAITING:
            name = f"finalist-{finalist.number:04d}-{ordinals[finalist.number]}"
            yield Child(RunKey("finalist", finalist.number, finalist.seed), name, finalist, _signature(finalist))
    if (refit := record.refit) is not None:
        name = f"refit-{refit.number:04d}"
        yield Child(RunKey("refit", refit.number, refit.seed), name, refit, _signature(refit))


def trial_name(number: int) -> str:
    """Return the name of a trial's run, which sorts by number."""
    return f"trial-{number:04d}"


def _signature(trial: TrialRecord) -> Signature:
    return Signature(trial.state.value, trial.reason, len(trial.epochs))


def start_times_ms(trials: Sequence[TrialRecord]) -> list[int]:
    """Return when trials began that end now: as long ago as they took, and in their order, as MLflow shows them."""
    now = start_ms = now_ms()
    times = []
    for trial in reversed(trials):
        start_ms = min(start_ms - 1, now - round(1000 * trial.seconds))
        times.append(start_ms)
    return times[::-1]


def key_from_tags(tags: Mapping[str, str]) -> RunKey | None:
    """Return which child run has these tags, or None for somebody else's run under our parent."""
    kind = tags.get("automl.kind")
    if kind == "trial":
        return RunKey(kind, int(tags["automl.trial"]), 0)
    if kind in ("finalist", "refit"):
        return RunKey(kind, int(tags["automl.trial"]), int(tags["automl.seed"]))
    return None


def epoch_metrics(reports: Sequence[EpochReport], start_ms: int) -> Iterator[list[Point]]:
    """Yield each epoch's metrics, timed from the run's start: written twice, they are the same points."""
    seconds = 0.0
    for report in reports:
        seconds += report.seconds
        values = {_clean(name): value for name, value in report.metrics.items()}
        values[EPOCH_MARK] = report.seconds
        time_ms = start_ms + round(1000 * seconds)
        yield [Point(name, finite_or_nan(value), time_ms, report.epoch) for name, value in values.items()]


def finite_or_nan(value: float) -> float:
    """Return a value as MLflow's stores keep it: they turn infinity into 1.8e308, which no chart survives."""
    return float(value) if math.isfinite(value) else math.nan


def summary_metrics(trial: TrialRecord) -> dict[str, float]:
    """Return the metrics of a trial that has ended."""
    values = {
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "epochs": len(trial.epochs),
        "parameter_count": trial.parameter_count,
        "compile_seconds": trial.compile_seconds,
        "seconds": trial.seconds,
        "lost_seconds": trial.lost_seconds or None,
    }
    return {name: finite_or_nan(value) for name, value in values.items() if value is not None}


def state_tags(trial: TrialRecord) -> dict[str, str]:
    """Return the tags that say where a trial stands, and why."""
    message = trial.message[-_TAG_LENGTH:]  # The end of a traceback says what happened.
    tags = {
        "automl.state": trial.state.value,
        "automl.reason": trial.reason,
        "automl.message": message,
        "automl.attempts": ", ".join(attempt.reason for attempt in trial.attempts),  # that failed before
        "automl.attempt_messages": "\n\n".join(_attempt_messages(trial))[-_TAG_LENGTH:],
    }
    return {name: value for name, value in tags.items() if value}


def _attempt_messages(trial: TrialRecord) -> list[str]:
    """Return why each attempt failed that did, the end of each message, so that all find room in a tag."""
    return [
        f"{number}. {attempt.reason}: {attempt.message[-_ATTEMPT_LENGTH:]}"
        for number, attempt in enumerate(trial.attempts, start=1)
        if attempt.message
    ]


def run_status(state: TrialState) -> str:
    """Return MLflow's status for a trial that is written no further."""
    if state is TrialState.FAILED:
        return "FAILED"
    return "FINISHED" if state.is_final else "KILLED"


def final_metrics(record: StudyRecord) -> dict[str, float]:
    """Return the sealed test's verdict as metrics; empty before there is one."""
    final = record.final
    if final is None:
        return {}
    low, high = final.interval
    metrics = {f"test_{name}": value for name, value in final.metrics.items()}
    scored = f"test_{_clean(record.objective.metric.removeprefix('val_'))}"
    metrics |= {f"{scored}_interval_low": low, f"{scored}_interval_high": high}
    for name in final.metrics:
        values = tuple(seed[name] for seed in final.seed_metrics if name in seed)
        if values:
            metrics[f"test_{name}_mean"], metrics[f"test_{name}_spread"] = mean_and_spread(values)
    return {name: finite_or_nan(value) for name, value in metrics.items()}


def model_folder(record: StudyRecord) -> Path:
    """Return where a worker saves the final model in MLflow's format."""
    return record.folder / "model" / "mlflow"


def has_model(record: StudyRecord) -> bool:
    """Return True when a worker has saved the final model in MLflow's format."""
    return (model_folder(record) / "MLmodel").is_file()


def final_state(record: StudyRecord) -> object:
    """Return what must be in MLflow of a final score; the model may come to its folder a little later."""
    return (record.final, has_model(record)) if record.final is not None else None


def final_digest(record: StudyRecord) -> str:
    """Return what tells one final score of a study from another; empty before there is one."""
    return _digest(json.dumps(record.final.to_json(), sort_keys=True)) if record.final is not None else ""


def study_status(record: StudyRecord, *, is_last: bool) -> str:
    """Return MLflow's status for a study; KILLED where its last record is not its end."""
    if record.final is None and not is_last:
        return "RUNNING"
    runs = (*record.trials, *record.finalists)
    is_busy = any(trial.state is TrialState.RUNNING for trial in runs)
    if record.final is not None and not is_busy:
        return "FINISHED"
    if not is_last:
        return "RUNNING"
    has_usable = bool(record.ranked)
    if is_busy or (has_usable and record.settings.get("finalists")):
        return "KILLED"
    return "FINISHED" if has_usable else "FAILED"


def study_id(record: StudyRecord) -> str:
    """Return what tells studies of one name apart where several home folders share a server."""
    given = record.settings.get("study_id")
    return re.sub(r"\W", "-", str(given)) if given else _digest(str(record.folder.resolve()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def common_tags(record: StudyRecord) -> dict[str, str]:
    """Return the tags that every run of a study has."""
    return {
        "automl.study": record.name,
        "automl.study_id": study_id(record),
        "mlflow.source.name": "automl",
        "mlflow.source.type": "LOCAL",
    }


def study_tags(record: StudyRecord) -> dict[str, str]:
    """Return the tags of the parent run."""
    return common_tags(record) | {
        "automl.kind": "study",
        "automl.space": record.space,
        "automl.fingerprint": record.dataset.fingerprint,
        "mlflow.note.content": _note(record)[:_TAG_LENGTH],
    }


def _note(record: StudyRecord) -> str:
    """Return the description that MLflow shows on the study's page: what was searched, as Markdown."""
    aim = f"{record.objective.metric} ({record.objective.direction})"
    rows = [[row.get(column, "") for column in ("name", "range", "default", "when")] for row in record.space_table]
    table = [["parameter", "range", "default", "when"], ["---"] * 4, *rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    return "\n".join([f"Search of `{record.space}` on `{record.dataset.name}` for {aim}.", "", *lines])


def settings_params(record: StudyRecord) -> dict[str, str]:
    """Return the params of the parent run: what was asked for."""
    objective = f"{record.objective.metric}:{record.objective.direction}"
    asked = {name: value for name, value in record.settings.items() if value is not None and name != "study_id"}
    return flatten({"space": record.space, "objective": objective, **asked})


def dataset_fields(spec: DatasetSpec) -> dict[str, str]:
    """Return the arguments of `mlflow.entities.Dataset`; the UI shows the profile as lines, the schema as a table."""
    rows = {"train_rows": spec.train_rows, "validation_rows": spec.validation_rows, "test_rows": spec.test_rows}
    tasks = {output.name: _described(output) for output in spec.outputs}
    return {
        "name": spec.name,
        "digest": spec.fingerprint[:_DIGEST_LENGTH],
        "source_type": "automl",
        "source": json.dumps({"uri": spec.name}),
        "schema": json.dumps({"mlflow_colspec": _columns(spec)}),
        "profile": json.dumps(rows | tasks),
    }


def _described(output: OutputSpec) -> str:
    return f"{output.task}, {len(output.labels)} labels" if output.labels else output.task.value


def _columns(spec: DatasetSpec) -> list[dict[str, str]]:
    """Return name and type of each column, or of each raw input where there are none, and of each target."""
    columns = [{"name": one.name, "type": one.kind.value} for one in spec.columns[:_COLUMNS_SHOWN]]
    if not columns:
        kinds = {one.name: one.kind for one in spec.inputs}
        columns = [{"name": one.name, "type": _whole(one, kinds.get(one.name))} for one in spec.raw_inputs]
    return columns + [{"name": output.name, "type": output.task.value} for output in spec.outputs]


def _whole(one: RawInput, kind: InputKind | None) -> str:
    return f"{kind or one.dtype} {'x'.join(str(size) for size in one.shape)}"


def now_ms() -> int:
    """Return the time in milliseconds since 1970, as MLflow counts it."""
    return time.time_ns() // 1_000_000


def without_password(text: str) -> str:
    """Return a text without the user name and password of the URLs in it."""
    return re.sub(r"//[^/@\s]*@", "//", text)


def one_line(error: Exception) -> str:
    """Return the first line of an error's message, fit for a log."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return without_password(first)[:200]
