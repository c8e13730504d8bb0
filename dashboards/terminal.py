"""The terminal while a search runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from automl.printable import printable
from automl.results import StudyRecord, TrialRecord, TrialState, describe_config

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_POINTS = 20
_RECENT_TRIALS = 6
_FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
_PHASES = {
    "search": "searching",
    "finalists": "re-training finalists",
    "refit": "refitting the winner on training and validation rows",
    "test": "sealed test",
    "done": "done",
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What there is to show at one moment.

    Attributes:
        record: The study.
        phase: `search`, `finalists`, `refit`, `test` or `done`.
        finalists_running: Finalists under way; running trials of the search are in the record.
        seconds_left: Until the deadline; None without one.
        note: What a person should know; empty otherwise.
    """

    record: StudyRecord
    phase: str
    finalists_running: Sequence[TrialRecord] = ()
    seconds_left: float | None = None
    note: str = ""


class View(Protocol):
    """Shows a search as it goes."""

    def show(self, scene: Scene) -> None:
        """Show how things stand; called a few times a second."""


@contextmanager
def open_view(first: str, stream: TextIO | None = None) -> Iterator[View]:
    """Open the view that suits where output goes.

    Args:
        first: What is being done until there is something to show.
        stream: Where to write; standard error by default, so that results alone go to standard output.
    """
    console = _Console(file=stream or sys.stderr)
    if not console.is_terminal:
        yield LineView(console)
        return
    with Live(Text(printable(f"{first} ...")), console=console, refresh_per_second=4, transient=True) as live:
        yield LiveView(live)


class _Console(Console):
    """A console whose reader may go away (`| head`): a view must never end a search."""

    def on_broken_pipe(self) -> None:
        """Say nothing more."""
        self.quiet = True


class LineView:
    """One line for every trial that ends, and for every change of phase."""

    def __init__(self, console: Console) -> None:
        """Write to `console`."""
        self._console = console
        self._ended: set[int] = set()
        self._finalists = 0
        self._phase = self._note = ""

    def show(self, scene: Scene) -> None:
        """Write what is new."""
        record = scene.record
        if scene.phase != self._phase:
            self._phase = scene.phase
            self._line(f"{record.name}: {_PHASES[scene.phase]}")
        if scene.note not in ("", self._note):
            self._line(f"{record.name}: {scene.note}")
        self._note = scene.note
        for trial in record.trials:
            if trial.state in _FINAL and trial.number not in self._ended:
                self._ended.add(trial.number)
                self._line(f"trial {trial.number} {_outcome(trial, record)}; best {_best(record)}")
        for finalist in record.finalists[self._finalists :]:
            self._line(f"finalist of trial {finalist.number} {_outcome(finalist, record)}")
        self._finalists = len(record.finalists)

    def _line(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """A table that redraws itself: best so far, running trials with curves, the last to end, pace, time left."""

    def __init__(self, live: Live) -> None:
        """Draw on `live`."""
        self._live = live

    def show(self, scene: Scene) -> None:
        """Redraw."""
        record, phase = scene.record, scene.phase
        running = scene.finalists_running or [one for one in record.trials if one.state is TrialState.RUNNING]
        is_search = phase not in ("finalists", "refit")
        ended = [one for one in record.trials if one.state in _FINAL] if is_search else record.finalists
        lines = [
            Text.assemble((record.name, "bold"), f"  {_PHASES[phase]}  ", (_pace(record, scene.seconds_left), "dim")),
            Text.assemble(
                "best  ",
                (printable(_best(record)), "bold green"),
                f"  {printable(_config(record))}",
                overflow="ellipsis",
            ),
        ]
        if scene.note:
            lines.append(Text(printable(scene.note), style="yellow"))
        self._live.update(Group(*lines, _table(running, ended[-_RECENT_TRIALS:], record)))


def _table(running: Sequence[TrialRecord], ended: Sequence[TrialRecord], record: StudyRecord) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("trial", "state", record.objective.metric, "epochs", "seconds", "curve"):
        table.add_column(Text(printable(header)), no_wrap=True)  # a metric has the name of a column: no markup
    for trial in [*running, *reversed(ended)]:
        reason = f" ({trial.reason})" if trial.reason else ""
        table.add_row(
            str(trial.number),
            Text(f"{trial.state.value}{reason}", style=_style(trial)),
            _value(_shown_value(trial, record)),
            f"{len(trial.epochs)}",
            f"{trial.seconds:.1f}",
            _curve(trial, record.objective.metric),
        )
    return table


def _style(trial: TrialRecord) -> str:
    return {TrialState.RUNNING: "cyan", TrialState.FAILED: "red", TrialState.COMPLETE: "green"}.get(trial.state, "dim")


def _shown_value(trial: TrialRecord, record: StudyRecord) -> float | None:
    if trial.value is not None or not trial.epochs:
        return trial.value
    return trial.epochs[-1].metrics.get(record.objective.metric)


def _curve(trial: TrialRecord, metric: str) -> str:
    values = [report.metrics[metric] for report in trial.epochs if metric in report.metrics][-_CURVE_POINTS:]
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def _pace(record: StudyRecord, seconds_left: float | None) -> str:
    ended = sum(trial.state in _FINAL for trial in record.trials)
    total = record.settings.get("trials")
    count = f"{ended} of {total} trials" if total else f"{ended} trials"
    rate = f"{60 * ended / record.elapsed_seconds:.0f} a minute" if record.elapsed_seconds > 1 and ended else ""
    left = f"{_clock(seconds_left)} left" if seconds_left is not None else ""
    return "  ".join(part for part in (count, rate, left) if part)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _outcome(trial: TrialRecord, record: StudyRecord) -> str:
    reason = f" ({trial.reason})" if trial.reason else ""
    last = f": {trial.message.strip().splitlines()[-1]}" if trial.message.strip() else ""
    value = f", {record.objective.metric} {_value(trial.value)}" if trial.value is not None else ""
    again = f", run again after: {', '.join(one.reason for one in trial.attempts)}" if trial.attempts else ""
    return f"{trial.state.value}{reason}{value}, {len(trial.epochs)} epochs, {trial.seconds:.1f} s{again}{last}"


def _best(record: StudyRecord) -> str:
    ranked = record.ranked
    return f"{record.objective.metric} {_value(ranked[0].value)}" if ranked else "none yet"


def _config(record: StudyRecord) -> str:
    ranked = record.ranked
    return "" if not ranked else "  ".join(f"{name} {value}" for name, value in describe_config(ranked[0].config))


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
