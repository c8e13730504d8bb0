"""Files that outlive a loss of power: what a study's synced journal speaks of must not be empty afterwards."""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

# What zipfile raises at damaged bytes, which may claim anything: another method, a password, a header of its own.
_DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # what some network file systems say of folders


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk; it may have been written elsewhere."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sync_named(path: Path) -> None:
    """Wait until a file and its name are on the disk; one that is missing is nobody's concern here."""
    with suppress(FileNotFoundError):
        sync(path)
        sync(path.parent)


def put_folder_in_place(temporary: Path, folder: Path) -> None:
    """Rename a folder once all that is in it is on the disk; one that was in its place goes then."""
    for parent, _, names in os.walk(temporary):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(temporary, folder)
    sync(folder.parent)


def is_whole_zip(path: Path) -> bool:
    """Return True where a file can be read as a zip archive to its last byte: `.npz` and `.keras` files are such."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except _DAMAGE:
        return False
