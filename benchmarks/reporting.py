"""What the benchmarks share: tables as Markdown, JSON files, and the machine that a figure comes from."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from automl.cores import core_count
from automl.executors.gpus import list_gpus


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    Example:
        >>> print(table(["system", "seconds"], [["automl", 1.5]]))
        | system | seconds |
        | --- | --- |
        | automl | 1.5 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def machine() -> dict[str, Any]:
    """Return what a figure depends on: cores, GPUs, and versions."""
    return {
        "cores": core_count(),
        "processor": _processor(),
        "gpus": [gpu.name for gpu in list_gpus()],
        "python": platform.python_version(),
        **{name: version(name) for name in ("tensorflow", "keras", "optuna", "mlflow")},
    }


def write_json(path: Path | None, values: Mapping[str, Any]) -> None:
    """Write a benchmark's figures beside the machine's, where a path was given."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **values}, indent=1) + "\n", "utf-8")


def data_folder() -> Path:
    """Return the folder `AUTOML_DATA`; the peers' scripts lie in the folder `bench` beside it.

    Raises:
        SystemExit: The variable is not set, or names no folder.
    """
    folder = Path(os.environ.get("AUTOML_DATA", "")).resolve()
    if "AUTOML_DATA" not in os.environ or not folder.is_dir():
        raise SystemExit("set AUTOML_DATA to the folder that holds mnist.npz, fashion_mnist.npz and cifar10_images.zip")
    return folder


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
