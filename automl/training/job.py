"""`TrialJob`: what a worker is told of one trial."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from automl.objective import Objective
from automl.records import Config


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What a worker is told of one trial.

    Attributes:
        number: The trial's number.
        config: What to train.
        seed: Seed of weights, dropout and shuffling.
        epochs: Cap on epochs; an `epochs` parameter of the config may lower it.
        patience: Epochs without a better objective after which training stops; 0 turns that off.
        objective: What is optimised.
        weights_path: Where to save the weights of the best epoch (`.npz`, arrays in the order of `model.variables`);
            None to save nothing.
        checkpoint_folder: Where to keep what a resume goes on from; None to keep nothing.
        fold: With cross-validation, the only fold to train; None for all folds in lockstep.
        refit_epochs: Train on the validation rows too, for so many epochs of the `epochs` that schedules run over, and
            save the weights after each; nothing validates then. None to validate.
    """

    number: int
    config: Config
    seed: int
    epochs: int
    patience: int
    objective: Objective
    weights_path: Path | None = None
    checkpoint_folder: Path | None = None
    fold: int | None = None
    refit_epochs: int | None = None
