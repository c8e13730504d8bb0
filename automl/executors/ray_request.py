"""`RayRequest`: what a search asks of a Ray cluster. It loads no ray, so that a wrong request is told at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automl.errors import RequestError


@dataclass(frozen=True, kw_only=True)
class RayRequest:
    """What a search asks of a Ray cluster.

    Attributes:
        address: `HOST:PORT` of a running cluster, `"auto"` for the one that this machine belongs to, None to start Ray
            here for this search alone.
        workers: Trials at a time; None for as many as there is room for.
        cpus_per_trial: CPU cores of a trial; None for one, on this machine for its share of the cores.
        gpus_per_trial: GPUs of a trial: a part of one (0.25), or several; None for one where the cluster has GPUs.
        resources: Further resources of a trial, by the cluster's own names.
        runtime_env: What Ray sets up for the workers (packages, files, environment), as Ray's documentation has it;
            a process that is connected to Ray already has given it to `ray.init`.

    Example:
        >>> RayRequest(gpus_per_trial=0.25).demand(has_gpus=True)
        {'CPU': 1.0, 'GPU': 0.25}
    """

    address: str | None = None
    workers: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    runtime_env: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse amounts that Ray cannot give.

        Raises:
            RequestError: An amount is not positive, or above one and no whole number.
        """
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise RequestError(f"--workers takes a number from 1, or 'auto', received {self.workers!r}")
        if self.cpus_per_trial is not None:
            _check_amount("--cpus-per-trial", self.cpus_per_trial)
        if self.gpus_per_trial:
            _check_amount("--gpus-per-trial", self.gpus_per_trial)
        for name, amount in self.resources.items():
            if name in ("CPU", "GPU", "memory", "object_store_memory"):
                raise RequestError(f"--resources {name}: use --cpus-per-trial and --gpus-per-trial")
            _check_amount(f"--resources {name}", amount)

    def demand(self, *, has_gpus: bool, cpus: float = 1.0) -> dict[str, float]:
        """Return what a trial asks for, by Ray's names.

        Args:
            has_gpus: The cluster has GPUs.
            cpus: Cores of a trial where the request names none.
        """
        gpus = self.gpus_per_trial if self.gpus_per_trial is not None else float(has_gpus)
        demand = {"CPU": self.cpus_per_trial or cpus, **({"GPU": gpus} if gpus else {})}
        return {**demand, **self.resources}


def words(amounts: Mapping[str, float]) -> str:
    """Say what resources there are.

    Example:
        >>> words({"GPU": 0.5, "CPU": 2.0})
        '2 CPU, 0.5 GPU'
    """
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(amounts.items()) if amount) or "nothing"


def _check_amount(option: str, amount: float) -> None:
    if not isinstance(amount, int | float) or not 0 < amount < math.inf:
        raise RequestError(f"{option} takes a number above 0, received {amount!r}")
    if amount > 1 and amount != int(amount):
        raise RequestError(
            f"{option} takes a part of one (0.5) or a whole number (2), received {amount:g}: Ray shares out no other"
        )
