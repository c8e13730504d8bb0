"""Options and printing that commands share."""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from automl.home import Home
from automl.printable import printable
from automl.storage_url import STORAGE_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])


class WorkerCount(click.ParamType[int | str]):
    """A positive number, or `auto`."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or `auto`."""
        if value == "auto":
            return "auto"
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"expected a number from 1, or 'auto', received {value!r}", param, ctx)
        return int(value)


@dataclass(frozen=True, kw_only=True)
class Common:
    """What `--home --storage --json --quiet` said.

    Attributes:
        home: The home folder.
        storage: An Optuna storage URL, or None.
        json: Print JSON for machines instead of tables for people.
        quiet: Print results only.
    """

    home: Home
    storage: str | None
    json: bool
    quiet: bool

    def say(self, text: str) -> None:
        """Print a line for people, unless they asked for quiet or for JSON."""
        if not self.quiet and not self.json:
            click.echo(printable(text))

    def give(self, value: Any, text: Callable[[], str]) -> None:
        """Print a result: as JSON, or as text for people."""
        click.echo(
            json.dumps(_standard(value), indent=1, default=str, allow_nan=False) if self.json else printable(text())
        )


def _standard(value: Any) -> Any:
    """Return a value without NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _standard(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_standard(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say_error(error: object) -> None:
    """Print what is wrong, in one line of standard error."""
    click.echo(f"automl: {printable(' '.join(str(error).split()))}", err=True)


class WarningsHandler(logging.Handler):
    """Prints what our own modules log: a line each, in which nothing steers the terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        click.echo(printable(self.format(record)), err=True)


def common_options(function: F) -> F:
    """Add `--home --storage --json --quiet`; the command gets them as its first argument, a `Common`."""

    @click.option("--home", metavar="DIR", help="Home folder [AUTOML_HOME, or ./automl-runs].")
    @click.option(
        "--storage",
        metavar="URL",
        envvar=STORAGE_VARIABLE,
        help=f"Optuna storage of the studies [{STORAGE_VARIABLE}, or a journal in the home folder].",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
    @click.option("--quiet", "-q", is_flag=True, help="Print results only.")
    @functools.wraps(function)
    def with_common(
        *arguments: Any, home: str | None, storage: str | None, as_json: bool, quiet: bool, **options: Any
    ) -> Any:
        common = Common(home=Home(home), storage=storage, json=as_json, quiet=quiet)
        return function(common, *arguments, **options)

    return with_common  # type: ignore[return-value]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain table of columns that line up."""
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    return "\n".join(line.rstrip() for line in lines)
