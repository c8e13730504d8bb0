"""The parameters that the trainer reads: optimizer, learning rate and its schedule, weight decay, batch size.

A space may use all, some or none of them; `TRAINING_DEFAULTS` has what is taken for each that is missing. Besides these
the trainer reads `epochs`, which a space may define to lower the cap of the search, `loss`, `label_smoothing`,
`gradient_clip` and `dtype_policy`.
"""

from __future__ import annotations

from automl.parameters import Choice, Float, Parameter

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("constant", "cosine", "exponential", "inverse_time")
TRAINING_NAMES = frozenset(
    {
        *("optimizer", "learning_rate", "learning_rate_schedule", "momentum", "nesterov", "weight_decay"),
        *("batch_size", "epochs", "loss", "label_smoothing", "gradient_clip", "dtype_policy"),
    }
)
"""Every name that the trainer reads."""


def training_parameters(
    *, optimizer: str = "adam", learning_rate: float = 1e-3, batch_size: int = 64
) -> list[Parameter]:
    """Return the parameters of training, with ranges that suit small and middle-sized networks.

    `optimizer`; `learning_rate` and `learning_rate_schedule` (`constant`; `cosine` to zero, `exponential` to a
    hundredth, or `inverse_time`, over the epoch cap); `momentum` (0 to 0.99) and `nesterov` where the optimizer is SGD;
    `weight_decay` (decoupled, a step's fraction of the learning rate) where it is AdamW; `batch_size` in rows.

    Args:
        optimizer: The default.
        learning_rate: The default.
        batch_size: The default.

    Example:
        >>> [parameter.name for parameter in training_parameters()][:2]
        ['optimizer', 'learning_rate']
    """
    return [
        Choice("optimizer", OPTIMIZERS, default=optimizer),
        Float("learning_rate", 1e-4, 5e-2, log=True, default=learning_rate),
        Choice("learning_rate_schedule", SCHEDULES, default="cosine"),
        Float("momentum", 0.0, 0.99, default=0.9, when={"optimizer": ["sgd"]}),
        Choice("nesterov", [False, True], default=True, when={"optimizer": ["sgd"]}),
        Float("weight_decay", 1e-5, 1e-1, log=True, default=4e-3, when={"optimizer": ["adamw"]}),
        Choice("batch_size", [32, 64, 128, 256], default=batch_size),
    ]
