"""How a trial fails: with a typed reason, mapped here once from whatever was raised."""

from __future__ import annotations

import traceback

from automl.errors import disk_error
from automl.records import FailureReason

_MESSAGE_LINES = 12  # enough to see the user's own frame and the error

# Errors of backends are known by what they are called and say: this module must not import them.
_EXHAUSTED_NAMES = ("ResourceExhaustedError", "OutOfMemoryError")  # TensorFlow's, torch's
_EXHAUSTED_WORDS = (
    "RESOURCE_EXHAUSTED",  # JAX
    "CUDA_ERROR_OUT_OF_MEMORY",
    "STATUS_ALLOC_FAILED",  # cuDNN, cuBLAS
    "Dst tensor is not initialized",  # TensorFlow, where an input does not fit on the GPU
    "can't allocate memory",  # torch on CPUs
)


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
    disk = disk_error(error)
    if disk is not None:
        return TrialFailure(FailureReason.DISK, ": ".join(map(str, filter(None, [disk.strerror, disk.filename]))))
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    reason = FailureReason.OOM if _is_exhausted(error) else otherwise
    return TrialFailure(reason, "\n".join(lines[-_MESSAGE_LINES:]))


def _is_exhausted(error: BaseException | None) -> bool:
    """Return True where memory ran out; builders and Keras may have wrapped the error that says so."""
    if error is None:
        return False
    said = type(error).__name__ in _EXHAUSTED_NAMES or any(words in str(error) for words in _EXHAUSTED_WORDS)
    return isinstance(error, MemoryError) or said or _is_exhausted(error.__cause__ or error.__context__)
