"""What the trainer takes where a config does not say, and what a parameter of that name starts from.

One table for both: a space that makes the optimizer or the learning rate a parameter begins its search where training
without that parameter would be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TRAINING_DEFAULTS: Mapping[str, str | int | float | bool] = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "momentum": 0.0,
    "nesterov": False,
    "batch_size": 64,
}
"""Values by the names of `standard_parameters`; what is not here has no value unless a config gives one."""


def training_value(config: Mapping[str, Any], name: str) -> Any:
    """Return what training uses: the config's value, or else the default; it may be a variable of the backend.

    Example:
        >>> training_value({"batch_size": 32}, "batch_size"), training_value({}, "optimizer")
        (32, 'adam')
    """
    return config[name] if name in config else TRAINING_DEFAULTS[name]
