"""What a person reads at the end of a search: the best architecture per dataset, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from automl.cli.options import Common, text_table
from automl.results import (
    StudyRecord,
    TrialState,
    describe_config,
    failures_by_reason,
    failures_text,
    mean_and_spread,
    retries_text,
)

_METRICS_A_LINE = 4


def best_text(records: Sequence[StudyRecord]) -> str:
    """Return the best architecture per dataset, as text."""
    return "\n\n".join(_one(record) for record in records)


def _one(record: StudyRecord) -> str:
    best = record.best
    if best is None:
        failed = f"; failed: {failures_text(record)}" if record.count(TrialState.FAILED) else ""
        return f"{record.dataset.name}: no usable model yet (study {record.name}{failed})"
    rows = [[name, value] for name, value in describe_config(best.config)]
    rows += [["parameters", f"{best.parameter_count:,}"]]
    rows += [["validation", f"{record.test_metric} {best.value:.4f} in the search (trial {best.number})"]]
    rows += [[*row] for row in _final_rows(record)]
    rows += [["time", f"{record.elapsed_seconds:.0f} s for {_counts(record)}"]]
    rows += [[name, text] for name, text in _troubles(record) if text]
    body = "\n".join(f"  {line}" for line in text_table(["study", record.name], rows).splitlines())
    return f"best architecture for {record.dataset.name} (space {record.space}):\n{body}"


def _final_rows(record: StudyRecord) -> list[tuple[str, str]]:
    if record.final is None or record.best is None:
        return [("test", "sealed; no finalists were trained")]
    metric = record.test_metric
    low, high = record.final.interval
    validated = record.finalist_values(record.best.number)
    tested = tuple(metrics[metric] for metrics in record.final.seed_metrics)
    alone = ", on training rows alone" if record.final.is_refit else ""
    return [
        *_over_seeds("re-trained", metric, validated, " on validation rows,"),
        *_refit_rows(record),
        (
            "test",
            f"{metric} {record.final.metrics[metric]:.4f}, 95 % interval {low:.4f} to {high:.4f} (sealed rows)",
        ),
        *_over_seeds("", metric, tested, "", alone),
        *_other_metrics(record.final.metrics, metric),
    ]


def _other_metrics(metrics: Mapping[str, float], shown: str) -> list[tuple[str, str]]:
    """Return the remaining test metrics, a few a line."""
    texts = [f"{name} {value:.4f}" for name, value in metrics.items() if name not in (shown, "loss")]
    lines = [", ".join(texts[start : start + _METRICS_A_LINE]) for start in range(0, len(texts), _METRICS_A_LINE)]
    return [("", line) for line in lines]


def _seeds(values: Sequence[float]) -> str:
    return f"over {len(values)} fresh seed{'s' if len(values) > 1 else ''}"


def _refit_rows(record: StudyRecord) -> list[tuple[str, str]]:
    if record.final is None or record.refit is None or not record.final.is_refit:
        return []
    return [("refit", f"on training and validation rows, {len(record.refit.epochs)} epochs: the saved model")]


def _over_seeds(
    label: str, metric: str, values: tuple[float, ...], where: str, which: str = ""
) -> list[tuple[str, str]]:
    """Return a row with mean and spread over fresh seeds; none where time allowed no re-training."""
    if not values:
        return []
    mean, spread = mean_and_spread(values)
    return [(label, f"{metric} {mean:.4f} ± {spread:.4f}{where} {_seeds(values)}{which}")]


def _counts(record: StudyRecord) -> str:
    parts = [f"{record.count(state)} {state.value}" for state in TrialState if record.count(state)]
    return f"{len(record.trials)} trials ({', '.join(parts)})"


def _troubles(record: StudyRecord) -> list[tuple[str, str]]:
    return [("failed", failures_text(record)), ("run again", retries_text(record))]


def next_commands(records: Sequence[StudyRecord], common: Common) -> str:
    """Return the next commands that a person would want."""
    home, storage = common.home, common.storage
    rows = [
        [
            home.command("report", " ".join(record.name for record in records), storage),
            "the whole search as one HTML page",
        ],
        [home.command("ui"), "compare the runs in MLflow"],
    ]
    predictable = next((record.name for record in records if record.final is not None), None)
    if predictable is not None:
        command = home.command("predict", f"{predictable} FILE", storage)
        rows.append([command, "classes and probabilities, or values, of raw rows"])
    return "next:\n" + "\n".join(f"  {line}" for line in text_table(rows[0], rows[1:]).splitlines())


def result_json(record: StudyRecord) -> dict[str, Any]:
    """Return what was found as JSON values."""
    best = record.best
    return {
        "study": record.name,
        "dataset": record.dataset.name,
        "space": record.space,
        "objective": record.objective.metric,
        "trials": {state.value: record.count(state) for state in TrialState if record.count(state)},
        "failures": {reason: len(trials) for reason, trials in failures_by_reason(record).items()},
        "seconds": record.elapsed_seconds,
        "lost_seconds": sum(trial.lost_seconds for trial in record.trials),
        "best": None
        if best is None
        else {
            "number": best.number,
            "config": best.config,
            "value": best.value,
            "best_epoch": best.best_epoch,
            "parameter_count": best.parameter_count,
            "metrics": dict(best.best_metrics),
        },
        "test": None if record.final is None else record.final.to_json(),
        "folder": str(record.folder),
    }
