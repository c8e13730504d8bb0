"""One model on two devices learns what it learns on one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def test_two_devices_learn_what_one_does(tmp_path: Path) -> None:
    command = [sys.executable, str(_HERE / "two_devices.py"), str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(_HERE.parent.parent)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    alone, together, steps, final = ran.stdout.strip().split("\n")
    assert (alone, together) == ("1 copies of the weights", "2 copies of the weights")
    assert steps == "1 steps a call"  # more fail in Keras
    assert float(final.split()[0]) > 0.5  # ten classes
    assert (tmp_path / "model" / "model.keras").exists()
