"""What tests of several folders share."""

from __future__ import annotations

import os
import warnings

import pytest


@pytest.fixture(scope="session")
def keras_here() -> None:
    """Keras in this very process, on one thread; whichever test comes first starts its backend.

    That is TensorFlow; `tests/training/test_jax.py` runs tests again where KERAS_BACKEND says something else. Most
    folders' tests keep keras out of the process; those that ask for this test what runs in a worker.
    """
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        import keras

        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
        import keras  # noqa: F401
