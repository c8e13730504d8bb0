"""What commands print for machines is JSON that every reader takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from automl.cli.options import Common
from automl.home import Home


def test_json_has_no_nan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = Common(home=Home(tmp_path), storage=None, json=True, quiet=False)
    common.give({"interval": (float("nan"), 0.5), "worst": [float("inf")]}, lambda: "")
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"interval": [None, 0.5], "worst": [None]}
