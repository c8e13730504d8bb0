"""`automl delete` and `automl doctor`."""

from __future__ import annotations

import json
from pathlib import Path

from command import Run

from automl.home import Home


def test_delete_removes_the_folder_and_nothing_else(automl: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    for name in ("one", "two"):
        (home.new_study_folder(name, "") / "journal.log").write_text("{}\n")
    assert automl("delete", "one", "--yes").out == "deleted one\n"
    assert home.study_names() == ["two"]
    refused = automl("delete", "one", "--yes")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_doctor_starts_a_worker_and_describes_the_machine(automl: Run) -> None:
    ran = automl("doctor", "--json")
    assert ran.code == 0, ran.out
    checks = {check["check"]: check for check in json.loads(ran.out)}
    assert all(check["ok"] for check in checks.values())
    assert {"tensorflow", "optuna", "mlflow", "ray", "cores", "memory", "gpu", "home", "worker", "start"} <= set(checks)
    assert "ready in" in checks["start"]["found"]
    assert "thread" in checks["worker"]["found"]


def test_doctor_says_what_fails(automl: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = automl("doctor", "--home", "file", "--json")
    assert ran.code == 3
    (failed,) = [check for check in json.loads(ran.out) if not check["ok"]]
    assert failed["check"] == "home"
