"""The terminal while a search runs: lines elsewhere, a live table on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from dashboard_studies import failed, finished_study, study, trial
from rich.console import Console
from rich.live import Live

from automl.objective import Objective
from automl.records import TrialState
from dashboards.terminal import LineView, LiveView, Scene, open_view


def lines_of(*shown: tuple[object, str]) -> list[str]:
    stream = io.StringIO()
    with open_view("preparing", stream) as view:
        for record, phase in shown:
            view.show(Scene(record=record, phase=phase, seconds_left=60.0))  # type: ignore[arg-type]
    return stream.getvalue().splitlines()


def test_a_line_for_every_trial_that_ends_once() -> None:
    running = replace(trial(1, None), state=TrialState.RUNNING)
    first = study([trial(0, 0.9), running])
    second = study([trial(0, 0.9), trial(1, 0.95)])
    lines = lines_of((first, "search"), (first, "search"), (second, "search"))
    assert lines[0].endswith("searching")
    assert [line.split(" ")[:2] for line in lines[1:]] == [["trial", "0"], ["trial", "1"]]
    assert "best val_accuracy 0.9500" in lines[2]


def test_a_failure_says_why_in_one_line() -> None:
    (line,) = lines_of((study([failed(0)]), "search"))[1:]
    assert "failed (nan)" in line


def test_finalists_have_lines_of_their_own() -> None:
    record = finished_study()
    lines = lines_of((replace(record, finalists=()), "search"), (record, "finalists"), (record, "done"))
    assert sum(line.startswith("finalist of trial") for line in lines) == len(record.finalists)


def test_names_from_users_are_no_markup() -> None:
    (line,) = lines_of((replace(study(), name="[red]x[/red]"), "search"))
    assert line == "[red]x[/red]: searching"


def test_live_table_shows_best_running_curves_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, height=40)
    running = replace(trial(2, 0.5), state=TrialState.RUNNING)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        view = LiveView(live)
        record = replace(study([trial(0, 0.9), trial(1, 0.95), running]), elapsed_seconds=30.0)
        view.show(Scene(record=record, phase="search", seconds_left=125.0))
        with console.capture() as capture:
            console.print(live.renderable)
    text = capture.get()
    for expected in ("digits-mlp-001", "searching", "val_accuracy 0.9500", "running", "2:05 left", "4 a minute", "█"):
        assert expected in text


def test_a_metric_that_is_named_by_a_column_is_no_markup_in_the_table() -> None:
    console = Console(file=io.StringIO(), width=160, height=40)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        view = LiveView(live)
        view.show(Scene(record=replace(study(), objective=Objective("val_a[/b]_rmse", "min")), phase="search"))
        with console.capture() as capture:
            console.print(live.renderable)
    assert "val_a[/b]_rmse" in capture.get()


def test_what_users_named_does_not_steer_the_terminal() -> None:
    named = replace(study([trial(0, 0.9, config={"layer": "\x1b[2Jdense"})]), objective=Objective("val_\x1b[2J", "max"))
    console = Console(file=io.StringIO(), force_terminal=True, width=160, height=40)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        LiveView(live).show(Scene(record=named, phase="search", note="\x1b[2J"))
        with console.capture() as capture:
            console.print(live.renderable)
    assert capture.get().count("\\x1b[2J") >= 3
    assert "\x1b[2J" not in capture.get()
    assert not any("\x1b" in line for line in lines_of((replace(named, name="\x1b[2J"), "search")))


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    with open_view("preparing", io.StringIO()) as view:
        assert isinstance(view, LineView)


class Gone(io.StringIO):
    """A stream whose reader has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_away_does_not_end_the_search() -> None:
    with open_view("preparing", Gone()) as view:
        for phase in ("search", "finalists"):
            view.show(Scene(record=study(), phase=phase))
