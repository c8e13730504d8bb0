"""Random faults in real searches: how many were survived, and what was lost, doubled or left behind (nothing may be).

    python -m benchmarks.faults [--minutes 30] [--seed 0] [--json faults.json]

Studies of a few small trials are searched one after the other, with a sampler, a scheduler, and finalists and a refit
that are drawn too; each is hurt several times at random moments, often where there are checkpoints, or while finalists
train: drivers and workers are killed, drivers interrupted, journals torn, checkpoints damaged, a disk is filled (as
root: a small tmpfs), a real MLflow server is stopped and restarted. One trial in five brings a fault of its own: NaN,
too much memory, a crash, an epoch that hangs. After each fault all that was known must be known, unchanged, and no
process left; at a study's end its budget must be exact, and MLflow must agree with it epoch by epoch. Exit code 1 where
it is not so.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fault_injection import FAULTS, BrokenError, FaultySearch, Moment, put_in
from benchmarks.reporting import write_json

_TRIALS = 6  # of a study to begin with, and more after each fault
_MORE = 2
_FAULTS = 6  # a study
_LAST_DRIVERS = 5  # that may end otherwise than well after the last fault
_DISK_BYTES = 96 * 2**20
_LATER_SECONDS = {"epoch": 3.0, "checkpoint": 0.5, "finalist": 0.5}  # than the moment that was waited for, at most
_OUTAGE_SECONDS = 4.0
_SERVER_SECONDS = 90.0  # what an MLflow server is given to start


class MlflowServer:
    """A real MLflow server on this machine, which can be stopped and started again on the same port and store."""

    def __init__(self, folder: Path) -> None:
        """Start it, and wait until it answers."""
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _SERVER_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the MLflow server does not start: see {self._folder / 'server.log'}")
            time.sleep(0.5)

    def stop(self) -> None:
        """End it without a goodbye."""
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1.0).close()
        except OSError:
            return False
        return True


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a small disk on a folder; False where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        yield False
        return
    try:
        yield True
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # an open connection to MLflow's store keeps what is left in memory
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(search: FaultySearch) -> None:
    """Fill the disk until a driver has noticed, make room again, and let another go on where it has ended."""
    filler = search.home / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:  # it is full
            pass
    assert search.driver is not None
    deadline = time.monotonic() + 10.0
    while search.driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    filler.unlink()
    if search.driver.poll() is not None:
        search.wait_end()
        search.go_on()


def draw_options(choose: random.Random) -> dict[str, str]:
    """Return the options of a study: every other one has finalists, and most of these a refit."""
    options = {"sampler": choose.choice(["random", "tpe"]), "scheduler": choose.choice(["none", "asha", "median"])}
    options["finalists"] = choose.choice(["0", "1"])
    return options if options["finalists"] == "0" or choose.random() < 0.75 else {**options, "no-refit": ""}


def hurt_one_study(choose: random.Random) -> Counter[str]:
    """Search one study to its end through several faults, and return which these were.

    Raises:
        BrokenError: Something did not survive.
    """
    with tempfile.TemporaryDirectory(prefix="automl-faults-") as name:
        folder = Path(name)
        with small_disk(folder / "home") as has_disk:
            server = MlflowServer(folder) if choose.random() < 0.3 else None
            environment = {} if server is None else {"MLFLOW_TRACKING_URI": server.uri}
            options = draw_options(choose)
            print(f"   {options}{', an MLflow server' if server else ''}", flush=True)
            search = FaultySearch(folder, environment=environment, options=options)
            moments: list[Moment] = ["epoch", "checkpoint", "finalist"]
            moments = moments[:2] if options["finalists"] == "0" else moments
            kinds = [*FAULTS, *(["disk filled"] if has_disk else []), *(["MLflow restarted"] * 2 if server else [])]
            survived: Counter[str] = Counter()
            try:
                search.start(trials=_TRIALS)
                for _ in range(_FAULTS):
                    moment = search.wait_training(more=_MORE, at=choose.choice(moments))
                    time.sleep(choose.uniform(0.0, _LATER_SECONDS[moment]))
                    fault = choose.choice(kinds)
                    print(f"   {fault} (a moment of: {moment})", flush=True)
                    _hurt(search, fault, choose, server)
                    survived[fault] += 1
                _finish(search)
                return survived + Counter({f"trial: {reason}": count for reason, count in search.failures().items()})
            except BrokenError:
                kept = Path(tempfile.mkdtemp(prefix="automl-broken-")) / "search"
                shutil.copytree(folder, kept)
                print(f"   kept in {kept}", flush=True)
                raise
            finally:
                search.kill_all()
                if server is not None:
                    server.stop()


def _hurt(search: FaultySearch, fault: str, choose: random.Random, server: MlflowServer | None) -> None:
    if fault == "disk filled":
        fill_disk(search)
    elif server is not None and fault == "MLflow restarted":
        server.stop()
        time.sleep(_OUTAGE_SECONDS)
        server.start()
    else:
        put_in(search, fault, choose)


def _finish(search: FaultySearch) -> None:
    for _ in range(_LAST_DRIVERS):
        code = search.wait_end()
        if code == 0:
            break
        search.go_on()  # the last fault may have come after its driver's end began
    else:
        raise BrokenError(f"{_LAST_DRIVERS} drivers one after the other ended badly, the last with exit code {code}")
    states = search.verify_end()
    epochs = search.verify_mlflow(is_whole=True)
    resumed = f"{search.went_on} trainings had a checkpoint to go on from"
    print(f"   ended well: {states}, {epochs} epochs equal in MLflow, {resumed}", flush=True)


def main() -> None:
    """Hurt studies until the time is over, and print what was survived."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    survived: Counter[str] = Counter()
    broken: list[str] = []
    studies = 0
    while time.monotonic() < deadline:
        print(f"study {studies} of seed {options.seed}", flush=True)
        try:
            survived += hurt_one_study(random.Random(f"{options.seed}-{studies}"))
        except BrokenError as error:
            print(f"   BROKEN: {error}", flush=True)
            broken.append(f"study {studies}: {error}")
        studies += 1
    print(f"\n{sum(survived.values())} faults in {studies} studies survived, {len(broken)} studies broken")
    print("\n".join(f"  {count:4d}  {fault}" for fault, count in survived.most_common()))
    if options.json:
        write_json(options.json, {"seed": options.seed, "studies": studies, "survived": survived, "broken": broken})
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
