"""`automl spaces`, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import Run


@pytest.mark.parametrize("name", ["mlp", "cnn+resnet"])
def test_a_space_printed_as_yaml_is_that_space(name: str, automl: Run, tmp_path: Path) -> None:
    narrowed = [name, "--set", "optimizer=adam,sgd", "--set", "learning_rate=1e-4..1e-3"]
    printed = automl("spaces", *narrowed, "--yaml")
    assert (printed.code, printed.err) == (0, "")
    (tmp_path / "mine.yaml").write_text(printed.out, "utf-8")
    mine, same = automl("spaces", "mine.yaml", "--json"), automl("spaces", *narrowed, "--json")
    assert json.loads(mine.out) == json.loads(same.out)
    assert automl("spaces", "mine.yaml", "--yaml").out == printed.out
