"""`FitTrainer`: trains a model by its hypermodel's own `fit`, and makes a report of every epoch.

The user's `fit` runs in a thread, which waits at each epoch's end until it is told to go on: only one of the two
threads runs at a time.
"""

from __future__ import annotations

import inspect
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from automl.data import PreparedDataset, Split
from automl.dataset_spec import Task
from automl.errors import SpaceError
from automl.records import EpochReport, FailureReason
from automl.search_space import Build
from automl.training.assemble import DEFAULT_BATCH_SIZE
from automl.training.failures import TrialFailure, as_failure
from automl.training.job import TrialJob
from automl.training.metrics import Array, score
from automl.training.trainer import build_model
from automl.unions import own_fit

_EVALUATION_ROWS = 2048  # a batch of evaluation


class FitTrainer:
    """Trains one model by `build.fit`; used as `Trainer` is, and closed in the end."""

    def __init__(self, job: TrialJob, build: Build, data: PreparedDataset) -> None:
        """Open the splits; nothing is built yet.

        Args:
            job: What to train, and for how long at most.
            build: A builder for which `own_fit` returns something.
            data: The prepared dataset; its test split is not read.
        """
        self._job = job
        self._build = build
        self._spec = data.spec
        self._train, self._validation = _Arrays(data.split("train")), _Arrays(data.split("validation"))
        self._reports: list[EpochReport] = []
        self._thread: _FitThread | None = None
        self.epochs = min(job.epochs, int(job.config.get("epochs", job.epochs)))
        self.parameter_count = 0
        self.compile_seconds = 0.0

    def compile(self) -> None:
        """Build the model; it is traced in the first epoch.

        Raises:
            TrialFailure: See `assemble`.
        """
        started = time.monotonic()
        self._model = build_model(self._build, self._job.config, self._job.seed, self._spec, self.epochs)
        self.parameter_count = self._model.count_params()
        self._thread = _FitThread(self._fit)
        self.compile_seconds = time.monotonic() - started

    def train_epoch(self, epoch: int) -> EpochReport:
        """Let `fit` go on to the end of an epoch, evaluate on the validation rows, and report.

        Raises:
            TrialFailure: `nan`, where a loss or the objective is no longer finite; whatever else `fit` raised.
        """
        assert self._thread is not None, "compile() comes first"
        started = time.monotonic()
        logs = self._thread.next_epoch()
        if logs is None and self._reports:
            raise TrialFailure(FailureReason.CRASHED, f"the hypermodel's fit ended after {len(self._reports)} epochs")
        metrics = self._metrics(logs or {})  # a loop of one's own may call no callbacks: its end is its only epoch
        self._check_finite(epoch, metrics)
        report = EpochReport(epoch=epoch, metrics=metrics, seconds=time.monotonic() - started)
        self._reports.append(report)
        if self._job.weights_path is not None and self._best_epoch() == epoch:
            self._save_weights(self._job.weights_path)
        return report

    @property
    def is_out_of_patience(self) -> bool:
        """True when the objective has not improved for `patience` epochs, or `fit` has ended by itself."""
        if 0 < self._job.patience <= len(self._reports) - self._best_epoch():
            return True
        return self._thread is not None and len(self._reports) < self.epochs and self._thread.has_ended()

    def close(self) -> None:
        """End `fit`, wherever it is; no thread is left behind."""
        if self._thread is not None:
            self._thread.close()

    def _fit(self, report: _Report) -> None:
        import keras

        keras.utils.set_random_seed(self._job.seed)  # in the thread that trains: Keras's generator is the thread's
        callback = _callback(report)
        batch_size = self._job.config.get("batch_size", DEFAULT_BATCH_SIZE)
        train, validation = self._train, self._validation
        defaults = {"epochs": self.epochs, "batch_size": batch_size, "verbose": 0}
        self._model.fit = _with_defaults(self._model.fit, defaults, callback)
        arguments = {**defaults, "validation_data": (validation.x, validation.y), "callbacks": [callback]}
        if train.weights is not None:
            arguments["sample_weight"] = train.weights
        fit = own_fit(self._build, self._job.config)
        assert fit is not None, "a builder without fit is trained by Trainer"
        fit(self._model, train.x, train.y, **arguments)

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
        metrics = score(rows.outputs, predictions, self._spec.outputs, prefix=prefix)
        if f"{prefix}loss" not in logs:
            metrics[f"{prefix}loss"] = float(self._model.compute_loss(y=rows.y, y_pred=predicted, training=False))
        return metrics

    def _save_weights(self, path: Path) -> None:
        """Write the weights as they are, whole or not at all: at once, since the worker may be ended at any moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp.npz")
        np.savez(temporary, *[variable.numpy() for variable in self._model.variables])
        os.replace(temporary, path)

    def _best_epoch(self) -> int:
        best = self._job.objective.counted_epoch(self._reports)
        return best.epoch if best is not None else 0

    def _check_finite(self, epoch: int, metrics: Mapping[str, float]) -> None:
        for name in ("loss", "val_loss", self._job.objective.metric):
            if not math.isfinite(metrics.get(name, math.nan)):
                raise TrialFailure(FailureReason.NAN, f"{name} is {metrics.get(name)} after epoch {epoch}")


class _Arrays:
    """The rows of a split, as `fit` takes them."""

    def __init__(self, split: Split) -> None:
        def chosen(array: Array) -> Array:
            return np.asarray(array) if split.chosen is None else np.asarray(array[split.chosen])

        inputs = [chosen(array) for array in split.inputs]
        self.outputs = [chosen(array) for array in split.outputs]
        self.x = inputs[0] if len(inputs) == 1 else inputs
        self.y = self.outputs[0] if len(self.outputs) == 1 else self.outputs
        self.weights = None if split.weights is None else chosen(split.weights)


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


def _with_defaults(fit: Callable[..., Any], defaults: Mapping[str, Any], callback: Any) -> Callable[..., Any]:
    """Return a model's `fit` with defaults for what an override leaves out, and always with our callback."""
    signature = inspect.signature(fit)

    def complete(*args: Any, **kwargs: Any) -> Any:
        arguments = {**defaults, **signature.bind(*args, **kwargs).arguments}
        callbacks = list(arguments.get("callbacks") or [])
        arguments["callbacks"] = callbacks if callback in callbacks else [*callbacks, callback]
        return fit(**arguments)

    return complete
