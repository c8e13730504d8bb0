"""Does every config of every installed space work? Run `python -m benchmarks.spaces --configs 50`.

Draws configs at random and holds each to the contract of `automl.testing`: it builds, fits the dataset, trains a step,
is saved and loaded, and predicts the same. Exits with 1 where one does not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from automl import find_space
from automl.space_sources import known_spaces
from automl.testing import check_config, example_spec, probes

SUITABLE = {
    "linear": ["numbers", "image", "array", "table", "text", "two outputs"],
    "mlp": ["numbers", "image", "array", "table", "text", "two outputs"],
    "cnn": ["image"],
    "resnet": ["image"],
    "tabular": ["numbers", "array", "table", "text", "two outputs"],
    "text": ["text", "table", "two outputs"],
    "transfer": ["image"],
}
"""The kinds of data that a space is for; all kinds for spaces of other packages."""


def check_space(name: str, kind: str, configs: int, folder: Path) -> list[str]:
    """Return what is wrong with a space's configs on one kind of data, a line a config."""
    space, spec = find_space(name), example_spec(kind)
    wrong = []
    for label, config in probes(space, random_configs=configs).items():
        try:
            check_config(space, config, spec, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding, and the other configs go on
            reason = " ".join(str(error).split())[-300:]
            wrong.append(f"{name} on {kind}, {label}: {type(error).__name__}: {reason} {config}")
    return wrong


def main() -> int:
    """Run the contract, print a row for each space and kind of data, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="*", help="names of installed spaces; by default all")
    parser.add_argument("--configs", type=int, default=50, help="random configs of each space and kind of data")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("AUTOML_TRANSFER_WEIGHTS", "random")
    failures: list[str] = []
    print(f"{'space':<12} {'data':<12} {'configs':>8} {'failed':>7} {'seconds':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.spaces or known_spaces():
            for kind in SUITABLE.get(name, SUITABLE["mlp"]):
                started = time.monotonic()
                wrong = check_space(name, kind, arguments.configs, Path(folder))
                seconds = time.monotonic() - started
                print(f"{name:<12} {kind:<12} {arguments.configs + 3:>8} {len(wrong):>7} {seconds:>8.1f}", flush=True)
                failures += wrong
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
