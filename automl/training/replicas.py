"""One model on several devices: each holds a copy, and takes its part of every batch.

TensorFlow's `MirroredStrategy` does it, in Keras's own `fit`; our compiled epochs are of one device. A worker that was
given several GPUs says so once (`mirror_on`), before it trains anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_strategy: Any = None  # of this process, whose devices cannot change


def mirror_on(devices: Sequence[str]) -> None:
    """Train every model of this process on all of these devices.

    Args:
        devices: TensorFlow's names of them, such as `["GPU:0", "GPU:1"]`.
    """
    global _strategy
    import tensorflow as tf

    _strategy = tf.distribute.MirroredStrategy(devices)


def is_mirrored() -> bool:
    """Return True where models are trained on several devices."""
    return _strategy is not None


def scope() -> AbstractContextManager[Any]:
    """Return what a model is built in, so that its weights lie on every device."""
    return nullcontext() if _strategy is None else _strategy.scope()
