"""How many steps Keras's `fit` takes in one call of its compiled function.

Between two calls Keras runs a millisecond of Python, in which a small model could have taken the next step. A call
therefore takes as many steps as a tenth of a second has room for; losses and metrics are those of single steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from automl.training import replicas

STEPS = (64, 16, 4)
"""What a call may take; fewer than four gain too little."""

WORTHWHILE_STEPS = 200
"""Steps of a trial from which on choosing is worth its price, the trace of a forward pass."""

_CALL_SECONDS = 0.1  # so that an epoch's end, at which a trial may be stopped, is never far
_FORWARD_PASSES = 3  # that a step takes as long as: its own, and the gradients of weights and of what layers give
_TIMINGS = 3  # the fastest counts
_BATCH_HOOKS = tuple(f"on_{of}batch_{moment}" for of in ("", "train_", "test_") for moment in ("begin", "end"))


def steps_by_timing(model: Any, batch: Any) -> int:
    """Return how many steps a call should take, by how long the model takes to predict a batch.

    1 where it must be: Keras refuses more on torch and gains nothing by them on JAX; on several devices they fail,
    as in keras-team/keras#19246.

    Args:
        model: A compiled `keras.Model`; it is left as it was.
        batch: Inputs of a batch, as `fit` takes them.
    """
    import keras

    if keras.backend.backend() != "tensorflow" or replicas.is_mirrored():
        return 1
    model.predict_on_batch(batch)  # traces
    step_seconds = _FORWARD_PASSES * min(_seconds(lambda: model.predict_on_batch(batch)) for _ in range(_TIMINGS))
    return next((steps for steps in STEPS if steps * step_seconds <= _CALL_SECONDS), 1)


@contextmanager
def steps_at_once(model: Any, steps: int, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Let a `fit` take so many steps a call, unless the user has chosen or something would go otherwise than by one.

    Args:
        model: A compiled `keras.Model`.
        steps: What `steps_by_timing` returned.
        arguments: The keyword arguments of that `fit`.
    """
    if steps == 1 or model.steps_per_execution != 1 or _needs_single_steps(model, arguments):
        yield
        return
    _set_steps(model, steps)
    try:
        yield
    finally:
        _set_steps(model, 1)


def predicting_by_one(model: Any) -> Callable[..., Any]:
    """Return a model's `predict` that takes one step a call: Keras would trace as many copies of the model as steps."""
    predict = model.predict

    def predict_by_one(*args: Any, **kwargs: Any) -> Any:
        steps, model.steps_per_execution = model.steps_per_execution, 1
        try:
            return predict(*args, **kwargs)
        finally:
            model.steps_per_execution = steps

    return predict_by_one


def _needs_single_steps(model: Any, arguments: Mapping[str, Any]) -> bool:
    """Return True where more would change what is trained or seen, or where a trace would serve one epoch only."""
    is_short = arguments["epochs"] - arguments.get("initial_epoch", 0) <= 1
    has_bounds = any(arguments.get(name) is not None for name in ("steps_per_epoch", "validation_steps"))
    data = [arguments[name] for name in ("x", "validation_data") if arguments.get(name) is not None]
    is_known = all(map(_has_length, data))
    is_watched = any(map(_sees_batches, arguments["callbacks"]))
    return bool(model.run_eagerly) or is_short or has_bounds or not is_known or is_watched


def _has_length(data: Any) -> bool:
    """Return False where Keras finds an epoch's end by running over it, which it counts in calls."""
    try:
        len(data)
    except TypeError:
        return False
    return True


def _sees_batches(callback: Any) -> bool:
    import keras

    def is_own(hook: str) -> bool:
        method = getattr(callback, hook)
        return getattr(method, "__func__", method) is not getattr(keras.callbacks.Callback, hook)

    return any(map(is_own, _BATCH_HOOKS))


def _set_steps(model: Any, steps: int) -> None:
    model.steps_per_execution = steps
    model.make_train_function(force=True)  # they hold the number of steps
    model.make_test_function(force=True)


def _seconds(run: Callable[[], object]) -> float:
    started = time.monotonic()
    run()
    return time.monotonic() - started
