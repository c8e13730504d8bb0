"""Which executors there are, and how settings make one. Ray is loaded only where it is chosen."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from automl.errors import RequestError, UnknownNameError
from automl.executors.base import Executor
from automl.executors.devices import plan_slots
from automl.executors.local import LocalExecutor
from automl.executors.ray_request import RayRequest
from automl.settings import SearchSettings

EXECUTORS = ("local", "ray")


def check_executor(settings: SearchSettings) -> None:
    """Refuse what no executor can do, before anything is started.

    Raises:
        RequestError: There is no such executor, or its options do not fit.
    """
    if settings.executor not in EXECUTORS:
        raise UnknownNameError("executor", settings.executor, EXECUTORS)
    if settings.executor == "ray":
        _ray_request(settings)
        return
    plan_slots(settings.workers, settings.gpus_per_trial)
    asked = {
        "--ray-address": settings.ray_address,
        "--cpus-per-trial": settings.cpus_per_trial,
        "--resources": settings.resources,
        "--runtime-env": settings.runtime_env,
    }
    for option, value in asked.items():
        if value:
            raise RequestError(f"{option} asks something of a Ray cluster: add --executor ray")


def make_executor(settings: SearchSettings, *, log_path: Path, compiled: Path, also: Collection[str]) -> Executor:
    """Return an executor that is not started.

    Args:
        settings: Which, and with what.
        log_path: File that takes what workers print.
        compiled: Folder that keeps compiled code for later searches.
        also: Backends that calls will need beside the one that trains.
    """
    if settings.executor == "ray":
        from automl.executors.ray_tune import RayExecutor

        return RayExecutor(_ray_request(settings), log_path=log_path, backend=settings.backend, compiled=compiled)
    slots = plan_slots(settings.workers, settings.gpus_per_trial)
    return LocalExecutor(slots, log_path=log_path, backend=settings.backend, also=also, compiled=compiled)


def _ray_request(settings: SearchSettings) -> RayRequest:
    return RayRequest(
        address=settings.ray_address,
        workers=settings.workers,
        cpus_per_trial=settings.cpus_per_trial,
        gpus_per_trial=settings.gpus_per_trial,
        resources=settings.resources,
        runtime_env=settings.runtime_env,
    )
