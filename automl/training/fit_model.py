"""`FitModel`: one model trained by its hypermodel's own `fit`, or by Keras's, on the rows of one split or fold.

That `fit` runs in a thread, which waits at each epoch's end until it is told to go on: only one of the two
threads runs at a time.
"""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from automl.data import PreparedDataset, Split, StoredArray
from automl.dataset_spec import Task
from automl.errors import SpaceError
from automl.records import FailureReason
from automl.search_space import Build
from automl.training import replicas
from automl.training.assemble import build_model, steps_until_cap
from automl.training.failures import TrialFailure, as_failure
from automl.training.fit_steps import WORTHWHILE_STEPS, predicting_by_one, steps_at_once, steps_by_timing
from automl.training.job import TrialJob
from automl.training.metrics import Array, score
from automl.training.rows import Rows
from automl.training.weights import save_weights
from automl.training_defaults import training_value

Fit: TypeAlias = Callable[..., Any]

_EVALUATION_ROWS = 2048  # a batch of evaluation


def keras_fit() -> Fit | None:
    """Return a `fit` that is Keras's own where there are no compiled epochs of ours: on torch, on several devices."""
    import keras

    if keras.backend.backend() != "torch" and not replicas.is_mirrored():
        return None
    return lambda model, x, y, **arguments: model.fit(x, y, **arguments)


class FitModel:
    """One model trained by a `fit`, such as its builder's; used as `CompiledModel` is, and closed in the end."""

    def __init__(
        self, job: TrialJob, fit: Fit, data: PreparedDataset, *, fold: int | None, seed: int, epochs: int
    ) -> None:
        """Open the splits; nothing is built yet.

        Args:
            job: What to train.
            fit: Called with model, inputs, targets, and keyword arguments as of `keras.Model.fit`.
            data: The prepared dataset; its test split is not read.
            fold: The fold that validates; None for the dataset's own validation split.
            seed: Seed of weights, dropout and shuffling.
            epochs: The cap.
        """
        self._job = job
        self._own_fit = fit
        self._spec = data.spec
        self._seed = seed
        self._epochs = epochs
        self._train = _Arrays(data.split("train", fold=fold))
        self._validation = _Arrays(data.split("validation", fold=fold))
        self._trained_epochs = 0
        self._steps = 1
        self._thread = _FitThread(self._fit)

    def build(self, build: Build) -> int:
        """Build the model, and return how many weights it has; it is traced in the first epoch.

        Raises:
            TrialFailure: See `assemble`.
        """
        self._model = build_model(build, self._job.config, self._seed, self._spec, self._epochs)
        self._model.predict = predicting_by_one(self._model)
        return int(self._model.count_params())

    def trace(self, shared: MutableMapping[str, Rows]) -> None:
        """Choose how many steps `fit` takes at once; it traces the model itself, and opens no rows of ours."""
        rows = len(self._train.outputs[0])
        if steps_until_cap(self._job.config, rows, self._epochs) >= WORTHWHILE_STEPS:
            self._steps = steps_by_timing(self._model, self._train.first(self._batch_size))

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Let `fit` go on to the end of an epoch, evaluate on the validation rows, and return the metrics.

        Raises:
            TrialFailure: `crashed`, where `fit` had ended before; whatever else `fit` raised.
        """
        logs = self._thread.next_epoch()
        if logs is None and self._trained_epochs:
            raise TrialFailure(FailureReason.CRASHED, f"the hypermodel's fit ended after {self._trained_epochs} epochs")
        self._trained_epochs = epoch
        return self._metrics(logs or {})  # a loop of one's own may call no callbacks: its end is its only epoch

    def has_ended(self) -> bool:
        """Return True where `fit` has ended by itself."""
        return self._thread.has_ended()

    def save_weights(self, path: Path) -> None:
        """Write the weights as they are."""
        save_weights(self._model, path)

    def state(self) -> None:
        """Return nothing: a `fit` cannot be entered again in its middle."""

    def restore(self, arrays: Sequence[Array]) -> None:
        """Never called: there is no state."""
        raise AssertionError("a fit cannot be entered again in its middle")

    def close(self) -> None:
        """End `fit`, wherever it is; no thread is left behind."""
        self._thread.close()

    def _fit(self, report: _Report) -> None:
        import keras

        keras.utils.set_random_seed(self._seed)  # in the thread that trains: Keras's generator is the thread's
        callback = _callback(report)
        train, validation = self._train, self._validation
        defaults = {"epochs": self._epochs, "batch_size": self._batch_size, "verbose": 0}
        self._model.fit = _with_defaults(self._model, defaults, callback, self._steps)
        arguments = {**defaults, "validation_data": (validation.x, validation.y), "callbacks": [callback]}
        if train.weights is not None:
            arguments["sample_weight"] = train.weights
        self._own_fit(self._model, train.x, train.y, **arguments)

    @property
    def _batch_size(self) -> int:
        return int(training_value(self._job.config, "batch_size"))

    def _metrics(self, logs: Mapping[str, float]) -> dict[str, float]:
        scored = self._scored(self._validation, "val_", logs)
        if any(output.task is Task.REGRESSION for output in self._spec.outputs):
            # Metrics of the model's own compilation are of scaled targets; ours have the same names.
            logs = {name: value for name, value in logs.items() if name == "loss" or f"val_{name}" not in scored}
        metrics = {**logs, **scored}
        if "loss" not in metrics or self._job.objective.metric not in metrics:
            metrics |= self._scored(self._train, "", logs)
        metrics["learning_rate"] = float(self._model.optimizer.learning_rate)
        return metrics

    def _scored(self, rows: _Arrays, prefix: str, logs: Mapping[str, float]) -> dict[str, float]:
        """Return the loss, where `fit` did not give it, and our metrics of the predictions for some rows."""
        predicted = self._model.predict(rows.x, batch_size=_EVALUATION_ROWS, verbose=0)
        predictions = list(predicted) if isinstance(predicted, list | tuple) else [predicted]
        metrics = score(
            rows.outputs, predictions, self._spec.outputs, prefix=prefix, wanted=[self._job.objective.metric]
        )
        if f"{prefix}loss" not in logs:
            metrics[f"{prefix}loss"] = float(self._model.compute_loss(y=rows.y, y_pred=predicted, training=False))
        return metrics


class _Arrays:
    """The rows of a split, as `fit` takes them."""

    def __init__(self, split: Split) -> None:
        def chosen(array: StoredArray) -> Array:
            return np.asarray(array) if split.chosen is None else np.asarray(array[split.chosen])

        inputs = [chosen(array) for array in split.inputs]
        self.outputs = [chosen(array) for array in split.outputs]
        self.x = inputs[0] if len(inputs) == 1 else inputs
        self.y = self.outputs[0] if len(self.outputs) == 1 else self.outputs
        self.weights = None if split.weights is None else chosen(split.weights)

    def first(self, count: int) -> Any:
        """Return the inputs of the first rows."""
        return [array[:count] for array in self.x] if isinstance(self.x, list) else self.x[:count]


class _Stopped(BaseException):
    """Ends the user's `fit` from within: no `except Exception` of theirs keeps it."""


@dataclass(frozen=True)
class _Event:
    """Where the user's `fit` is: it begins an epoch, has ended one (then with its logs), or is over."""

    logs: Mapping[str, float] | None = None
    is_over: bool = False
    error: BaseException | None = None


_Report = Callable[[_Event], None]


class _FitThread:
    """Runs a function that reports events, and waits after each until it is told to go on."""

    def __init__(self, run: Callable[[_Report], None]) -> None:
        self._run = run
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_closing = False
        self._seen: _Event | None = None  # looked at, and not used up
        self._thread = threading.Thread(target=self._work, name="hypermodel-fit", daemon=True)

    def next_epoch(self) -> Mapping[str, float] | None:
        """Go on to an epoch's end and return its logs; None where the function is over.

        Raises:
            TrialFailure: The function raised something.
        """
        event, self._seen = self._seen or self._resume(), None
        while event.logs is None and not event.is_over:
            event = self._resume()
        if event.is_over:
            self._seen = event
        if event.error is not None:
            invalid = isinstance(event.error, SpaceError)
            error = event.error if isinstance(event.error, Exception) else RuntimeError(repr(event.error))
            raise as_failure(error, FailureReason.INVALID_MODEL if invalid else FailureReason.CRASHED) from event.error
        return event.logs

    def has_ended(self) -> bool:
        """Return True where no further epoch begins; an error is left to `next_epoch`."""
        if self._seen is None:
            self._seen = self._resume()
        return self._seen.is_over and self._seen.error is None

    def close(self) -> None:
        """End the function where it waits, and wait for its thread."""
        self._is_closing = True
        self._go_on.put(False)
        if self._thread.ident is not None:
            self._thread.join()

    def _resume(self) -> _Event:
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._go_on.put(True)
        return self._events.get()

    def _work(self) -> None:
        try:
            self._run(self._report)
            event = _Event(is_over=True)
        except _Stopped:
            event = _Event(is_over=True)
        except BaseException as error:  # noqa: BLE001 - next_epoch raises it in the thread that asks
            event = _Event(is_over=True, error=error)
        self._events.put(event)

    def _report(self, event: _Event) -> None:
        if self._is_closing:
            raise _Stopped
        self._events.put(event)
        if not self._go_on.get():
            raise _Stopped


def _callback(report: _Report) -> Any:
    """Return a Keras callback that reports where each epoch begins and ends."""
    import keras

    class Reporting(keras.callbacks.Callback):  # type: ignore[misc]
        def __deepcopy__(self, memo: Any) -> Any:
            return self  # overrides of fit may copy their callbacks; there is one thread to report to

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            report(_Event())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            report(_Event({name: float(value) for name, value in (logs or {}).items()}))

    return Reporting()


def _with_defaults(model: Any, defaults: Mapping[str, Any], callback: Any, steps: int) -> Callable[..., Any]:
    """Return a model's `fit` with defaults for what an override leaves out, and always with our callback."""
    fit = model.fit
    signature = inspect.signature(fit)

    def complete(*args: Any, **kwargs: Any) -> Any:
        arguments = {**defaults, **signature.bind(*args, **kwargs).arguments}
        callbacks = list(arguments.get("callbacks") or [])
        arguments["callbacks"] = callbacks if callback in callbacks else [*callbacks, callback]
        with steps_at_once(model, steps, arguments):
            return fit(**arguments)

    return complete
