"""What is on the disk before it has its name, and which archives are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from automl.durable import is_whole_zip, put_folder_in_place
from automl.training.weights import save_arrays


def test_every_file_of_a_folder_is_on_the_disk_with_its_name(tmp_path: Path, synced_inodes: set[int]) -> None:
    partial, folder = tmp_path / "model.partial", tmp_path / "model"
    (partial / "mlflow").mkdir(parents=True)
    for name in ("model.keras", "mlflow/MLmodel"):
        (partial / name).write_text(name)
    folder.mkdir()
    (folder / "old").touch()
    put_folder_in_place(partial, folder)
    assert {path.stat().st_ino for path in [tmp_path, folder, *folder.rglob("*")]} <= synced_inodes
    assert not (folder / "old").exists()
    assert (folder / "mlflow" / "MLmodel").read_text() == "mlflow/MLmodel"


def test_only_an_archive_that_can_be_read_to_its_end_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    assert not is_whole_zip(path)
    save_arrays([np.arange(1000.0)], path)
    assert is_whole_zip(path)
    content = path.read_bytes()
    for damaged in (b"", content[:-100], content[:2000], bytes(len(content)), content[:2000] + b"x" + content[2001:]):
        path.write_bytes(damaged)
        assert not is_whole_zip(path)
