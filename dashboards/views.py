"""What the report shows of studies: their records, turned into the rows and tiles of a page. No HTML here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from automl.results import (
    StudyRecord,
    TrialRecord,
    TrialState,
    describe_config,
    failures_by_reason,
    mean_and_spread,
    retries_text,
)
from dashboards import wording

MOST_TRIAL_ROWS = 500
"""Rows that a table of trials has at most."""

_LONGEST_MESSAGE = 4_000  # characters of a traceback; its end is what tells
_TARGET_UNIT_METRICS = ("rmse", "mae")


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Mean and sample standard deviation of one score over fresh seeds."""

    mean: float
    spread: float
    seeds: int


@dataclass(frozen=True, kw_only=True)
class BestRow:
    """The best architecture of one dataset.

    Attributes:
        dataset: The dataset's name.
        study: Name of the study that found it.
        studies: How many studies searched this dataset with this objective.
        anchor: Id of the study's section on the page.
        space: Name of the search space.
        metric: Label of the objective.
        architecture: Pairs of parameter and value; empty where there is no usable model.
        parameter_count: Weights of the model.
        validation: The search's own score of the winning trial.
        retrained: The same config on fresh seeds, on validation rows.
        test: The sealed test's score of the saved model.
        interval: 95 % interval of `test`.
        test_seeds: Test scores of every re-training of the winner.
        is_refit: The model of `test` was trained on validation rows too, those of `test_seeds` were not.
        elapsed_seconds: Seconds that the whole study took.
        trial_seconds: Seconds that training the winning trial took.
    """

    dataset: str
    study: str
    studies: int
    anchor: str
    space: str
    metric: str
    architecture: tuple[tuple[str, str], ...]
    parameter_count: int | None
    validation: float | None
    retrained: Spread | None
    test: float | None
    interval: tuple[float, float] | None
    test_seeds: Spread | None
    is_refit: bool
    elapsed_seconds: float
    trial_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class FinalistRow:
    """One config that was re-trained on fresh seeds.

    Attributes:
        number: The trial that found the config.
        search: The search's score.
        retrained: Its re-trainings; None where none gave a value.
        optimism: Search score minus the re-trained mean.
        failed: Re-trainings without a value.
        is_winner: True for the config that was saved.
        config: The config, as one line.
    """

    number: int
    search: float | None
    retrained: Spread | None
    optimism: float | None
    failed: int
    is_winner: bool
    config: str


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial, as its row in the table shows it; `rank` is None without a usable value."""

    number: int
    rank: int | None
    state: str
    reason: str
    value: float | None
    best_epoch: int | None
    epochs: int
    seconds: float
    parameter_count: int | None
    config: str
    is_best: bool


@dataclass(frozen=True, kw_only=True)
class FailureRow:
    """All failures of one reason: how many, which trials (the first few), time lost, and what the first one said."""

    reason: str
    count: int
    trials: str
    lost_seconds: float
    headline: str
    message: str


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """Everything that the page says of one study, figures aside."""

    anchor: str
    name: str
    dataset: str
    space: str
    metric: str
    direction: str
    best: BestRow
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    space_table: tuple[Mapping[str, str], ...]
    is_minimised: bool
    states: str
    usable_count: int
    trial_count: int
    test_metrics: tuple[tuple[str, float], ...]
    finalists: tuple[FinalistRow, ...]
    trials: tuple[TrialRow, ...]
    failures: tuple[FailureRow, ...]
    retries: str


def view_study(record: StudyRecord, *, anchor: str) -> StudyView:
    """Turn one study into what its section shows.

    Args:
        record: The study.
        anchor: Id of the section.
    """
    states = ((record.count(state), state.value) for state in TrialState)
    return StudyView(
        anchor=anchor,
        name=record.name,
        dataset=record.dataset.name,
        space=record.space,
        metric=record.objective.metric,
        direction=_direction(record),
        best=_best_row(record, anchor=anchor, studies=1),
        facts=_dataset_facts(record),
        settings=_settings(record),
        space_table=record.space_table,
        is_minimised=record.objective.direction == "min",
        states=", ".join(f"{number:,} {state}" for number, state in states if number),
        usable_count=len(record.ranked),
        trial_count=len(record.trials),
        test_metrics=tuple(record.final.metrics.items()) if record.final else (),
        finalists=_finalist_rows(record),
        trials=_trial_rows(record),
        failures=_failure_rows(record),
        retries=retries_text(record),
    )


def best_per_dataset(records: Sequence[StudyRecord], anchors: Sequence[str]) -> list[BestRow]:
    """Return the best architecture of each dataset, in the order in which datasets first appear.

    Studies of one dataset compete where they optimised the same thing: those whose winner was tested come
    first, then the better re-trained mean on validation rows (or search score). The sealed test itself never
    chooses.

    Args:
        records: Every study.
        anchors: The id of each study's section.
    """
    groups: dict[tuple[str, str, str, str], list[tuple[StudyRecord, str]]] = {}
    for record, anchor in zip(records, anchors, strict=True):
        objective = record.objective
        key = (record.dataset.name, record.dataset.fingerprint, objective.metric, objective.direction)
        groups.setdefault(key, []).append((record, anchor))
    rows = []
    for group in groups.values():
        winner, anchor = min(group, key=lambda item: _study_rank(item[0]))
        rows.append(_best_row(winner, anchor=anchor, studies=len(group)))
    return rows


def _study_rank(record: StudyRecord) -> tuple[bool, float]:
    best = record.best
    if best is None or best.value is None:
        return (True, float("inf"))
    retrained = _spread(record.finalist_values(best.number))
    value = best.value if retrained is None else retrained.mean
    return (record.final is None, record.objective.loss(value))


def _best_row(record: StudyRecord, *, anchor: str, studies: int) -> BestRow:
    best, final = record.best, record.final
    metric = record.test_metric
    scores = tuple(metrics[metric] for metrics in final.seed_metrics if metric in metrics) if final else ()
    return BestRow(
        dataset=record.dataset.name,
        study=record.name,
        studies=studies,
        anchor=anchor,
        space=record.space,
        metric=_metric_label(record),
        architecture=tuple(describe_config(best.config)) if best else (),
        parameter_count=best.parameter_count if best else None,
        validation=best.value if best else None,
        retrained=_spread(record.finalist_values(best.number)) if best else None,
        test=final.metrics.get(metric) if final else None,
        interval=final.interval if final and metric in final.metrics else None,
        test_seeds=_spread(scores),
        is_refit=final is not None and final.is_refit,
        elapsed_seconds=record.elapsed_seconds,
        trial_seconds=best.seconds if best else None,
    )


def _metric_label(record: StudyRecord) -> str:
    """Return the objective as a person reads it: `accuracy, higher is better`."""
    return f"{record.test_metric}, {_direction(record)}"


def _direction(record: StudyRecord) -> str:
    words = "higher is better" if record.objective.direction == "max" else "lower is better"
    tasks = {output.task.value for output in record.dataset.outputs}
    in_units = record.test_metric in _TARGET_UNIT_METRICS and "regression" in tasks
    return f"{words}, in units of the target" if in_units else words


def _spread(values: tuple[float, ...]) -> Spread | None:
    if not values:
        return None
    mean, spread = mean_and_spread(values)
    return Spread(mean=mean, spread=spread, seeds=len(values))


def _columns(kinds: Sequence[str]) -> str:
    """Return how many columns of which kinds there are, such as `14 (8 category, 6 number)`."""
    counted = ", ".join(f"{number} {kind}" for kind, number in Counter(kinds).most_common())
    return f"{len(kinds)} ({counted})"


def _dataset_facts(record: StudyRecord) -> tuple[tuple[str, str], ...]:
    dataset = record.dataset
    rows = f"{dataset.train_rows:,} train · {dataset.validation_rows:,} validation · {dataset.test_rows:,} test"
    inputs = "; ".join(f"{one.name} ({one.kind.value}, {_shape(one.shape)})" for one in dataset.inputs)
    targets = "; ".join(f"{one.name} ({one.task.value}{_classes(one.labels)})" for one in dataset.outputs)
    folds = (("Cross-validation", f"{dataset.folds} folds"),) if dataset.folds else ()
    columns = (("Columns", _columns([one.kind.value for one in dataset.columns])),) if dataset.columns else ()
    return (
        ("Dataset", dataset.name),
        ("Rows", rows),
        *folds,
        *columns,
        ("Inputs", inputs),
        ("Target", targets),
        ("Fingerprint", dataset.fingerprint[:12]),
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape) or "one number"  # noqa: RUF001  (a real multiplication sign)


def _classes(labels: Sequence[object]) -> str:
    return f", {wording.plural(len(labels), 'label')}" if labels else ""


def _settings(record: StudyRecord) -> tuple[tuple[str, str], ...]:
    objective = record.objective
    first = (
        ("objective", f"{objective.metric} ({_direction(record)}; {objective.epoch} epoch counts)"),
        ("space", record.space),
    )
    return (
        *first,
        *((name.replace("_", " "), wording.plain(value)) for name, value in record.settings.items()),
    )


def _finalist_rows(record: StudyRecord) -> tuple[FinalistRow, ...]:
    numbers = list(dict.fromkeys(finalist.number for finalist in record.finalists))
    by_number = {trial.number: trial for trial in record.trials}
    rows = [_finalist_row(record, by_number.get(number), number) for number in numbers]
    return tuple(sorted(rows, key=lambda row: _finalist_rank(record, row)))


def _finalist_row(record: StudyRecord, trial: TrialRecord | None, number: int) -> FinalistRow:
    runs = [finalist for finalist in record.finalists if finalist.number == number]
    retrained = _spread(record.finalist_values(number))
    search = trial.value if trial else None
    return FinalistRow(
        number=number,
        search=search,
        retrained=retrained,
        optimism=None if retrained is None or search is None else search - retrained.mean,
        failed=len(runs) - (retrained.seeds if retrained else 0),
        is_winner=record.final is not None and record.final.trial == number,
        config=_config_line(runs[0]),
    )


def _finalist_rank(record: StudyRecord, row: FinalistRow) -> tuple[bool, float]:
    return (not row.is_winner, record.objective.loss(row.retrained.mean) if row.retrained else float("inf"))


def _trial_rows(record: StudyRecord) -> tuple[TrialRow, ...]:
    """Return the best trials first, then those without a rank by number; at most `MOST_TRIAL_ROWS`."""
    ranked = record.ranked
    ranks = {trial.number: rank for rank, trial in enumerate(ranked, start=1)}
    rest = (trial for trial in record.trials if trial.number not in ranks)
    best = record.best
    return tuple(
        _trial_row(trial, ranks.get(trial.number), is_best=best is not None and trial.number == best.number)
        for trial in [*ranked, *rest][:MOST_TRIAL_ROWS]
    )


def _trial_row(trial: TrialRecord, rank: int | None, *, is_best: bool) -> TrialRow:
    return TrialRow(
        number=trial.number,
        rank=rank,
        state=trial.state.value,
        reason=trial.reason,
        value=trial.value,
        best_epoch=trial.best_epoch,
        epochs=len(trial.epochs),
        seconds=trial.seconds,
        parameter_count=trial.parameter_count or None,
        config=_config_line(trial),
        is_best=is_best,
    )


def _failure_rows(record: StudyRecord) -> tuple[FailureRow, ...]:
    return tuple(_failure_row(reason, trials) for reason, trials in failures_by_reason(record).items())


def _failure_row(reason: str, trials: Sequence[TrialRecord]) -> FailureRow:
    message = next((trial.message.strip() for trial in trials if trial.message.strip()), "")
    listed = ", ".join(str(trial.number) for trial in trials[:8])
    return FailureRow(
        reason=reason,
        count=len(trials),
        trials=f"{listed}, …" if len(trials) > 8 else listed,
        lost_seconds=sum(trial.lost_seconds for trial in trials),
        headline=message.splitlines()[-1].strip()[:300] if message else "no message",
        message=message[-_LONGEST_MESSAGE:],
    )


def _config_line(trial: TrialRecord) -> str:
    return " · ".join(f"{name} {value}" for name, value in describe_config(trial.config))
