"""`automl search` and `automl resume`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automl.cli.options import Common, WorkerCount, common_options, say_error
from automl.errors import AutomlError, RequestError

if TYPE_CHECKING:
    from automl.driver import Progress
    from automl.results import Result


_DATA_OPTIONS = (
    click.option("--target", metavar="COLUMN[,COLUMN]", help="Target column of a table, or several."),
    click.option("--task", metavar="TASK[,TASK]", help="regression, binary, multiclass, multilabel [inferred]."),
    click.option("--validation", metavar="PATH", help="Rows that validate [some held out of the training rows]."),
    click.option("--test", metavar="PATH", help="Rows that become the sealed test split."),
    click.option("--encoding", metavar="NAME", help="Text encoding of the files, such as latin-1 [guessed]."),
    click.option("--group", metavar="COLUMN", help="Rows of one value stay in one split; no feature."),
    click.option("--time-column", metavar="COLUMN", help="The latest rows are the test split, then validation."),
    click.option("--folds", type=int, default=0, metavar="K", help="Cross-validation: K models a trial, their mean."),
    click.option("--sample-weight", metavar="COLUMN", help="Weights of the rows in the training loss; no feature."),
    click.option("--class-weight", metavar="balanced", help="Let rare classes count as much as frequent ones."),
    click.option("--strict", is_flag=True, help="Refuse damaged rows, such as corrupt images; else leave them out."),
    click.option("--split-seed", type=int, default=0, metavar="N", help="Of the split [0]."),
)


def _data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_DATA_OPTIONS):
        function = option(function)
    return function


@click.command()
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...")
@click.option(
    "--space", metavar="SPACE", help="Name, auto, module:attribute, file.py:attribute, file.yaml [by the data]."
)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Fix (adam), restrict (64..256 or a,b).")
@_data_options
@click.option("--trials", type=int, metavar="N", help="Budget of trials [50, unless --time is given].")
@click.option("--time", metavar="DURATION", help="Budget of time, everything included [10m, unless --trials is given].")
@click.option("--epochs", type=int, default=30, metavar="N", help="Cap on the epochs of a trial [30].")
@click.option("--patience", type=int, default=5, metavar="N", help="Epochs without a better value [5]; 0: off.")
@click.option("--objective", metavar="METRIC[:min|max]", help="What is optimised [val_accuracy, val_rmse or val_auc].")
@click.option("--sampler", default="tpe", metavar="NAME", help="tpe, random, grid or qmc [tpe].")
@click.option("--scheduler", default="asha", metavar="NAME", help="asha, hyperband, median or none [asha].")
@click.option("--executor", default="local", metavar="NAME", help="local, or ray [local].")
@click.option(
    "--workers", type=WorkerCount(), default="auto", help="Worker processes [auto: one a GPU, or one a core]."
)
@click.option("--gpus-per-trial", type=float, metavar="F", help="Share of a GPU (0.5), or GPUs, a trial [1; 0: none].")
@click.option("--cpus-per-trial", type=float, metavar="F", help="Cores that a trial asks Ray for: its threads [1].")
@click.option("--resources", multiple=True, metavar="NAME=N", help="What else a trial asks Ray for.")
@click.option("--ray-address", metavar="HOST:PORT", help="Ray cluster to join, or auto [Ray on this machine].")
@click.option("--runtime-env", metavar="FILE.yaml", help="What Ray sets up for the workers.")
@click.option("--backend", default="tensorflow", metavar="NAME", help="tensorflow, jax or torch [tensorflow].")
@click.option("--dtype-policy", metavar="NAME", help="mixed_bfloat16 or mixed_float16, for GPUs [float32].")
@click.option("--seed", type=int, default=0, metavar="N", help="Of proposals, weights, dropout and shuffling [0].")
@click.option("--name", metavar="STUDY", help="Name of the study [<dataset>-<space>-NNN].")
@click.option("--enqueue", metavar="FILE.yaml", help="A list of configs, whole or partial, to try first.")
@click.option("--finalists", type=int, default=3, metavar="N", help="Configs re-trained on fresh seeds [3]; 0: none.")
@click.option("--refit/--no-refit", default=True, help="Train the winner on validation rows too, at the end [yes].")
@click.option("--trial-timeout", metavar="DURATION", help="What a trial may take before it fails [no bound].")
@click.option("--retries", type=int, default=1, metavar="N", help="Further runs of a trial whose worker died [1].")
@click.option("--no-mlflow", is_flag=True, help="Do not log to MLflow.")
@common_options
def search(
    common: Common,
    datasets: tuple[str, ...],
    settings: tuple[str, ...],
    enqueue: str | None,
    name: str | None,
    no_mlflow: bool,
    resources: tuple[str, ...],
    runtime_env: str | None,
    **options: Any,
) -> None:
    """Find the best architecture for each DATASET.

    A built-in name (automl datasets); a path to a table (.csv, .tsv, .parquet), to arrays (.npz, IDX files) or to a
    folder or .zip of images or texts, one folder a class; or openml:ID, tfds:NAME, hf:NAME.
    """
    from automl.narrowing import parse_settings
    from automl.run_search import search as run

    if name is not None and len(datasets) > 1:
        raise RequestError(f"--name names one study, received {len(datasets)} datasets: search them one by one")
    narrow = parse_settings(settings)
    queued = [] if enqueue is None else _read_configs(Path(enqueue))
    options |= {"resources": _amounts(resources), "runtime_env": _read_runtime_env(runtime_env)}
    if len(datasets) > 1:
        _check_all(datasets, options)
    results: list[Result] = []
    failures: list[AutomlError] = []
    for dataset in datasets:

        def go(progress: Callable[[Progress], None], dataset: str = dataset) -> Result:
            return run(
                dataset,
                name=name,
                narrow=narrow,
                enqueue=queued,
                mlflow=not no_mlflow,
                home=common.home.path,
                storage=common.storage,
                progress=progress,
                **options,
            )

        try:
            results.append(_watched(common, go, f"preparing {dataset}"))
        except AutomlError as error:  # the other datasets are searched all the same, and what was found is shown
            failures.append(error)
        except KeyboardInterrupt:
            _conclude(common, results)
            raise
    _conclude(common, results)
    for failure in failures[1:]:
        say_error(failure)
    if failures:
        raise failures[0]


@click.command()
@click.argument("study")
@click.option("--trials", type=int, metavar="N", help="New total budget of trials.")
@click.option("--time", metavar="DURATION", help="New total budget of time.")
@click.option("--workers", type=WorkerCount(), help="Worker processes [as before].")
@click.option("--gpus-per-trial", type=float, metavar="F", help="Share of a GPU, or GPUs, a trial [as before].")
@click.option("--executor", metavar="NAME", help="local, or ray [as before].")
@click.option("--ray-address", metavar="HOST:PORT", help="Ray cluster to join, or auto [as before].")
@click.option("--trial-timeout", metavar="DURATION", help="What a trial may take before it fails [as before].")
@click.option("--retries", type=int, metavar="N", help="Further runs of a trial whose worker died [as before].")
@common_options
def resume(common: Common, study: str, **options: Any) -> None:
    """Go on with an interrupted STUDY, or give a finished one a larger budget."""
    from automl.run_search import resume as run

    def go(progress: Callable[[Progress], None]) -> Result:
        return run(study, home=common.home.path, storage=common.storage, progress=progress, **options)

    _conclude(common, [_watched(common, go, f"opening {study}")])


def _watched(common: Common, go: Callable[[Callable[[Progress], None]], Result], first: str) -> Result:
    """Run a search with a live view on a terminal, lines elsewhere, and nothing where nobody wants to read."""
    if common.quiet or common.json:
        return go(lambda progress: None)
    from dashboards.terminal import Scene, open_view

    with open_view(first) as view:
        return go(
            lambda progress: view.show(
                Scene(
                    record=progress.record,
                    phase=progress.phase,
                    finalists_running=progress.running,
                    seconds_left=progress.seconds_left,
                    note=progress.note,
                )
            )
        )


def _conclude(common: Common, results: list[Result]) -> None:
    if not results:
        return
    from automl.cli.summary import best_text, next_commands, result_json

    common.give([result_json(one.record) for one in results], lambda: best_text([one.record for one in results]))
    common.say("\n" + next_commands([one.record for one in results], common))


def _read_yaml(option: str, path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise RequestError(f"{option} {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{option} {path} is no YAML: {' '.join(str(error).split())}") from error


def _amounts(settings: tuple[str, ...]) -> dict[str, float]:
    """Read `NAME=N` settings."""
    amounts = {}
    for setting in settings:
        name, _, amount = setting.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError:
            raise RequestError(f"--resources takes NAME=N, such as accelerator=1, received {setting!r}") from None
    return amounts


def _read_runtime_env(path: str | None) -> dict[str, Any]:
    content = {} if path is None else _read_yaml("--runtime-env", Path(path))
    if not isinstance(content, dict):
        raise RequestError(f"--runtime-env {path} holds a mapping, such as 'pip: [einops]'")
    return content


def _read_configs(path: Path) -> list[dict[str, Any]]:
    content = _read_yaml("--enqueue", path)
    configs = [content] if isinstance(content, dict) else content
    if not isinstance(configs, list) or not all(isinstance(one, dict) for one in configs):
        raise RequestError(f"--enqueue {path} holds a list of configs, such as '- batch_size: 64'")
    return configs


def _check_all(datasets: tuple[str, ...], options: Mapping[str, Any]) -> None:
    """Refuse a wrong dataset before the first search has spent an hour."""
    from automl.data import load
    from automl.data_request import names

    read = ("validation", "test", "encoding", "group", "time_column", "sample_weight", "strict")
    for dataset in datasets:
        load(dataset, target=names(options["target"]) or None, **{name: options[name] for name in read})
