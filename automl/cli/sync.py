"""`automl sync`: sends to MLflow what it has not got of studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from automl.cli.options import Common, common_options, say_error
from automl.errors import RequestError, SurroundingsError

if TYPE_CHECKING:
    from automl.tracking.mlflow_sync import Sent


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY...]")
@click.option("--all", "all_studies", is_flag=True, help="Every study that was not searched with --no-mlflow.")
@common_options
def sync(common: Common, studies: tuple[str, ...], all_studies: bool) -> None:
    """Send to MLflow what it has not got of each STUDY, finished or interrupted.

    A search sends by itself; this is for what an outage of MLflow left over, for studies searched with --no-mlflow, and
    for another MLflow (MLFLOW_TRACKING_URI).
    """
    if bool(studies) == all_studies:
        raise click.UsageError("name the STUDY to send, or give --all")
    done: dict[str, dict[str, Any]] = {}
    refused = 0
    for name in studies or common.home.study_names():
        sent = _send_listed(common, name) if all_studies else _send(common, name)
        if sent is None:
            continue
        common.say(f"{name}: {_told(sent)}")
        done[name] = {"uri": sent.uri, "sent": sent.sent, "known": sent.known, "refused": sent.refused}
        refused += sent.refused
    if common.json:
        common.give(done, str)
    if refused:
        raise SurroundingsError(f"MLflow refuses {refused} runs; why is said above")


def _send_listed(common: Common, name: str) -> Sent | None:
    """Send one of all studies; those that cannot be sent now are passed over."""
    from automl.study.study import Study

    try:
        is_tracked = Study.open(common.home.study_folder(name), storage=common.storage).origin.get("mlflow", True)
        return _send(common, name) if is_tracked else None
    except RequestError as error:  # never wholly created, or being searched: its own driver sends it
        say_error(error)
        return None


def _send(common: Common, name: str) -> Sent:
    from automl.results import load_record
    from automl.tracking.mlflow import store_of
    from automl.tracking.mlflow_sync import send_study

    with common.home.driving(name):
        return send_study(load_record(name, home=common.home, storage=common.storage), *store_of(common.home))


def _told(sent: Sent) -> str:
    if not sent.sent and not sent.refused:
        return f"nothing to send, {sent.known} runs are in MLflow at {sent.uri}"
    return f"{sent.sent} runs sent, {sent.known} were there (MLflow at {sent.uri})"
