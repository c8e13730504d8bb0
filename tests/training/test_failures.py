"""How what a trial raises is typed."""

from __future__ import annotations

import errno

import pytest

from automl.records import FailureReason
from automl.training.failures import as_failure


def _wrapped(cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except type(cause) as error:
            raise RuntimeError("the weights were not written") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_a_disk_complains_of_is_no_fault_of_the_trial(number: int) -> None:
    failure = as_failure(_wrapped(OSError(number, "it is full", "weights.npz")), FailureReason.CRASHED)
    assert (failure.reason, failure.message) == (FailureReason.DISK, "it is full: weights.npz")


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "missing"), ValueError("7"), OSError("no number")])
def test_other_errors_keep_the_reason_of_where_they_were_raised(error: Exception) -> None:
    assert as_failure(_wrapped(error), FailureReason.INVALID_MODEL).reason is FailureReason.INVALID_MODEL
