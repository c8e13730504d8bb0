"""What docs/security.md says, where no other test shows it."""

from __future__ import annotations

import ast
import http.client
import os
import pty
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


_PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
_READERS = ("load", "loads", "open", "Unpickler")
_FROM_THE_PIPE = ("automl/executors/worker.py", "cloudpickle.loads(self._pickled)")


def _what_may_unpickle(code: str) -> list[str]:
    """Return the calls that may run what they read, and imports that would hide such a call."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(code)) if _may_unpickle(node)]


def _may_unpickle(node: ast.AST) -> bool:
    match node:
        case ast.ImportFrom(module=module, names=names):
            return module in _PICKLES and any(one.name in _READERS for one in names)
        case ast.Import(names=names):
            return any(one.name in _PICKLES and one.asname for one in names)
        case ast.Call(func=ast.Attribute(value=owner, attr=name), keywords=keywords):
            options = {one.arg: ast.unparse(one.value) for one in keywords}
            return _reads_unsafely(ast.unparse(owner), name, options)
    return False


def _reads_unsafely(owner: str, name: str, options: dict[str | None, str]) -> bool:
    if owner in ("np", "numpy") and name == "load":
        return options.get("allow_pickle") != "False"
    if name == "load_model":
        return options.get("safe_mode") != "True"
    return (
        (owner in _PICKLES and name in _READERS)
        or (owner == "yaml" and name.removesuffix("_all") in ("load", "full_load", "unsafe_load"))
        or (owner == "torch" and name == "load")
        or name == "read_pickle"
        or options.get("allow_pickle") == "True"
    )


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(file)",
        "cloudpickle.loads(content)",
        "pickle.Unpickler(file)",
        "from pickle import loads",
        "import cloudpickle as safe",
        "shelve.open(path)",
        "np.load(path)",
        "numpy.load(path, mmap_mode='r', allow_pickle=True)",
        "keras.saving.load_model(path, compile=False)",
        "yaml.load(text, Loader)",
        "pd.read_pickle(path)",
        "torch.load(path)",
    ],
)
def test_what_unpickles_is_seen(code: str) -> None:
    assert _what_may_unpickle(code) == [code]


def test_nothing_is_unpickled_from_a_file() -> None:
    """Nothing of ours reads so, but the builder that the driver sends through the worker's pipe."""
    found = {
        (str(path.relative_to(package.parent)), what)
        for package in _PACKAGES
        for path in package.rglob("*.py")
        for what in _what_may_unpickle(path.read_text("utf-8"))
    }
    assert found == {_FROM_THE_PIPE}
    worker = Path(automl.__file__).parent / "executors" / "worker.py"
    calls = [ast.unparse(node) for node in ast.walk(ast.parse(worker.read_text("utf-8"))) if isinstance(node, ast.Call)]
    assert [call for call in calls if call.startswith("_DeferredBuild(")] == [
        "_DeferredBuild(prepare.build, sees_driver=prepare.sees_driver)"
    ]


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


def _free_port(address: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            pytest.skip(f"{address} is not to be had here: {error.strerror}")
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("options", "address", "name"),
    [([], "127.0.0.1", "127.0.0.1"), (["--host", "::1"], "::1", "[::1]")],
    ids=["default", "IPv6"],
)
def test_the_ui_is_served_on_loopback_and_to_its_own_name_only(
    options: list[str], address: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").touch()
    port = _free_port(address)
    command = [str(Path(sys.executable).with_name("automl")), "ui", "--home", str(tmp_path), "--port", str(port)]
    command += options
    with subprocess.Popen(command, env={**os.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as served:
        try:
            assert _status(address, port, f"{name}:{port}", served) == 200
            assert _status(address, port, f"localhost:{port}", served) == 200
            for evil in ("evil.example", "10.evil.example"):  # MLflow's own rule takes the latter for a private address
                assert _status(address, port, f"{evil}:{port}", served) == 403
            family = psutil.Process(served.pid).children(recursive=True)
            listening = {
                one.laddr.ip
                for process in family
                for one in process.net_connections()
                if one.status == psutil.CONN_LISTEN
            }
            assert listening == {address}
        finally:
            served.send_signal(signal.SIGINT)
        told = b"".join(served.communicate(timeout=30))
        assert served.returncode == 0
        assert f"MLflow UI: http://{name}:{port}/".encode() in told


def _status(address: str, port: int, host: str, served: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and served.poll() is None:
        try:
            connection = http.client.HTTPConnection(address, port, timeout=10)
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        except OSError:
            time.sleep(0.3)
        finally:
            connection.close()
    pytest.fail("the server did not answer in time")
