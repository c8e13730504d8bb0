"""KerasTuner's own hypermodels keep the contract: found in bounded time; default and random configs train and save.

python -m benchmarks.keras_tuner_applications [--random 1]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Print one row a config: what was done, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=1, help="random configs a hypermodel")
    arguments = parser.parse_args()

    import tensorflow as tf
    from keras_tuner.applications import HyperResNet, HyperXception

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for kind in (HyperResNet, HyperXception):
        check(kind.__name__, kind(input_shape=(32, 32, 3), classes=4), random_configs=arguments.random)


def check(name: str, hypermodel: object, *, random_configs: int) -> None:
    """Find a hypermodel's space, and check its default and some random configs on small images."""
    from automl.dataset_spec import Task
    from automl.search_space import SearchSpace
    from automl.testing import check_config, image_input, make_output, make_spec

    spec = make_spec(image_input(32, 32, 3), outputs=(make_output(Task.MULTICLASS, units=4),))
    started = time.monotonic()
    space = SearchSpace.from_keras_tuner(hypermodel, name=name)
    print(f"{name}: {len(space.parameters)} parameters found in {time.monotonic() - started:.1f} s", flush=True)
    drawn = [space.random_config(random.Random(seed)) for seed in range(random_configs)]
    for config in [space.default_config(), *drawn]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            check_config(space, config, spec, Path(folder))
        print(f"  {time.monotonic() - started:5.1f} s  {config}", flush=True)


if __name__ == "__main__":
    main()
