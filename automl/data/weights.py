"""Weights of training rows in the loss: those of the source, times those that make classes count alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from automl.data.raw import RawDataset
from automl.data.targets import Target
from automl.dataset_spec import Task
from automl.errors import DataError


class Weigher:
    """Knows what each row of a dataset weighs. Rows of given validation are numbered behind the training rows."""

    def __init__(self, raw: RawDataset, targets: Sequence[Target], class_weight: str | None) -> None:
        """Check that classes can be balanced, where that is wanted.

        Raises:
            DataError: Class weights are wanted of several outputs, or of one that has no classes.
        """
        tasks = [target.task for target in targets]
        if class_weight and (len(tasks) != 1 or tasks[0] not in (Task.BINARY, Task.MULTICLASS)):
            raise DataError(
                f"{raw.name}: --class-weight goes with one target of classes, received {' and '.join(tasks)}; "
                "leave it out"
            )
        self._own = raw.weights
        self._classes = targets[0].y_train if class_weight else None
        given = raw.given.get("validation")
        if given is not None and self._own is not None:
            unknown = np.full(given.rows.count, np.nan)
            self._own = np.concatenate([self._own, unknown if given.weights is None else given.weights])
        if given is not None and self._classes is not None:
            self._classes = np.concatenate([self._classes, targets[0].given["validation"]])

    def weights(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32] | None:
        """Return the weights of rows to train on, of mean 1; None where all are equal.

        Validation rows that were given without weights weigh as the mean of the others.

        Raises:
            DataError: All weights are zero.
        """
        if self._own is None and self._classes is None:
            return None
        weights = np.ones(len(rows)) if self._own is None else self._own[rows].astype(np.float64)
        weights[np.isnan(weights)] = np.nanmean(weights)
        if self._classes is not None:
            classes, codes, counts = np.unique(self._classes[rows], return_inverse=True, return_counts=True)
            weights = weights * (len(rows) / (len(classes) * counts))[codes]
        if not weights.sum() > 0:
            raise DataError(
                "every training row has the weight 0; expected some above it: choose another --sample-weight"
            )
        scaled: npt.NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
        return scaled
