"""How the URL of a storage is shown, and where it may stand beside the command line: it may hold a password."""

from __future__ import annotations

import os
import re
import shlex

MASK = "***"
"""What stands for a password."""
STORAGE_VARIABLE = "AUTOML_STORAGE"
"""The environment variable that `--storage` is taken from where it is not given."""

_PASSWORD = re.compile(r"(?<=//)([^:/@]*):[^@]*@")  # as SQLAlchemy reads it
_PARAMETER = re.compile(r"([?&]\w*password=)[^&]*")  # as PostgreSQL's and MySQL's clients do


def shown_url(url: str) -> str:
    """Return a storage URL as it may be shown, also one that is none: without its password.

    Example:
        >>> shown_url("postgresql://me:secret@host/studies"), shown_url("mysql://host/studies?password=secret")
        ('postgresql://me:***@host/studies', 'mysql://host/studies?password=***')
    """
    return _PARAMETER.sub(rf"\1{MASK}", _PASSWORD.sub(rf"\1:{MASK}@", url))


def storage_option(url: str | None) -> str:
    """Return what a command line needs to find a storage again, with a space before it.

    It is nothing where the environment says it, and never shows a password, which is to be put in its place again.

    Example:
        >>> storage_option("postgresql://me:secret@host/studies"), storage_option(None)
        (" --storage 'postgresql://me:***@host/studies'", '')
    """
    if url is None or url == os.environ.get(STORAGE_VARIABLE):
        return ""
    return f" --storage {shlex.quote(shown_url(url))}"
