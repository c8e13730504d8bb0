"""A PostgreSQL of the tests' own: a temporary cluster on a Unix socket, as a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def find_binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)  # as Debian has it


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Run a server, and yield the URL of its database."""
    folder = Path(tempfile.mkdtemp(prefix="automl-pg-"))
    other: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        other = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    quiet = {"stdout": subprocess.DEVNULL, "cwd": folder, **other}
    data = folder / "data"
    server = None
    try:
        asked = ["--pgdata", data, "--username", "automl", "--auth", "trust", "--no-sync", "--encoding", "UTF8"]
        subprocess.run([binaries / "initdb", *asked], check=True, timeout=60, **quiet)
        options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={folder}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([binaries / "postgres", "-D", data, *options], stderr=log, **quiet)
        _wait_until_ready(binaries, folder, server)
        yield f"postgresql://automl@/postgres?host={folder}"
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # "fast": open connections are ended
            server.wait(30)
        shutil.rmtree(folder)


def _wait_until_ready(binaries: Path, folder: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run([binaries / "pg_isready", "-h", folder], stdout=subprocess.DEVNULL, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError((folder / "log").read_text())
        time.sleep(0.05)
