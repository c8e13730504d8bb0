"""Control characters in names are shown on a terminal, not obeyed."""

from __future__ import annotations

import pytest

from automl.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("price in €, ünïcode 漢字", "price in €, ünïcode 漢字"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("title\x1b]0;owned\x07", "title\\x1b]0;owned\\x07"),
        ("over\rwritten\b", "over\\x0dwritten\\x08"),
        ("eight bits \x9b31m", "eight bits \\x9b31m"),
        ("backwards \u202egnp.exe", "backwards \\u202egnp.exe"),
        ("null \x00 delete \x7f", "null \\x00 delete \\x7f"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
