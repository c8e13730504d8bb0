"""How a trial fails: with a typed reason, mapped here once from whatever was raised."""

from __future__ import annotations

import traceback

from automl.records import FailureReason

_MESSAGE_LINES = 12  # enough to see the user's own frame and the error


class TrialFailure(Exception):  # noqa: N818 - it is how a trial ends, not a defect of ours
    """A trial cannot go on; `reason` says why in the study's terms."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        """Remember the reason and a message of a few lines."""
        super().__init__(message)
        self.reason = reason
        self.message = message


def invalid_model(message: str) -> TrialFailure:
    """Return the failure of a config that gives no model that could be trained."""
    return TrialFailure(FailureReason.INVALID_MODEL, message)


def as_failure(error: Exception, otherwise: FailureReason) -> TrialFailure:
    """Map any exception to a typed failure; what is not recognised becomes `otherwise`."""
    if isinstance(error, TrialFailure):
        return error
    # Errors of backends are known by what they are called and say: this module must not import them.
    exhausted = (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("ResourceExhaustedError", "OutOfMemoryError")  # TensorFlow's, torch's
        or str(error).startswith("RESOURCE_EXHAUSTED")  # JAX's
    )
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    return TrialFailure(FailureReason.OOM if exhausted else otherwise, "\n".join(lines[-_MESSAGE_LINES:]))
