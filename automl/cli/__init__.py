"""The command line: parse, call, print. What is said here is decided elsewhere.

Commands import what they need when they run, so that `automl --help` answers at once.
"""

from __future__ import annotations

import logging
import signal
import sys
from typing import NoReturn

import click

from automl.cli.catalog import datasets, spaces
from automl.cli.deploy import export, predict
from automl.cli.options import WarningsHandler, say_error
from automl.cli.search import resume, search
from automl.cli.services import doctor, ui
from automl.cli.studies import best, delete, report, status
from automl.cli.sync import sync
from automl.errors import AutomlError, SearchInterrupted, SurroundingsError

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keras-automl", prog_name="automl")
def cli() -> None:
    """Find the best Keras architecture for a dataset by a deadline, and show how it was found.

    \b
    automl search digits                      the main job
    automl search my.csv --target price       a table
    automl report                             what was found, as one HTML page
    """  # noqa: D301 - click wants the character itself, which keeps the lines apart


for command in (search, resume, status, best, report, predict, export, delete, sync, spaces, datasets, ui, doctor):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command line; every wrong request ends in one clear line and an exit code, never in a traceback.

    Exit codes: 0 done; 1 no usable model; 2 wrong request; 3 the surroundings failed, resumable; 130 interrupted,
    resumable.
    """
    own, handler = logging.getLogger("automl"), WarningsHandler()
    own.addHandler(handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: in order, whatever is going on
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except AutomlError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort) as error:
        interrupted = _interrupted_search(error)
        _fail("interrupted" if interrupted is None else f"interrupted: {interrupted}", _INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nobody is left to be told
        sys.exit(0)
    except OSError as error:  # of a disk, in a place that says nothing better of it
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", SurroundingsError.exit_code)
    finally:
        own.removeHandler(handler)


def _interrupted_search(error: BaseException | None) -> SearchInterrupted | None:
    """Return what says how to go on, where a search was interrupted.

    Click wraps it, and a further signal may come while what it passes is closed.
    """
    if error is None or isinstance(error, SearchInterrupted):
        return error
    return _interrupted_search(error.__cause__ or error.__context__)


def _fail(message: str, code: int) -> NoReturn:
    say_error(message)
    sys.exit(code)
