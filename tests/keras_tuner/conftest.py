"""Keras in this very process, on one thread: hypermodels cannot be read without."""

from __future__ import annotations

import os
import warnings

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        tf.config.set_visible_devices([], "GPU")
        import keras_tuner  # noqa: F401
