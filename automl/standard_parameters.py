"""The parameters that the trainer reads: optimizer, learning rate and its schedule, weight decay, batch size.

A space may use all, some or none of them; `automl.training.assemble` has a default for each that is missing. Besides
these the trainer reads `epochs`, which a space may define to lower the cap of the search.
"""

from __future__ import annotations

from automl.parameters import Choice, Float, Parameter

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop", "adagrad")
SCHEDULES = ("constant", "cosine", "exponential")


def training_parameters() -> list[Parameter]:
    """Return the parameters of training, with ranges that suit small and middle-sized networks.

    `optimizer`; `learning_rate` and `learning_rate_schedule` (`constant`; `cosine` to zero, or `exponential` to a
    hundredth, over the epoch cap); `momentum` (0 to 0.99) and `nesterov` where the optimizer is SGD; `weight_decay`
    (decoupled, a step's fraction of the learning rate) where it is AdamW; `batch_size` in rows.

    Example:
        >>> [parameter.name for parameter in training_parameters()][:2]
        ['optimizer', 'learning_rate']
    """
    return [
        Choice("optimizer", OPTIMIZERS),
        Float("learning_rate", 1e-4, 5e-2, log=True, default=1e-3),
        Choice("learning_rate_schedule", SCHEDULES, default="cosine"),
        Float("momentum", 0.0, 0.99, default=0.9, when={"optimizer": ["sgd"]}),
        Choice("nesterov", [False, True], default=True, when={"optimizer": ["sgd"]}),
        Float("weight_decay", 1e-5, 1e-1, log=True, default=4e-3, when={"optimizer": ["adamw"]}),
        Choice("batch_size", [32, 64, 128, 256], default=64),
    ]
