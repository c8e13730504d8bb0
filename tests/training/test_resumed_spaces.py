"""Trials of every ready-made space have checkpoints, and go on from them as if they had not been cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from resumed_trials import curve, make_job
from whole_trials import run

from automl.search_space import SearchSpace
from automl.space_sources import find_space
from automl.training import checkpoint
from search_spaces.transfer import transfer

_TINY_BASE = {"base": "MobileNetV3Small", "image_size": 96}


@pytest.mark.parametrize(
    ("name", "fixed", "rows"),
    [
        ("linear", {}, "digits"),
        ("mlp", {}, "digits"),
        ("tabular", {}, "table"),
        ("cnn", {}, "grey"),
        ("cnn", {"augmentation": "strong", "convolution": "separable"}, "grey"),
        ("resnet", {"stages": 2, "filters": 8, "augmentation": "shift"}, "grey"),
        ("transfer", _TINY_BASE, "grey"),
        ("text", {}, "reviews"),
        ("text", {"encoder": "embedding"}, "reviews"),
        ("text", {"encoder": "convolution"}, "reviews"),
        ("text", {"encoder": "recurrent", "cell": "gru", "bidirectional": True}, "reviews"),
        ("text", {"encoder": "transformer", "sequence_length": 100, "embedding_units": 16}, "reviews"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_a_trial_goes_on_after_its_first_epoch(
    name: str,
    fixed: dict[str, Any],
    rows: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "_LOST_SECONDS", 0.0)  # one is due after every epoch, whatever it costs
    monkeypatch.setattr(checkpoint, "_COST_SHARE", float("inf"))
    space = _space(name).narrow(fixed)
    data = request.getfixturevalue(rows)
    job = make_job(config=space.default_config(), epochs=2, checkpoint_folder=tmp_path / "000000")
    whole, ended = run(job, space.build, data)
    assert ended.reason == "epochs", ended.message
    resumed, _ = run(job, space.build, data)  # as after a crash in the second epoch: in graphs of its own
    assert resumed[0] == whole[0], "the first epoch was trained again"
    assert resumed[1] != whole[1], "the second one was not"
    assert curve(resumed)[1] == pytest.approx(curve(whole)[1], abs=1e-6)


def _space(name: str) -> SearchSpace:
    return transfer(weights="random") if name == "transfer" else find_space(name)
