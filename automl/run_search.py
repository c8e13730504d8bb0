"""`search` and `resume`: the one place that wires dataset, space, study, executor and tracker together."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from automl.data import PreparedDataset
from automl.data_request import DataRequest, names, source_of, source_of_split
from automl.dataset_spec import DatasetSpec
from automl.driver import Progress
from automl.durations import parse_seconds
from automl.errors import RequestError, UnknownNameError
from automl.executors.backends import TENSORFLOW, check_backend
from automl.executors.choice import check_executor
from automl.home import Home
from automl.narrowing import Setting
from automl.objective import Objective
from automl.parameters import Choice
from automl.results import Result
from automl.run_study import WORKERS_LOG, check_everywhere, early_workers, run_study, workers_of
from automl.search_space import SearchSpace
from automl.settings import DEFAULT_SECONDS, DEFAULT_TRIALS, SearchSettings
from automl.space_sources import AUTO, auto_space, default_space, find_space
from automl.standard_parameters import DTYPE_POLICIES
from automl.study.claims import is_shared
from automl.study.samplers import check_sampler
from automl.study.schedulers import check_scheduler
from automl.study.shared_study import SharedStudy
from automl.study.storage import open_storage, store_failures, stored_names
from automl.study.study import Study


@store_failures("the home folder", "free the disk or choose another --home, and run it again")
def search(
    dataset: object,
    space: str | SearchSpace | None = None,
    *,
    trials: int | None = None,
    time: str | float | None = None,
    epochs: int = 30,
    patience: int = 5,
    objective: str | None = None,
    sampler: str = "tpe",
    scheduler: str = "asha",
    executor: str = "local",
    workers: int | Literal["auto"] = "auto",
    gpus_per_trial: float | None = None,
    cpus_per_trial: float | None = None,
    resources: Mapping[str, float] | None = None,
    ray_address: str | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    backend: str = TENSORFLOW,
    dtype_policy: str | None = None,
    seed: int = 0,
    split_seed: int = 0,
    name: str | None = None,
    enqueue: Sequence[Mapping[str, Any]] = (),
    finalists: int = 3,
    refit: bool = True,
    trial_timeout: str | float | None = None,
    retries: int = 1,
    narrow: Mapping[str, Setting] | None = None,
    target: str | Sequence[str] | None = None,
    task: str | Sequence[str] | None = None,
    validation: object = None,
    test: object = None,
    encoding: str | None = None,
    group: str | None = None,
    time_column: str | None = None,
    sample_weight: str | None = None,
    class_weight: Literal["balanced"] | None = None,
    folds: int = 0,
    strict: bool = False,
    home: str | Path | None = None,
    storage: str | None = None,
    mlflow: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Search for the best architecture for a dataset.

    Without a budget, 50 trials or 10 minutes, whichever comes first.

    Args:
        dataset: A built-in name, a path (table, arrays, folder of images or texts), `openml:ID`, `tfds:NAME`,
            `hf:NAME`, arrays `(x, y)` or `(x, y, x_test, y_test)`, a pandas frame, or a `tf.data.Dataset` of `(x, y)`.
        space: A `SearchSpace`, a reference as for `find_space`, or `"auto"` to search across the families that suit the
            data; by default the one that suits it best.
        trials: Budget of complete and pruned trials, over all resumes.
        time: Budget of wall-clock time, finalists included, over all resumes: seconds, or a text such as `"10m"`,
            `"1h30m"`.
        epochs: Cap on the epochs of a trial.
        patience: Epochs without a better objective after which a trial ends; 0 turns that off.
        objective: `metric[:min|max]`; by default `val_accuracy`, for regression `val_rmse`, for multilabel `val_auc`,
            for several outputs `val_loss`.
        sampler: `tpe`, `random`, `grid` or `qmc`.
        scheduler: `asha`, `hyperband`, `median` or `none`.
        executor: `local`, or `ray`: in actors of a Ray cluster.
        workers: Worker processes, or `"auto"`: one a GPU, or else one a core; on Ray as many as there is room for.
        gpus_per_trial: Share of a GPU that a trial gets (0.5: two workers on each), or how many GPUs, or 0 for CPUs
            only; by default one, or less where there are more workers than GPUs.
        cpus_per_trial: CPU cores that a trial asks Ray for, which are its threads.
        resources: Further resources that a trial asks Ray for, by the cluster's names.
        ray_address: `HOST:PORT` of a Ray cluster, or `"auto"` for the one that this machine belongs to; by default Ray
            is started on this machine.
        runtime_env: What Ray sets up for the workers, as `ray.init` takes it.
        backend: What Keras trains on: `tensorflow`, `jax` or `torch`; final models are TensorFlow's in any case.
        dtype_policy: `mixed_bfloat16` or `mixed_float16`: compute in 16 bits, keep weights in 32. GPUs with tensor
            cores are faster so, CPUs are not. By default 32 bits.
        seed: Seed of proposals, weights, dropout and shuffling.
        split_seed: Seed of the split.
        name: Name of the study; by default `<dataset>-<space>-NNN`.
        enqueue: Whole or partial configs to be tried first; what they leave open is sampled.
        finalists: Configs that are re-trained on fresh seeds; 0: no re-training, no sealed test, no final model.
        refit: Train the winner once more, on training and validation rows together; the final model is that one.
        trial_timeout: Wall-clock time that a trial may take, as for `time`; one that takes longer fails, even where it
            hangs within an epoch. The check that the default config's model can be built has as long, or five minutes.
        retries: How often a trial is run again whose worker died, or that was short of memory beside others; it goes
            on from its last checkpoint.
        narrow: Parameters to fix or restrict, as for `SearchSpace.narrow`.
        target: Target column of a table, or several: a sequence, or one text with commas.
        task: `regression`, `binary`, `multiclass` or `multilabel`, where it should not be inferred; several give an
            output to each target.
        validation: Rows that validate, instead of some that are held out of the training rows: a path where the
            dataset is one; where it is Python objects, `(x, y)`, a frame or a `tf.data.Dataset` like it.
        test: The same for rows that become the test split.
        encoding: Text encoding of the dataset's files; guessed where not given.
        group: Column whose equal values stay in one split (and out of the features).
        time_column: Column that orders rows in time: the latest are the test split, the latest of the rest validate.
        sample_weight: Column of weights of the rows in the training loss.
        class_weight: `"balanced"`: classes count alike in the training loss, however rare.
        folds: Cross-validation: a trial trains so many models in lockstep and reports their mean; 0 for one split.
        strict: Refuse damaged rows, such as corrupt images, instead of leaving them out.
        home: The home folder; by default `AUTOML_HOME` or `./automl-runs`.
        storage: An Optuna storage URL; by default a journal file in the study's folder.
        mlflow: Log to MLflow: to `MLFLOW_TRACKING_URI`, or to a SQLite store in the home folder.
        progress: Called a few times a second with a `Progress`.

    Returns:
        What was found.

    Raises:
        RequestError: Something in the request is wrong (`DataError`, `SpaceError`, `UnknownNameError`); nothing is
            left behind.
        NoUsableModelError: No trial gave a value.
        SurroundingsError: Disk, store or workers failed; the study can be resumed.
        SearchInterrupted: SIGINT or SIGTERM; the study can be resumed.

    Example:
        ```python
        result = automl.search("digits", trials=25, seed=0)
        print(result.best.config, result.test_score)
        ```
    """
    started = clock.monotonic()
    settings = SearchSettings(
        trials=DEFAULT_TRIALS if trials is None and time is None else _positive("trials", trials),
        seconds=parse_seconds(time) if time is not None else None if trials is not None else DEFAULT_SECONDS,
        epochs=_positive("epochs", epochs) or 1,
        patience=_not_negative("patience", patience),
        sampler=check_sampler(sampler),
        scheduler=check_scheduler(scheduler),
        seed=_not_negative("seed", seed),
        split_seed=_not_negative("split-seed", split_seed),
        finalists=_not_negative("finalists", finalists),
        refit=refit,
        retries=_not_negative("retries", retries),
        trial_timeout_seconds=_seconds("trial-timeout", trial_timeout),
        workers=None if workers == "auto" else workers,
        gpus_per_trial=gpus_per_trial,
        executor=executor,
        ray_address=ray_address,
        cpus_per_trial=cpus_per_trial,
        resources=resources or {},
        runtime_env=runtime_env or {},
        backend=check_backend(backend),
        is_default_budget=trials is None and time is None,
    )
    check_executor(settings)
    if dtype_policy is not None and dtype_policy not in DTYPE_POLICIES:
        raise UnknownNameError("dtype policy", dtype_policy, DTYPE_POLICIES)
    data = DataRequest(
        source=source_of(dataset),
        target=names(target),
        task=names(task),
        validation=source_of_split("validation", validation, dataset),
        test=source_of_split("test", test, dataset),
        encoding=encoding,
        group=group,
        time_column=time_column,
        sample_weight=sample_weight,
        class_weight=class_weight,
        folds=folds,
        strict=strict,
        split_seed=split_seed,
    )
    found = find_space(space) if isinstance(space, str) and space != AUTO else space
    place = Home(home)
    place.create()
    with early_workers(settings, place) as runner:
        if storage is not None:
            open_storage(place.studies, storage)  # a wrong URL is said before anything is prepared
        prepared = data.prepare(data.load(dataset, validation=validation, test=test), place.datasets)
        chosen = _with_policy(_chosen(found, prepared.spec).narrow(narrow or {}), dtype_policy)
        goal = Objective.for_outputs(prepared.spec.outputs, objective)
        for config in enqueue:
            chosen.complete(config, lambda _, parameter: parameter.default)
        origin = {
            "data": data.to_json(),
            "narrow": {
                key: list(value) if isinstance(value, tuple) else value for key, value in (narrow or {}).items()
            },
            "ranges": [key for key, value in (narrow or {}).items() if isinstance(value, tuple)],
            "dtype_policy": dtype_policy,
            "fingerprint": prepared.spec.fingerprint,
            "mlflow": mlflow,
        }
        taken = stored_names(storage) if storage else ()
        folder = place.new_study_folder(name, f"{prepared.spec.name}-{chosen.name}", taken=taken)
        with place.driving(folder.name, shared=is_shared(storage)):
            try:
                runner.log_to(folder / WORKERS_LOG)
                runner.prepare(prepared.folder, chosen.build)
                check_everywhere(runner, chosen, settings)
                study = _study_class(storage).create(
                    folder,
                    storage=storage,
                    space=chosen,
                    spec=prepared.spec,
                    objective=goal,
                    settings=settings,
                    enqueue=enqueue,
                    origin=origin,
                )
            except BaseException:
                runner.close()
                place.delete_study(folder.name)
                raise
            return run_study(study, runner, place, started=started, mlflow=mlflow, progress=progress, storage=storage)


@store_failures("the home folder", "once it can be written, run it again")
def resume(
    study: str,
    *,
    space: SearchSpace | None = None,
    trials: int | None = None,
    time: str | float | None = None,
    workers: int | Literal["auto"] | None = None,
    gpus_per_trial: float | None = None,
    executor: str | None = None,
    ray_address: str | None = None,
    trial_timeout: str | float | None = None,
    retries: int | None = None,
    home: str | Path | None = None,
    storage: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Go on with a study that was interrupted, or give a finished one a larger budget.

    Trials that were running go on from their last checkpoints, under their numbers. Nothing that was reported is
    lost or repeated in MLflow. With a `storage` that other drivers work on, this one joins them, from another home too.

    Args:
        study: The study's name.
        space: The space it was started with, where that cannot be found again by its name, module or file.
        trials: New total budget of complete and pruned trials.
        time: New total budget of wall-clock time.
        workers: Worker processes; by default as before.
        gpus_per_trial: Share of a GPU, or GPUs, that a trial gets; by default as before.
        executor: `local` or `ray`; by default as before.
        ray_address: Ray cluster to join; by default as before.
        trial_timeout: Wall-clock time that a trial may take; by default as before.
        retries: How often a trial is run again whose worker died; by default as before.
        home: The home folder; by default `AUTOML_HOME` or `./automl-runs`.
        storage: The Optuna storage URL that the search was given, if any.
        progress: Called a few times a second with a `Progress`.

    Returns:
        What was found.

    Raises:
        RequestError: There is no such study, or its dataset or space has changed.
        NoUsableModelError: No trial gave a value.
        SurroundingsError: Disk, store or workers failed; the study can be resumed again.
        SearchInterrupted: SIGINT or SIGTERM; the study can be resumed again.

    Example:
        ```python
        result = automl.resume("digits-mlp-001", trials=100)
        ```
    """
    started = clock.monotonic()
    revised: dict[str, Any] = {
        "trials": _positive("trials", trials),
        "seconds": _seconds("time", time),
        "retries": None if retries is None else _not_negative("retries", retries),
        "trial_timeout_seconds": _seconds("trial-timeout", trial_timeout),
    }
    place = Home(home)
    with _joined(place, study, storage):
        folder = place.study_folder(study)
        stored = Study.open(folder, storage=storage)
        wanted = _moved(stored.settings, workers, gpus_per_trial, executor, ray_address)
        check_executor(wanted)
        check_backend(wanted.backend)
        runner = workers_of(wanted, folder / WORKERS_LOG, place)
        try:
            runner.start()  # workers import Keras while the data is looked at
            prepared = _prepare_again(study, stored.origin, place)
            chosen = _with_policy(space or _find_again(study, stored.origin), stored.origin.get("dtype_policy"))
            opened = _study_class(storage).open(folder, storage=storage, space=chosen)
            opened.revise(**revised)
            runner.prepare(prepared.folder, chosen.build)
        except BaseException:
            runner.close()
            raise
        mlflow = bool(stored.origin["mlflow"])
        return run_study(opened, runner, place, started=started, mlflow=mlflow, progress=progress, storage=storage)


@contextmanager
def _joined(home: Home, study: str, storage: str | None) -> Iterator[None]:
    """Hold a study that is to be resumed; its folder, where it is new, goes again if nothing comes of that."""
    stored = stored_names(storage) if storage is not None else []
    is_new = is_shared(storage) and home.join_study(study, stored=stored)
    try:
        with home.driving(study, shared=is_shared(storage)):
            yield
    except BaseException:
        if is_new:
            home.leave_study(study)
        raise


def _study_class(storage: str | None) -> type[Study]:
    return SharedStudy if is_shared(storage) else Study


def _moved(
    before: SearchSettings,
    workers: int | Literal["auto"] | None,
    gpus_per_trial: float | None,
    executor: str | None,
    ray_address: str | None,
) -> SearchSettings:
    """Return settings for another machine or executor; what is None stays as before."""
    moved = replace(
        before,
        workers=before.workers if workers is None else None if workers == "auto" else workers,
        gpus_per_trial=before.gpus_per_trial if gpus_per_trial is None else gpus_per_trial,
        executor=executor or before.executor,
        ray_address=ray_address or before.ray_address,
    )
    if executor == "local":  # what was asked of a cluster before does not hold here
        return replace(moved, ray_address=ray_address, cpus_per_trial=None, resources={}, runtime_env={})
    return moved


def _chosen(space: str | SearchSpace | None, spec: DatasetSpec) -> SearchSpace:
    """Return the space that was asked for, or the one that suits the data."""
    if isinstance(space, SearchSpace):
        return space
    return auto_space(spec) if space == AUTO else find_space(default_space(spec))


def _find_again(study: str, origin: Mapping[str, Any]) -> SearchSpace:
    if not origin["space_source"]:
        raise RequestError(f"the space of study {study!r} lives in Python only: automl.resume({study!r}, space=...)")
    ranges = origin["ranges"]
    settings = {key: tuple(value) if key in ranges else value for key, value in origin["narrow"].items()}
    return find_space(origin["space_source"]).narrow(settings)


def _with_policy(space: SearchSpace, dtype_policy: str | None) -> SearchSpace:
    """Return the space with a policy in each of its configs, where one was asked for."""
    if dtype_policy is None:
        return space
    if any(parameter.name == "dtype_policy" for parameter in space.parameters):
        raise RequestError(
            f"--dtype-policy: space {space.name!r} chooses it itself; fix it by --set dtype_policy={dtype_policy}"
        )
    return replace(space, parameters=[*space.parameters, Choice("dtype_policy", [dtype_policy])])


def _prepare_again(study: str, origin: Mapping[str, Any], home: Home) -> PreparedDataset:
    data = DataRequest.from_json(origin["data"])
    cached = home.datasets / origin["fingerprint"]
    if data.source is None or (data.is_missing_file and cached.exists()):
        return PreparedDataset.open(cached)
    raw = data.load()
    prepared = data.prepare(raw, home.datasets)
    if prepared.spec.fingerprint != origin["fingerprint"]:
        reason = f"the content of {' or '.join(data.sources)} has changed since study {study!r} began"
        if "validation" in raw.given and "validation" not in origin["data"]:  # asked of an older version
            reason = f"{data.source} gives validation rows, which study {study!r} did not know as such when it began"
        raise RequestError(f"{reason}: start a new search on it")
    return prepared


def _seconds(name: str, value: str | float | None) -> float | None:
    return None if value is None else parse_seconds(value, name)


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and (not isinstance(value, int) or value < 1):
        raise RequestError(f"--{name} takes a whole number from 1, received {value!r}")
    return value


def _not_negative(name: str, value: int) -> int:
    if not isinstance(value, int) or value < 0:
        raise RequestError(f"--{name} takes a whole number from 0, received {value!r}")
    return value
