"""The lists of fixed trials: they lie in their spaces, and are those of the peers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from automl import SearchSpace
from benchmarks import fixed_trials, small_lists
from benchmarks.fixed_run import WORKS, kept_home
from benchmarks.mixed_trials import mixed_space, read_notes

_PEERS = Path(os.environ.get("AUTOML_DATA", ""), "..", "bench")


def _whole(space: SearchSpace, config: dict[str, object]) -> dict[str, object]:
    def left_open(name: str, _: object) -> object:
        raise AssertionError(f"{name} is left open")

    return space.complete(config, left_open)


@pytest.mark.parametrize("kind", ["digits", "conv"])
def test_small_trials_are_whole_configs_of_their_space(kind: str) -> None:
    configs = small_lists.configs(kind)

    assert [_whole(small_lists.SPACES[kind], config) for config in configs] == configs
    assert len(configs) == WORKS[kind].trials


def test_fixed_trials_are_whole_configs_of_their_space() -> None:
    configs = fixed_trials.configs(16, seed=7)

    assert [_whole(fixed_trials.space, config) for config in configs] == configs


def test_fixed_trials_lie_in_the_space_that_is_searched() -> None:
    configs = fixed_trials.configs(16, seed=7)

    assert [_whole(fixed_trials.searched_space, config) for config in configs] == configs


@pytest.mark.skipif(not (_PEERS / "small_trials.py").exists(), reason="the peers' scripts are not beside AUTOML_DATA")
@pytest.mark.parametrize("kind", ["digits", "conv"])
def test_small_trials_are_those_of_the_peers(kind: str) -> None:
    told = "import json, small_trials; print(json.dumps(small_trials.configs()))"
    done = subprocess.run(
        [sys.executable, "-c", told, kind, "plain"],
        env={**os.environ, "PYTHONPATH": str(_PEERS)},
        stdout=subprocess.PIPE,
        check=True,
    )
    names = {"lr": "learning_rate", "bs": "batch_size"}
    theirs = [{names.get(name, name): value for name, value in one.items()} for one in json.loads(done.stdout)]

    ours = small_lists.configs(kind)

    assert [{name: one[name] for name in ours[0]} for one in theirs] == ours


def test_digits_leave_as_many_rows_to_train_as_the_peers_have() -> None:
    x, y, _, _ = small_lists.digits_rows()

    assert x.shape == (1437 + 360, 64)
    assert len(y) == len(x)


def test_mixed_trials_note_the_process_and_their_learning_rate(keras_here: None, tmp_path: Path) -> None:
    from automl.testing import example_spec

    space = mixed_space(tmp_path)
    for _ in range(2):
        space.build(space.default_config(), example_spec("numbers"))

    notes = read_notes(tmp_path)

    assert [note.learning_rate for note in notes[os.getpid()]] == [space.default_config()["learning_rate"]] * 2
    assert all(note.memory_bytes > 0 for note in notes[os.getpid()])


def test_kept_home_is_emptied_but_for_what_was_compiled(tmp_path: Path) -> None:
    for name in ("compiled", "studies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "automl.json").touch()

    with kept_home(tmp_path) as home:
        assert [path.relative_to(home) for path in home.rglob("file")] == [Path("compiled", "file")]
        assert [path.name for path in home.iterdir()] == ["compiled"]

    assert tmp_path.exists()
