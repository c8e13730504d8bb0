"""What tests of several folders share."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from scripted_search import Drive

# A process that has started a Ray of its own asks for tokens from then on, of every cluster: so all of a test process's
# have them, whichever test comes first. Ray reads it when it is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Return a function that makes a driver of a new study, over an executor that trains nothing."""
    from scripted_search import driver_maker

    return driver_maker(tmp_path / "digits-scripted-001", monkeypatch)


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


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database, a server of its own for every process of the tests."""
    from postgresql import find_binaries, running_server

    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with running_server(binaries) as url:
        yield url


@pytest.fixture
def synced_inodes(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the inodes of what has been synced, to which the tests' code adds; a loss of power cannot be had here."""
    inodes: set[int] = set()
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        inodes.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes
