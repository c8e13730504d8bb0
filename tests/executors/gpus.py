"""A machine with GPUs, as far as this system can tell: an `nvidia-smi` that lists them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

A100 = "NVIDIA A100-SXM4-40GB"


def card(index: int, name: str = A100, total: str = "40960", free: str = "40440", mig: str = "Disabled") -> str:
    """Return the line that `nvidia-smi` prints of a card; memory in MiB."""
    return f"{index}, GPU-{index:08x}-aaaa, {name}, {total}, {free}, {mig}"


def present(monkeypatch: pytest.MonkeyPatch, folder: Path, cards: Sequence[str], listed: str = "") -> None:
    """Put an `nvidia-smi` on the PATH that knows the cards, and with `-L` prints `listed`."""
    folder.mkdir()
    (folder / "cards").write_text("".join(f"{line}\n" for line in cards))
    (folder / "listed").write_text(textwrap.dedent(listed))
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\ncase "$1" in -L) cat {folder}/listed;; *) cat {folder}/cards;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
