"""The digits as a study knows them, for tests that train nothing."""

from __future__ import annotations

from automl.dataset_spec import DatasetSpec, InputKind, InputSpec, OutputSpec, RawInput, Task

SPEC = DatasetSpec(
    name="digits",
    raw_inputs=(RawInput(name="input", dtype="float32", shape=(64,)),),
    inputs=(InputSpec(name="input", kind=InputKind.NUMERIC, shape=(64,)),),
    outputs=(OutputSpec(name="target", task=Task.MULTICLASS, units=10, labels=tuple(range(10))),),
    train_rows=1149,
    validation_rows=288,
    test_rows=360,
    fingerprint="0123456789abcdef",
)
