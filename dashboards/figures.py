"""The Plotly figures of a report: best value over time, learning curves, value by hyperparameter.

A figure is drawn on a light or a dark page, so its backgrounds are transparent and its own ink is a grey that
can be read on both; the page's style sheet sharpens the ink where it can. Every text that comes from outside
is escaped, because Plotly reads a little HTML in its texts.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeGuard

import plotly.graph_objects as go

from automl.results import StudyRecord, TrialRecord, TrialState

MOST_POINTS = 3_000
"""Trials that one figure shows at most; more are thinned out evenly, so that the page stays quick."""

HIGHLIGHTED_CURVES = 20
"""Learning curves that stand out."""

MOST_CURVES = 200
"""Learning curves that one figure shows at most."""

MOST_PARAMETERS = 16
"""Hyperparameters that get a figure of their own."""

_MOST_POINTS_PER_PARAMETER = 1_000
_MOST_CATEGORIES = 8
_FEWEST_FOR_RANGE = 10  # with fewer values, nothing can be called an outlier
_LOG_RATIO = 50  # values that span less than this are never drawn on a logarithmic axis

_INK = "#808a98"
_GRID = "rgba(128, 138, 152, 0.22)"
_BEST = "#3b82f6"
_GOOD = "rgba(16, 163, 140, 0.62)"
_FAINT = "rgba(128, 138, 152, 0.30)"
_STATE_COLOURS: Mapping[TrialState, str] = {
    TrialState.COMPLETE: "#10a38c",
    TrialState.PRUNED: "#d9930d",
    TrialState.FAILED: "#e5484d",
    TrialState.RUNNING: "#8b5cf6",
    TrialState.PAUSED: "#8b5cf6",
}


def best_value_over_time(record: StudyRecord) -> go.Figure | None:
    """Draw the best value so far as a step line, and every trial with a value as a point coloured by state.

    Failed trials without a value are crosses along the lower edge. Time is the order in which trials were
    proposed.

    Returns:
        The figure, or None before the first trial with a value.
    """
    valued = [trial for trial in record.trials if _is_number(trial.value)]
    if not valued:
        return None
    figure = _figure("trial", _escape(record.objective.metric), height=380)
    figure.update_xaxes(tickformat=",d")
    steps = _improvements(record)
    if steps:
        figure.add_trace(_best_line(steps, last_number=record.trials[-1].number))
    for state, colour in _STATE_COLOURS.items():
        some = thinned([trial for trial in valued if trial.state is state], MOST_POINTS)
        if some:
            figure.add_trace(_trial_points(some, state, colour))
    valueless = [trial for trial in record.trials if trial.state is TrialState.FAILED and not _is_number(trial.value)]
    if valueless:
        figure.add_trace(_failure_ticks(thinned(valueless, MOST_POINTS)))
        figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
    figure.update_layout(yaxis={"range": _clear_range((trial.value for trial in valued), record.objective.direction)})
    return figure


def learning_curves(record: StudyRecord) -> go.Figure | None:
    """Draw the objective's metric by epoch: the best trial bold, the next in colour, others thin and grey.

    Once finalists have chosen a winner, that is the bold one.

    Returns:
        The figure, or None before the first usable epoch.
    """
    metric = record.objective.metric
    ranked = [trial for trial in _winner_first(record) if _curve(trial, metric)]
    top, rest = ranked[:HIGHLIGHTED_CURVES], ranked[HIGHLIGHTED_CURVES:]
    seen = {trial.number for trial in ranked}
    unranked = [trial for trial in record.trials if trial.number not in seen and _curve(trial, metric)]
    others = thinned([*rest, *unranked], MOST_CURVES - len(top))
    if not top and not others:
        return None
    figure = _figure("epoch", _escape(metric), height=400)
    if others:
        figure.add_trace(_faint_curves(others, metric))
    if len(top) > 1:
        figure.add_traces([_next_curve(trial, metric, is_first=trial is top[1]) for trial in reversed(top[1:])])
    if top:
        figure.add_trace(_best_curve(top[0], metric, chosen=record.final is not None))
    drawn = (value for trial in [*top, *others] for _, value in _curve(trial, metric))
    figure.update_layout(yaxis={"range": _clear_range(drawn, record.objective.direction)})
    return figure


def values_by_parameter(record: StudyRecord) -> list[tuple[str, go.Figure]]:
    """Draw the objective's value against each hyperparameter, one small figure each.

    Parameters that only ever had one value are left out; those that most trials had come first.

    Returns:
        Pairs of the parameter's (nested) name and its figure; at most `MOST_PARAMETERS`.
    """
    ranked = _winner_first(record)
    if len(ranked) < 2:
        return []
    shown = [ranked[0], *thinned(ranked[1:], _MOST_POINTS_PER_PARAMETER - 1)]
    flat = [(trial, flat_config(trial.config)) for trial in shown]
    by_name: dict[str, list[tuple[TrialRecord, Any]]] = {}
    for trial, values in flat:
        for name, value in values.items():
            by_name.setdefault(name, []).append((trial, value))
    varied = [(name, pairs) for name, pairs in by_name.items() if len({_label(value) for _, value in pairs}) > 1]
    varied.sort(key=lambda item: -len(item[1]))
    return [(name, _parameter_figure(name, pairs, record, best=ranked[0])) for name, pairs in varied[:MOST_PARAMETERS]]


def flat_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config by nested names: `hidden` (how many) and `hidden.0.units`.

    Example:
        >>> flat_config({"hidden": [{"units": 64}], "optimizer": "adam"})
        {'hidden': 1, 'hidden.0.units': 64, 'optimizer': 'adam'}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, (list, tuple)) and all(isinstance(item, Mapping) for item in value):
            flat[name] = len(value)
            for index, item in enumerate(value):
                flat.update({f"{name}.{index}.{inner}": one for inner, one in flat_config(item).items()})
        else:
            flat[name] = value
    return flat


def thinned(trials: Sequence[TrialRecord], most: int) -> list[TrialRecord]:
    """Return at most `most` trials, evenly spread over the sequence, its first one always among them."""
    if len(trials) <= most:
        return list(trials)
    return [trials[index * len(trials) // most] for index in range(most)]


def _winner_first(record: StudyRecord) -> list[TrialRecord]:
    """Return the ranked trials, best first, but the one that the finalists chose before all others."""
    ranked, best = record.ranked, record.best
    if best is None:
        return list(ranked)
    return [best, *(trial for trial in ranked if trial.number != best.number)]


def _figure(x_title: str, y_title: str, *, height: int) -> go.Figure:
    axis = {"gridcolor": _GRID, "zeroline": False, "linecolor": _GRID, "automargin": True}
    return go.Figure(
        layout={
            "template": go.layout.Template(),  # Plotly's own carries colours for white pages, and many bytes
            "height": height,
            "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
            "paper_bgcolor": "rgba(0, 0, 0, 0)",
            "plot_bgcolor": "rgba(0, 0, 0, 0)",
            "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 12, "color": _INK},
            "hoverlabel": {"bgcolor": "#1f2733", "bordercolor": "#1f2733", "font": {"color": "#f4f6f9"}},
            "hovermode": "closest",
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "bgcolor": "rgba(0, 0, 0, 0)",
            },
            "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": _INK, "activecolor": _BEST},
            "xaxis": {**axis, "title": {"text": x_title}},
            "yaxis": {**axis, "title": {"text": y_title}},
        }
    )


def _trial_points(trials: Sequence[TrialRecord], state: TrialState, colour: str) -> go.Scatter:
    return go.Scatter(
        x=[trial.number for trial in trials],
        y=[trial.value for trial in trials],
        mode="markers",
        name=state.value,
        marker={"color": colour, "size": 7 if len(trials) <= 500 else 4, "opacity": 0.75},
        hovertemplate=f"trial %{{x}}, {state.value}<br>%{{y:.5g}}<extra></extra>",
    )


def _failure_ticks(trials: Sequence[TrialRecord]) -> go.Scatter:
    return go.Scatter(
        x=[trial.number for trial in trials],
        y=[0.015] * len(trials),
        yaxis="y2",
        mode="markers",
        name="failed, no value",
        marker={
            "color": _STATE_COLOURS[TrialState.FAILED],
            "symbol": "x",
            "size": 7 if len(trials) <= 100 else 3,
        },
        text=[_escape(trial.reason) for trial in trials],
        hovertemplate="trial %{x}, failed: %{text}<extra></extra>",
    )


def _best_line(steps: Sequence[TrialRecord], *, last_number: int) -> go.Scatter:
    return go.Scatter(
        x=[*(trial.number for trial in steps), last_number],
        y=[*(trial.value for trial in steps), steps[-1].value],
        mode="lines",
        name="best so far",
        line={"shape": "hv", "color": _BEST, "width": 3},
        hovertemplate="best so far, from trial %{x}<br>%{y:.5g}<extra></extra>",
    )


def _improvements(record: StudyRecord) -> list[TrialRecord]:
    """Return the trials that were the best when they came, in order."""
    steps: list[TrialRecord] = []
    best = math.inf
    for trial in sorted(record.ranked, key=lambda one: one.number):
        loss = math.inf if trial.value is None else record.objective.loss(trial.value)
        if loss < best:
            best = loss
            steps.append(trial)
    return steps


def _clear_range(values: Iterable[float | None], direction: str) -> list[float] | None:
    """Return an axis range that leaves far and bad outliers out of sight, or None where there are none.

    One trial that diverged would otherwise flatten all others into a line. A double click shows everything.
    """
    ordered = sorted(value for value in values if _is_number(value))
    if len(ordered) < _FEWEST_FOR_RANGE:
        return None
    tenth, ninetieth = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    reach = 2.0 * (ninetieth - tenth)
    is_maximised = direction == "max"
    near = [value for value in ordered if (value >= tenth - reach if is_maximised else value <= ninetieth + reach)]
    if len(near) == len(ordered) or near[0] == near[-1]:
        return None
    margin = 0.06 * (near[-1] - near[0])
    return [near[0] - margin, near[-1] + margin]


def _curve(trial: TrialRecord, metric: str) -> list[tuple[int, float]]:
    pairs = ((report.epoch, report.metrics.get(metric, math.nan)) for report in trial.epochs)
    return [(epoch, value) for epoch, value in pairs if math.isfinite(value)]


def _faint_curves(trials: Sequence[TrialRecord], metric: str) -> go.Scatter:
    """Draw many curves as one trace with gaps: a browser draws that far quicker than a trace each."""
    points: Iterable[tuple[int | None, float | None]] = itertools.chain.from_iterable(
        [*_curve(trial, metric), (None, None)] for trial in trials
    )
    epochs, values = zip(*points, strict=True)
    return go.Scatter(
        x=epochs,
        y=values,
        mode="lines+markers",
        name="others",
        line={"color": _FAINT, "width": 1},
        marker={"size": 2},
        hoverinfo="skip",
    )


def _next_curve(trial: TrialRecord, metric: str, *, is_first: bool) -> go.Scatter:
    epochs, values = zip(*_curve(trial, metric), strict=True)
    return go.Scatter(
        x=epochs,
        y=values,
        mode="lines+markers",
        name="next best",
        legendgroup="next",
        showlegend=is_first,  # one entry for all of them
        line={"color": _GOOD, "width": 1.4},
        marker={"size": 3},
        hovertemplate=f"trial {trial.number}<br>epoch %{{x}}: %{{y:.5g}}<extra></extra>",
    )


def _best_curve(trial: TrialRecord, metric: str, *, chosen: bool) -> go.Scatter:
    epochs, values = zip(*_curve(trial, metric), strict=True)
    return go.Scatter(
        x=epochs,
        y=values,
        mode="lines+markers",
        name=f"{'winner' if chosen else 'best'}: trial {trial.number}",
        line={"color": _BEST, "width": 3.5},
        marker={"size": 5},
        hovertemplate=f"trial {trial.number}<br>epoch %{{x}}: %{{y:.5g}}<extra></extra>",
    )


def _parameter_figure(
    name: str, pairs: Sequence[tuple[TrialRecord, Any]], record: StudyRecord, *, best: TrialRecord
) -> go.Figure:
    figure = _figure(_escape(name), "", height=230)
    values = [value for _, value in pairs]
    numeric = all(_is_number(value) for value in values) and len(set(values)) > _MOST_CATEGORIES
    figure.add_trace(_numeric_points(pairs) if numeric else _category_boxes(pairs))
    winner = [(trial, value) for trial, value in pairs if trial.number == best.number]
    figure.add_trace(_best_marker(winner, numeric=numeric))
    if numeric:
        is_log = _looks_logarithmic(values)
        figure.update_xaxes(type="log" if is_log else "linear", dtick=1 if is_log else None)
        figure.update_xaxes(nticks=6, exponentformat="e")
    else:
        figure.update_xaxes(
            type="category",
            categoryorder="array",
            categoryarray=[_escape(_label(value)) for value in sorted(values, key=_category_rank)],
        )
    figure.update_layout(showlegend=False, margin={"l": 44, "r": 8, "t": 8, "b": 40})
    figure.update_yaxes(range=_clear_range((trial.value for trial, _ in pairs), record.objective.direction))
    return figure


def _numeric_points(pairs: Sequence[tuple[TrialRecord, Any]]) -> go.Scatter:
    return go.Scatter(
        x=[value for _, value in pairs],
        y=[trial.value for trial, _ in pairs],
        mode="markers",
        marker={"color": _STATE_COLOURS[TrialState.COMPLETE], "size": _small_size(pairs), "opacity": 0.6},
        text=[trial.number for trial, _ in pairs],
        hovertemplate="trial %{text}<br>%{x:.4g}: %{y:.5g}<extra></extra>",
    )


def _category_boxes(pairs: Sequence[tuple[TrialRecord, Any]]) -> go.Box:
    return go.Box(
        x=[_escape(_label(value)) for _, value in pairs],
        y=[trial.value for trial, _ in pairs],
        boxpoints="all",
        jitter=0.5,
        pointpos=0,
        fillcolor="rgba(128, 138, 152, 0.10)",
        line={"color": "rgba(128, 138, 152, 0.65)", "width": 1},
        marker={"color": _STATE_COLOURS[TrialState.COMPLETE], "size": _small_size(pairs), "opacity": 0.6},
        text=[trial.number for trial, _ in pairs],
        hoveron="points",
        hovertemplate="trial %{text}<br>%{x}: %{y:.5g}<extra></extra>",
    )


def _small_size(pairs: Sequence[object]) -> int:
    return 5 if len(pairs) <= 200 else 3


def _best_marker(pairs: Sequence[tuple[TrialRecord, Any]], *, numeric: bool) -> go.Scatter:
    return go.Scatter(
        x=[value if numeric else _escape(_label(value)) for _, value in pairs],
        y=[trial.value for trial, _ in pairs],
        mode="markers",
        marker={"color": "rgba(0, 0, 0, 0)", "size": 13, "line": {"color": _BEST, "width": 2.5}},
        cliponaxis=False,
        hovertemplate="best trial<br>%{x}: %{y:.5g}<extra></extra>",
    )


def _looks_logarithmic(values: Sequence[float]) -> bool:
    """Return True when positive values span decades and lie more evenly on a logarithmic axis."""
    low, high, middle = min(values), max(values), median(values)
    if low <= 0 or high / low <= _LOG_RATIO:
        return False
    place_on_plain = (middle - low) / (high - low)
    place_on_log = math.log(middle / low) / math.log(high / low)
    return abs(place_on_log - 0.5) < abs(place_on_plain - 0.5)


def _category_rank(value: object) -> tuple[int, float, str]:
    return (0, float(value), "") if _is_number(value) else (1, 0.0, _label(value))


def _label(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _escape(text: str) -> str:
    return html.escape(text, quote=False)
