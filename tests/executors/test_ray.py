"""The Ray executor: the contract, on one Ray of this machine for all tests, and what only a cluster can show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from contract import ExecutorContract

from automl.executors.ray_actors import RayExecutor
from automl.executors.ray_cluster import connect
from automl.executors.ray_request import RayRequest

MakeRay = Callable[[], RayExecutor]


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    cluster = connect(RayRequest(workers=4))
    yield
    cluster.disconnect()
    assert not ray.is_initialized()


@pytest.fixture(scope="module")
def log_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "workers.log"


class TestRayExecutor(ExecutorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_executor(cls, log_path: Path) -> MakeRay:
        return lambda: RayExecutor(RayRequest(workers=2), log_path=log_path)
