"""`automl predict` and `automl export`: what is done with a study's final model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from automl.cli.options import Common, common_options
from automl.errors import RequestError

_SHOWN_AFTER_SECONDS = 2.0
_LINE_SECONDS = 5.0


@click.command()
@click.argument("study")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", metavar="PATH", type=click.Path(path_type=Path), help=".csv, .csv.gz or .parquet [stdout].")
@click.option("--encoding", metavar="NAME", help="Text encoding of FILE [found out].")
@common_options
def predict(common: Common, study: str, file: Path, output: Path | None, encoding: str | None) -> None:
    """Predict every row of FILE with the final model of STUDY: labels and probabilities, or values."""
    from automl.predict import check_output
    from automl.results import load_result

    if output is None and common.json:
        raise RequestError("--json prints a summary, so the predictions need a file of their own: add --output PATH")
    result = load_result(study, home=common.home.path, storage=common.storage)
    result.check_model()
    if not file.exists():
        raise RequestError(f"there is no file {file}; expected the rows to predict")
    if output is not None:
        check_output(output, source=file)
    started = time.monotonic()
    with _progress(common, f"predicting {file.name}", unit="rows") as say:
        rows = _predict(result.model_path, result.record.dataset, file, output, encoding, say)
    seconds = time.monotonic() - started
    if output is not None:
        common.give(
            {"rows": rows, "seconds": round(seconds, 3), "output": str(output)},
            lambda: f"{output}: {rows:,} rows in {seconds:.1f} s",
        )


@click.command()
@click.argument("study")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace what is in DIR.")
@common_options
def export(common: Common, study: str, folder: Path, force: bool) -> None:
    """Write the final model of STUDY to DIR, with a script that trains it again and a model card."""
    from automl.results import load_result

    result = load_result(study, home=common.home.path, storage=common.storage)
    with _progress(common, f"exporting {study}", unit="parts") as say:
        note = result.export(folder, force=force, say=say)
    names = sorted(path.name for path in folder.iterdir())
    listed = f"{folder}: {', '.join(names)}"
    common.give({"folder": str(folder), "files": names, "note": note}, lambda: f"{listed}\n{note}".strip())


def _predict(
    model_path: Path, spec: Any, file: Path, output: Path | None, encoding: str | None, say: Callable[[int, int], None]
) -> int:
    """Predict in a process that owns keras; the output appears whole or not at all."""
    from automl.executors.child import call_in_child
    from automl.predict import form_of, partial_path

    partial = None if output is None else partial_path(output)
    try:
        rows: int = call_in_child(
            "automl.predict:predict_file",
            say=say,
            model_path=model_path,
            spec=spec,
            path=file,
            encoding=encoding,
            partial=partial,
            form=".csv" if output is None else form_of(output),
        )
        if partial is not None and output is not None:
            os.replace(partial, output)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return rows


@contextmanager
def _progress(common: Common, what: str, *, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal, lines elsewhere, once two seconds have passed; nothing where nobody wants to read."""
    if common.quiet or common.json:
        yield lambda done, total: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, what) as say:
            yield say
    else:
        yield _lines(what, unit)


@contextmanager
def _bar(console: Any, what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _lines(what: str, unit: str) -> Callable[[int, int], None]:
    started = said = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - started > _SHOWN_AFTER_SECONDS and now - said > _LINE_SECONDS and done < total:
            said = now
            click.echo(f"{what}: {done:,} of {total:,} {unit}", err=True)

    return say
