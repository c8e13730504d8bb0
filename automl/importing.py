"""Importing what a reference names: a module, or a Python file that no package holds."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle

from automl.errors import SpaceError


def import_module(name: str) -> ModuleType:
    """Import a module, also from the working directory.

    Raises:
        SpaceError: It cannot be imported.
    """
    see_working_directory()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise SpaceError(f"cannot import module {name!r}: {one_line(error)}") from error


def see_working_directory() -> None:
    """Let modules of the working directory be found: a console script, unlike `python -m`, does not see it."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def import_file(path: Path) -> ModuleType:
    """Import a Python file; its functions are sent to workers by value.

    Raises:
        SpaceError: There is no such file, or it cannot be imported.
    """
    if not path.is_file():
        raise SpaceError(f"no such file: {path}")
    name = f"{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.resolve().parent) not in sys.path:
        sys.path.append(str(path.resolve().parent))  # a file may import its neighbours, as a script may
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise SpaceError(f"cannot import {path}: {one_line(error)}") from error
    cloudpickle.register_pickle_by_value(module)  # workers cannot import it by this name
    return module


def one_line(error: BaseException) -> str:
    """Return an error's type and message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
