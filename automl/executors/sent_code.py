"""How a space's builder is sent to workers: by value where they cannot import it, with the names of its files.

Cloudpickle leaves these out, and nobody could tell then where a trial hung or crashed. They stand in angle brackets,
as those of code do that no file holds: the file may have changed since, or be on another machine.
"""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable
from types import CodeType
from typing import Any, ClassVar

import cloudpickle


def pickle_builder(build: object) -> bytes:
    """Return a builder as bytes, which `cloudpickle.loads` reads.

    Raises:
        Exception: Whatever those of its parts raise that cannot be pickled.
    """
    file = io.BytesIO()
    _Pickler(file).dump(build)
    return file.getvalue()


def file_named(name: str) -> str:
    """Return the name of a file as it is without the brackets.

    Example:
        >>> file_named("</home/me/space.py>"), file_named("<frozen io>"), file_named("/usr/lib/io.py")
        ('/home/me/space.py', '<frozen io>', '/usr/lib/io.py')
    """
    return name[1:-1] if name.startswith("</") else name


def _reduced(code: CodeType) -> tuple[Callable[..., CodeType], tuple[Any, ...]]:
    _, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    name = code.co_filename
    return _code, (f"<{name}>" if name.startswith("/") else name, arguments)


def _code(file_name: str, arguments: tuple[Any, ...]) -> CodeType:
    return CodeType(*arguments).replace(co_filename=file_name)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    dispatch_table: ClassVar = ChainMap({CodeType: _reduced}, cloudpickle.Pickler.dispatch_table)
