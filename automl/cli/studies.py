"""`automl status`, `best`, `report` and `delete`: about studies that are there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from automl.cli.options import Common, common_options, say_error, text_table
from automl.errors import AutomlError, RequestError

if TYPE_CHECKING:
    from automl.results import StudyRecord


def _records(common: Common, names: tuple[str, ...]) -> list[StudyRecord]:
    """Read the named studies, or all; with all, one that cannot be read is passed over."""
    from automl.results import load_record

    records = []
    for name in names or common.home.study_names():
        try:
            records.append(load_record(name, home=common.home, storage=common.storage))
        except AutomlError as error:
            if names:
                raise
            say_error(error)
    if not records:
        raise RequestError(f"no study in {common.home.path}: start one with automl search DATASET")
    return records


@click.command()
@click.argument("study", required=False)
@common_options
def status(common: Common, study: str | None) -> None:
    """Show how studies stand, running ones too; of one STUDY, its trials."""
    from automl.cli.summary import result_json
    from automl.results import TrialState

    records = _records(common, (study,) if study else ())
    if study is not None:
        (record,) = records
        common.give(
            result_json(record) | {"all_trials": [trial.to_json() for trial in record.trials]},
            lambda: _trials_text(record),
        )
        return
    rows = [
        [
            record.name,
            "done" if record.final else "searched" if record.ranked else "no result",
            str(record.count(TrialState.COMPLETE) + record.count(TrialState.PRUNED)),
            str(record.count(TrialState.FAILED)),
            "" if record.best is None else f"{record.objective.metric} {record.best.value:.4f}",
            f"{record.elapsed_seconds:.0f} s",
        ]
        for record in records
    ]
    common.give(
        [result_json(record) for record in records],
        lambda: text_table(["study", "state", "trials", "failed", "best", "time"], rows),
    )


def _trials_text(record: StudyRecord) -> str:
    rows = [
        [
            str(trial.number),
            trial.state.value + (f" ({trial.reason})" if trial.reason else ""),
            "" if trial.value is None else f"{trial.value:.4f}",
            str(len(trial.epochs)),
            f"{trial.seconds:.1f}",
            ", ".join(attempt.reason for attempt in trial.attempts),
        ]
        for trial in record.trials
    ]
    return text_table(["trial", "state", record.objective.metric, "epochs", "seconds", "run again after"], rows)


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY...]")
@common_options
def best(common: Common, studies: tuple[str, ...]) -> None:
    """Show the best architecture of each STUDY, or of all."""
    from automl.cli.summary import best_text, result_json

    records = _records(common, studies)
    common.give([result_json(record) for record in records], lambda: best_text(records))


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY...]")
@click.option("--output", metavar="PATH", help="Where to write the page [report.html in the study's or home folder].")
@common_options
def report(common: Common, studies: tuple[str, ...], output: str | None) -> None:
    """Write one self-contained HTML page about each STUDY, or about all."""
    from automl.results import write_report

    records = _records(common, studies)
    folder = records[0].folder if len(records) == 1 else common.home.path
    path = write_report(records, Path(output) if output else folder / "report.html")
    common.give({"report": str(path)}, lambda: str(path))


@click.command()
@click.argument("study")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def delete(common: Common, study: str, yes: bool) -> None:
    """Delete a STUDY: its trials, checkpoints, model and report. Its MLflow runs stay.

    It takes half a minute where a driver of another home was killed over a study in a --storage: it might be alive.
    """
    from automl.study.claims import living_driver
    from automl.study.storage import JOURNAL_NAME, delete_stored

    folder = common.home.study_folder(study)
    if not yes:
        click.confirm(f"delete {folder} and everything in it?", abort=True)
    with common.home.driving(study):  # not under a living search
        if common.storage is not None:
            if driver := living_driver(common.storage, study, folder, watching=lambda one: _say_wait(common, one)):
                raise RequestError(
                    f"study {study!r} is being searched by driver {driver}: end it there, and delete again"
                )
            delete_stored(study, common.storage)
        elif not (folder / JOURNAL_NAME).exists() and (folder / "workers.log").exists():
            raise RequestError(f"study {study!r} was searched with --storage: give it, or its rows there stay for ever")
        common.home.delete_study(study)
    common.say(f"deleted {study}")


def _say_wait(common: Common, driver: str) -> None:
    common.say(f"waiting up to half a minute for a sign of driver {driver}, which has not said that it ended")
