"""Save one of keras.datasets as an .npz file: `python -m automl.data.keras_loader NAME OUT.npz`.

A program of its own, because the driver never imports keras. Nothing here imports the rest of automl.
"""

from __future__ import annotations

import importlib
import socket
import sys

import numpy as np

_SILENCE_SECONDS = 30.0  # urllib waits for ever by default


def main(name: str, out: str) -> None:
    """Download the dataset where keras has not cached it yet, and save it with the four usual keys.

    Args:
        name: A module of keras.datasets, such as `"mnist"`.
        out: Path of the .npz file.
    """
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    keras = importlib.import_module("keras")
    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    np.savez(out, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


if __name__ == "__main__":
    main(*sys.argv[1:])
