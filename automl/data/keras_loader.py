"""Save one of keras.datasets as an .npz file: `python -m automl.data.keras_loader NAME OUT.npz`.

A program of its own, because the driver never imports keras. Nothing here imports the rest of automl.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_SILENCE_SECONDS = 30.0  # urllib waits for ever by default
_TEXTS = ("imdb", "reuters")
_RESERVED_IDS = 3  # padding, start, unknown: load_data moves all words up by as many
_UNKNOWN = "[UNK]"


def main(name: str, out: str) -> None:
    """Download the dataset where keras has not cached it yet, and save it.

    Arrays get the four usual keys; texts are `text_train` and `text_test`, the UTF-8 bytes of a line each.

    Args:
        name: A module of keras.datasets, such as `"mnist"`.
        out: Path of the .npz file.
    """
    socket.setdefaulttimeout(_SILENCE_SECONDS)
    keras = importlib.import_module("keras")
    module = getattr(keras.datasets, name)
    (x_train, y_train), (x_test, y_test) = module.load_data()
    parts: dict[str, Any] = {"x_train": x_train, "x_test": x_test}
    if name in _TEXTS:
        words = module.get_word_index()
        parts = {"text_train": to_lines(x_train, words), "text_test": to_lines(x_test, words)}
    np.savez(out, y_train=y_train, y_test=y_test, **parts)


def to_lines(rows: Iterable[Iterable[int]], word_index: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """Return texts of word ids as UTF-8 bytes, a line each.

    Args:
        rows: Ids of the words of each text, as keras's `load_data` gives them: a start mark, and words moved up.
        word_index: Id of each word before it was moved up.
    """
    words = {number + _RESERVED_IDS: word for word, number in word_index.items()}
    texts = (" ".join(words.get(number, _UNKNOWN) for number in row if number > 1) for row in rows)
    return np.frombuffer("\n".join(texts).encode("utf-8"), dtype=np.uint8)


if __name__ == "__main__":
    main(*sys.argv[1:])
