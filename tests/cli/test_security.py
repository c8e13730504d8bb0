"""What docs/security.md says, where no other test shows it."""

from __future__ import annotations

import http.client
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import automl

_PACKAGES = [Path(automl.__file__).parent.parent / name for name in ("automl", "dashboards", "search_spaces")]


def test_nothing_is_unpickled_from_a_file() -> None:
    """Of the ways to do so none is in our code, but for the worker's pipe."""
    found = set()
    for path in (one for package in _PACKAGES for one in package.rglob("*.py")):
        code = path.read_text("utf-8")
        dangerous = re.findall(
            r"pickle\.loads?\(.*|joblib|shelve|allow_pickle=True|yaml\.(?:unsafe_|full_)?load\(", code
        )
        unsafe = [call for call in re.findall(r"np\.load\(.*", code) if "allow_pickle=False" not in call]
        models = re.findall(r"saving\.load_model\(.*", code)
        unsafe += [call for call in models if "safe_mode=True" not in call]
        found |= {(path.name, call) for call in dangerous + unsafe}
    assert found == {("worker.py", "pickle.loads(self._pickled)")}


def test_names_do_not_steer_the_terminal(tmp_path: Path) -> None:
    """A column's name clears the screen, a warning and an error tell of it, and both show it instead."""
    rows = "".join(f"{row % 7},1,{row % 2}\n" for row in range(60))
    (tmp_path / "evil.csv").write_text(f"size,\x1b[2Jempty,y\n{rows}", "utf-8")
    arguments = ["search", "evil.csv", "--target", "y", "--set", "\x1b[2Jempty=1", "--home", "home"]
    ours, theirs = pty.openpty()
    ran = subprocess.Popen(
        [str(Path(sys.executable).with_name("automl")), *arguments], cwd=tmp_path, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = _all_of(ours)
    assert ran.wait() == 2
    assert shown.count("\\x1b[2Jempty") == 2
    assert "\x1b[2J" not in shown


def _all_of(terminal: int) -> str:
    pieces = []
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            piece = b""
        if not piece:
            os.close(terminal)
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_the_ui_is_served_on_loopback_and_to_its_own_name_only(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("automl")), "ui", "--home", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as served:
        try:
            assert _status(port, f"127.0.0.1:{port}", served) == 200
            assert _status(port, f"localhost:{port}", served) == 200
            assert _status(port, f"evil.example:{port}", served) == 403
            family = psutil.Process(served.pid).children(recursive=True)
            listening = {
                one.laddr.ip
                for process in family
                for one in process.net_connections()
                if one.status == psutil.CONN_LISTEN
            }
            assert listening == {"127.0.0.1"}
        finally:
            served.send_signal(signal.SIGINT)
        assert served.wait(30) == 0


def _status(port: int, host: str, served: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and served.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        except OSError:
            time.sleep(0.3)
        finally:
            connection.close()
    pytest.fail("the server did not answer in time")
