"""What may be written to a terminal: text in which nothing steers it.

Names of columns, classes and files come from strangers' data. A terminal obeys the control characters in them: it
clears its screen, changes its title, or shows a line that says something else.
"""

from __future__ import annotations

from itertools import chain

_KEPT = "\n\t"
_STEERING = chain(
    range(0x20),
    range(0x7F, 0xA0),  # ... and what an eight-bit terminal takes for an escape sequence
    (0x2028, 0x2029),
    range(0x202A, 0x202F),  # direction of writing: the text that follows would be shown in another order
    range(0x2066, 0x206A),
)
_SHOWN = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _STEERING if chr(code) not in _KEPT}


def printable(text: str) -> str:
    r"""Return a text whose control characters are shown instead of obeyed; lines and tabs stay.

    Example:
        >>> print(printable("name\x1b[2J"))
        name\x1b[2J
    """
    return text.translate(_SHOWN)
