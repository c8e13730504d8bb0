"""Builders that travel by value: they do what they did, and say where they come from."""

from __future__ import annotations

import traceback
from pathlib import Path

import cloudpickle
import pytest

from automl.executors.sent_code import pickle_builder

_SPACE = """
def build(config, spec):
    def halved(units):
        return 100 // units
    return halved(config["units"])
"""


def _built(file_name: str, units: int) -> int:
    """Return what a file's builder gives once it has travelled."""
    names: dict[str, object] = {"__name__": "a_space_of_a_user"}
    exec(compile(_SPACE, file_name, "exec"), names)
    sent = cloudpickle.loads(pickle_builder(names["build"]))
    result: int = sent({"units": units}, None)
    return result


@pytest.mark.parametrize(
    ("file_name", "told"), [("/home/me/space.py", "</home/me/space.py>"), ("<ipython-input-1>", "<ipython-input-1>")]
)
def test_code_keeps_the_name_of_its_file(file_name: str, told: str) -> None:
    assert _built(file_name, 50) == 2
    with pytest.raises(ZeroDivisionError) as caught:
        _built(file_name, 0)
    frames = [(one.filename, one.lineno, one.name) for one in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == [(told, 5, "build"), (told, 4, "halved")]


def test_what_the_file_holds_by_now_is_not_taken_for_what_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "space.py"
    path.write_text("something\n" * 9)
    with pytest.raises(ZeroDivisionError) as caught:
        _built(str(path), 0)
    assert "something" not in "".join(traceback.format_exception(caught.value))
