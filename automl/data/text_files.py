"""Opening text files: compression and encoding are found from the first bytes."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path
from typing import IO

from automl.data.files import unreadable
from automl.errors import DataError

SAMPLE_BYTES = 2**20
UTF8 = "utf-8-sig"  # spreadsheets write a byte order mark

_GUESS_BYTES = 2**16
_GZIP_MAGIC = b"\x1f\x8b"
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_gzip(path: Path) -> bool:
    """Return True when a file's content is gzipped, whatever its name is."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file that may be gzipped for reading its bytes."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def read_sample(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed.

    Raises:
        DataError: The file cannot be read, or is cut off within them.
    """
    try:
        with open_bytes(path) as file:
            return file.read(SAMPLE_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is not a whole gzip file ({error}); fetch or save it again") from error
    except OSError as error:
        raise unreadable(path, error) from error


def find_encoding(where: object, sample: bytes, encoding: str | None) -> str:
    """Return the name of a text's encoding: the one that is asked for, UTF-8 where it fits, else the likeliest.

    Args:
        where: Path of the file, for errors.
        sample: Its first bytes.
        encoding: What the user said, or None.

    Raises:
        DataError: Python knows no such encoding, or none fits the bytes.
    """
    if encoding is not None:
        return _known_encoding(encoding)
    if sample.startswith(_UTF16_MARKS):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return _guess(where, sample)
    return UTF8


def not_text(where: object, encoding: str) -> DataError:
    """Return the error for bytes that an encoding cannot read."""
    name = "UTF-8" if encoding == UTF8 else encoding
    return DataError(
        f"{where} is not text in {name}; say its encoding, such as --encoding latin-1, or save it as UTF-8"
    )


def _known_encoding(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise DataError(
            f"--encoding: expected the name of a text encoding such as utf-8 or latin-1, received {encoding!r}"
        ) from error
    return UTF8 if name == "utf-8" else name


def _guess(where: object, sample: bytes) -> str:
    from charset_normalizer import from_bytes

    telling = b"\n".join(line for line in sample.splitlines() if not line.isascii())
    best = None if b"\0" in sample else from_bytes(telling[:_GUESS_BYTES]).best()
    if best is None:
        raise not_text(where, UTF8)
    return best.encoding
