"""Seeds that follow from other seeds."""

from __future__ import annotations

import random


def derive_seed(*parts: int) -> int:
    """Return a seed of 31 bits that depends on every part.

    Example:
        >>> derive_seed(0, 1) != derive_seed(1, 0)
        True
    """
    return random.Random(repr(parts)).getrandbits(31)
