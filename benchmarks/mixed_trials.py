"""Tiny trials of mixed architectures, which note in a file how large their worker had become."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from automl import Choice, DatasetSpec, Float, Int, Repeat, SearchSpace, input_layers, output_layers


@dataclass(frozen=True, kw_only=True)
class Note:
    """What was noted when a trial's model was built.

    Attributes:
        process_id: Of the worker.
        seconds: Seconds since the epoch.
        memory_bytes: Resident memory of the worker, before the model.
        learning_rate: Of the config: drawn at random, it tells which trial this was.
    """

    process_id: int
    seconds: float
    memory_bytes: int
    learning_rate: float


@dataclass(frozen=True)
class NotingBuild:
    """Builds dense networks, and appends a `Note` to the file of its process in `folder`."""

    folder: Path

    def __call__(self, config: Mapping[str, Any], spec: DatasetSpec) -> Any:
        """Return the network of a config."""
        import keras

        self._note(config["learning_rate"])
        inputs, x = input_layers(spec)
        for layer in config["hidden"]:
            x = keras.layers.Dense(layer["units"], activation=config["activation"])(x)
            if config["normalise"]:
                x = keras.layers.BatchNormalization()(x)
        if config["dropout"]:
            x = keras.layers.Dropout(config["dropout"])(x)
        return keras.Model(inputs, output_layers(x, spec))

    def _note(self, learning_rate: float) -> None:
        memory_bytes = psutil.Process().memory_info().rss
        line = json.dumps([os.getpid(), time.time(), memory_bytes, learning_rate])
        with (self.folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def mixed_space(folder: Path) -> SearchSpace:
    """Return a space of dense networks, hardly two of which have the same graph; notes go to `folder`."""
    return SearchSpace(
        "mixed",
        [
            Repeat("hidden", 1, 4, [Int("units", 8, 128)]),
            Choice("activation", ["relu", "tanh", "elu", "gelu"]),
            Choice("normalise", [False, True]),
            Choice("dropout", [0.0, 0.1, 0.3]),
            Choice("optimizer", ["adam", "sgd", "rmsprop"]),
            Float("learning_rate", 1e-4, 1e-2, log=True),
            Choice("batch_size", [32, 64, 128]),
        ],
        NotingBuild(folder),
    )


def read_notes(folder: Path) -> dict[int, list[Note]]:
    """Return the notes of each worker, in order."""
    notes: dict[int, list[Note]] = defaultdict(list)
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            note = Note(**dict(zip(Note.__dataclass_fields__, json.loads(line), strict=True)))
            notes[note.process_id].append(note)
    return dict(notes)
