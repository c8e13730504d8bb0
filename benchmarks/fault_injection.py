"""Real searches that faults are put into, and what must be true after each fault.

A search runs as people run it, `automl search` and `automl resume` in processes of their own. Faults within trials
(NaN, too much memory, a crash, an epoch that hangs) come from the space: a trial's ticket says what happens to it.
Faults from outside are signals and damaged files. After every one, what was known before must still be known.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

import automl
from automl.errors import AutomlError
from automl.records import TrialRecord
from benchmarks.mlflow_agreement import EXACT, compare

STUDY = "faulted"
_EPOCHS = 8
_OWN_FAULTS = {3, 7, 11, 15}  # tickets, of twenty
_HANGS = 11  # one of them
_TIMEOUT_SECONDS = 6
_END_SECONDS = 60.0  # what a driver that was told to end is given
_ORPHAN_SECONDS = 15.0  # what workers of a dead driver are given to notice
_LOOK_SECONDS = 0.2
_ROUNDS = 3  # that a moment is waited for which may be missed

Moment = Literal["epoch", "checkpoint", "finalist"]
"""When a fault comes: after another epoch; where a checkpoint lies there; while a finalist or the refit trains."""

_EPOCH: list[Moment] = ["epoch"]

OPTIONS: Mapping[str, str] = {"sampler": "random", "scheduler": "none", "finalists": "0"}
"""The options of `automl search` that may be drawn, in their simplest form; a flag has an empty value."""

SPACE = '''
"""Dense layers, and a ticket that says what happens to the trial: of twenty, four draw a fault.

There is a checkpoint after every epoch, however short it is, and on however small a disk.
"""
import os, resource, signal, time
import numpy as np
from automl import Choice, Int, SearchSpace, input_layers, output_layers


def build(config, spec):
    import keras

    from automl.training import checkpoint

    checkpoint._LOST_SECONDS, checkpoint._COST_SHARE, checkpoint._FREE_BYTES = 0.0, 1e9, 2**20
    inputs, x = input_layers(spec)
    ticket = config["ticket"] % 20
    if ticket == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if ticket == 7:
        allocate_too_much()
    if ticket == 11:
        hang()
    if ticket == 15:
        x = keras.layers.Rescaling(float("nan"))(x)
    for _ in range(3):
        x = keras.layers.Dense(config["units"], activation="relu")(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, output_layers(x, spec))


def hang():
    time.sleep(3600)


def allocate_too_much():
    """Run out of a gigabyte more than this process has: really, and without harm to the machine."""
    own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + 2**30, limits[1]))
    try:
        np.ones(2**31, dtype="int8")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


space = SearchSpace("faulty", [Int("ticket", 0, 9999), Int("units", 192, 384), Choice("batch_size", [32])], build)
'''


class BrokenError(AssertionError):
    """Something that had to survive did not."""


@dataclass
class FaultySearch:
    """One study that is searched, hurt, and resumed.

    Attributes:
        folder: Where the space and the home folder lie.
        environment: Further environment of every process, such as `MLFLOW_TRACKING_URI`.
        workers: Worker processes of each driver.
        options: What else is asked for when the study begins, over `OPTIONS`.
        patience_seconds: How long a moment is waited for.
        deaths: Drivers that ended before the study did, so far.
        went_on: Trainings that such a driver left with a checkpoint, so far.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    workers: int = 2
    options: Mapping[str, str] = field(default_factory=dict)
    patience_seconds: float = 600.0
    trials: int = 0
    deaths: int = 0
    went_on: int = 0
    driver: subprocess.Popen[bytes] | None = None
    _family: list[psutil.Process] = field(default_factory=list)
    _known: dict[int, TrialRecord] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.folder / "home"

    @property
    def study_folder(self) -> Path:
        """The study's folder."""
        return self.home / "studies" / STUDY

    def start(self, *, trials: int) -> None:
        """Let a driver search until the study has so many trials more; the first call begins the study."""
        self.trials += trials
        (self.folder / "faulty_space.py").write_text(SPACE, "utf-8")
        if self.study_folder.exists():
            self.resume()
            return
        options = {"space": "faulty_space.py:space", "trials": self.trials, "epochs": _EPOCHS, "patience": 0}
        options |= {"workers": self.workers, "name": STUDY, "trial-timeout": f"{_TIMEOUT_SECONDS}s", "retries": 1}
        options |= {**OPTIONS, **self.options}
        named = (f"--{name}" if value == "" else f"--{name}={value}" for name, value in options.items())
        self._run("search", "digits", *named)

    def resume(self) -> None:
        """Let another driver go on."""
        self._run("resume", STUDY, f"--trials={self.trials}")

    def wait_training(self, *, more: int, at: Moment = "epoch") -> Moment:
        """Wait for a moment of training; a study that has ended before goes on with so many trials more.

        Returns:
            The moment; "epoch" where the other one was missed again and again.

        Raises:
            BrokenError: Nothing trains, and nothing ends.
        """
        deadline = time.monotonic() + self.patience_seconds
        moments: list[Moment] = [*[at] * _ROUNDS, *_EPOCH * _ROUNDS]
        for moment in moments:
            if self._comes(moment, deadline):
                return moment
            self.wait_end()
            self.start(trials=more)
        raise BrokenError(f"{2 * _ROUNDS} drivers one after the other ended before an epoch was trained")

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints that there are."""
        return sorted((self.study_folder / "checkpoints").glob("*/*.npz"))

    def go_on(self) -> None:
        """Verify what a driver has left that is dead, and let another one go on.

        Raises:
            BrokenError: Something did not survive.
        """
        self.deaths += 1
        self.verify()
        self.verify_mlflow(is_whole=False)
        kept = {path.parent.name for path in self.checkpoints()}
        self.went_on += len(kept - {f"{one.number:06d}" for one in self._known.values() if one.state.is_final})
        self.resume()

    def wait_end(self, seconds: float = 600.0) -> int:
        """Wait until the driver has ended, and return its exit code.

        Raises:
            BrokenError: It does not end, or leaves processes behind.
        """
        assert self.driver is not None
        self._remember_family()
        try:
            code = self.driver.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise BrokenError(f"the driver did not end within {seconds:.0f} s") from None
        self._check_orphans()
        return code

    def signal_driver(self, number: int) -> None:
        """Send the driver a signal."""
        assert self.driver is not None
        self._remember_family()
        if self.driver.poll() is None:
            self.driver.send_signal(number)

    def kill_worker(self, choose: random.Random) -> None:
        """Kill one worker of the driver, if there is one."""
        self._remember_family()
        workers = [one for one in self._family if one.is_running() and _is_worker(one)]
        if workers:
            choose.choice(workers).send_signal(signal.SIGKILL)

    def kill_all(self) -> None:
        """End whatever is left."""
        for one in [*self._family]:
            if one.is_running():
                one.kill()
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait()

    def verify(self) -> None:
        """Check that what was known is known, that nothing is there twice, and that what has ended left nothing.

        Raises:
            BrokenError: It is not so.
        """
        record = automl.load_result(STUDY, home=self.home).record
        numbers = Counter(trial.number for trial in record.trials)
        if twice := [number for number, count in numbers.items() if count > 1]:
            raise BrokenError(f"trials {twice} are there twice")
        configs = Counter(json.dumps(trial.config, sort_keys=True) for trial in record.trials)
        if same := [config for config, count in configs.items() if count > 1]:
            raise BrokenError(f"configs were trained twice: {same}")
        now = {trial.number: trial for trial in record.trials}
        for number, before in self._known.items():
            self._check_kept(before, now.get(number))
        self.know(record.trials)
        hung = [one for one in record.trials if one.reason == "timeout" and one.config["ticket"] % 20 == _HANGS]
        if silent := [one.number for one in hung if " in hang\n" not in one.message]:
            raise BrokenError(f"nothing says where trials {silent} hung")
        kept = {int(name) for path in self.checkpoints() if (name := path.parent.name).isdigit()}
        left = sorted(number for number in kept if number in now and now[number].state.is_final)
        if len(left) > self.deaths:  # a driver may die between a trial's end and deleting them; the study's end does
            raise BrokenError(f"checkpoints of trials {left} are left, which have ended")

    def know(self, trials: Iterable[TrialRecord]) -> None:
        """Take these trials for all that is known; they must not be lost from now on."""
        self._known = {trial.number: trial for trial in trials}

    def verify_end(self) -> dict[str, int]:
        """Check a study whose driver has ended well; return how many trials ended in which state.

        Raises:
            BrokenError: The budget is not exact, or a trial seems to run.
        """
        self.verify()
        states = Counter(str(trial.state.value) for trial in self._known.values())
        counted = states["complete"] + states["pruned"]
        if counted != self.trials:
            raise BrokenError(f"expected {self.trials} complete or pruned trials, found {counted}")
        if states["running"] or states["waiting"]:
            raise BrokenError(f"trials seem to run: {dict(states)}")
        if left := self.checkpoints():
            raise BrokenError(f"checkpoints are left, though all has ended: {left}")
        return dict(states)

    def failures(self) -> dict[str, int]:
        """Return how many trials failed of the fault that they drew, by reason, whether they were run again or not."""
        failed = [trial for trial in self._known.values() if trial.state.value == "failed"]
        return dict(Counter(trial.reason for trial in failed if trial.config["ticket"] % 20 in _OWN_FAULTS))

    def verify_mlflow(self, *, is_whole: bool) -> int:
        """Check that MLflow has every training once, epoch by epoch; return how many epochs were compared.

        Args:
            is_whole: It has all of it; while the search is not at its end, it may lag behind the study.

        Raises:
            BrokenError: It has something else.
        """
        uri = self.environment.get("MLFLOW_TRACKING_URI")
        store = self.home / "mlflow.db"
        if uri is None and not is_whole and not store.exists():  # looking would make one
            return 0
        record = automl.load_result(STUDY, home=self.home).record
        compared, differences = compare(record, uri or f"sqlite:///{store}", is_whole=is_whole)
        if differences:
            raise BrokenError("; ".join(differences))
        return compared

    def _run(self, *arguments: str) -> None:
        with (self.folder / "driver.log").open("ab") as log:
            self.driver = subprocess.Popen(
                [str(Path(sys.executable).with_name("automl")), *arguments, f"--home={self.home}", "--quiet"],
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._family = []

    def _remember_family(self) -> None:
        """Note the driver's children while they can still be told from other processes."""
        assert self.driver is not None
        try:
            children = psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        self._family += [one for one in children if one not in self._family]

    def _check_orphans(self) -> None:
        _, alive = psutil.wait_procs(self._family, timeout=_ORPHAN_SECONDS)
        left = [one for one in alive if one.is_running()]
        if left:
            self.kill_all()
            raise BrokenError(f"{len(left)} processes outlived their driver: {left}")

    def _check_kept(self, before: Any, now: Any) -> None:
        if now is None:
            raise BrokenError(f"trial {before.number} is lost")
        if (before.config, before.seed) != (now.config, now.seed):
            raise BrokenError(f"trial {before.number} has become another one")
        if before.state.is_final and before != now:
            raise BrokenError(f"trial {before.number} had ended, and has changed")
        epochs = {one.epoch: one.metrics for one in now.epochs}
        for one in before.epochs:
            if not _is_same(one.metrics, epochs.get(one.epoch, {})):
                raise BrokenError(f"epoch {one.epoch} of trial {before.number} is lost, or another one")

    def _comes(self, moment: Moment, deadline: float) -> bool:
        """Wait for a moment; return False where the driver has ended before.

        Raises:
            BrokenError: The driver neither gets there nor ends.
        """
        assert self.driver is not None
        known = self._epochs()
        has_come: Mapping[Moment, Callable[[], bool]] = {
            "epoch": lambda: self._epochs() != known,
            "checkpoint": lambda: bool(self.checkpoints()),
            "finalist": lambda: any("-" in path.parent.name for path in self.checkpoints()),
        }
        while not has_come[moment]():
            if self.driver.poll() is not None:
                return False
            if time.monotonic() > deadline:
                self.kill_all()
                raise BrokenError(f"the driver neither trains nor ends: no {moment} in {self.patience_seconds:.0f} s")
            time.sleep(_LOOK_SECONDS if moment == "epoch" else _LOOK_SECONDS / 4)
        return True

    def _epochs(self) -> int:
        """Return how many epochs are known now; none while there is no study."""
        try:
            trials = automl.load_result(STUDY, home=self.home).record.trials
        except AutomlError:
            return 0
        return sum(len(trial.epochs) for trial in trials)


def _is_same(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Return True for metrics of one epoch, which may have been trained twice."""
    return before.keys() == now.keys() and all(abs(before[name] - now[name]) <= EXACT for name in before)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "automl.executors.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # it has ended since, or is a zombie
        return False


Fault = Callable[[FaultySearch, random.Random], None]


def tear_journal(search: FaultySearch) -> None:
    """Leave half a line at the journal's end, as a crash in the middle of a write does."""
    with (search.study_folder / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code": 8, "worker_id": "torn", "tri')


def damage_checkpoint(search: FaultySearch, choose: random.Random) -> None:
    """Overwrite some bytes in the middle of the newest checkpoint, if there is one."""
    files = sorted(search.checkpoints(), key=lambda path: path.stat().st_mtime)
    if files:
        with files[-1].open("r+b") as file:
            file.seek(choose.randrange(max(1, files[-1].stat().st_size - 8)))
            file.write(b"damaged!")


def _end_driver(*numbers: int) -> Fault:
    """Return what sends a driver signals, one shortly after the other, and waits for its end."""

    def fault(search: FaultySearch, choose: random.Random) -> None:
        for number in numbers:
            search.signal_driver(number)
            time.sleep(choose.uniform(0.0, 0.5))
        search.wait_end(_END_SECONDS)

    return fault


def _kill_worker(search: FaultySearch, choose: random.Random) -> None:
    search.kill_worker(choose)


def _tear(search: FaultySearch, choose: random.Random) -> None:
    _end_driver(signal.SIGKILL)(search, choose)
    tear_journal(search)


def _damage(search: FaultySearch, choose: random.Random) -> None:
    _end_driver(signal.SIGINT)(search, choose)
    damage_checkpoint(search, choose)


FAULTS: Mapping[str, Fault] = {
    "driver killed": _end_driver(signal.SIGKILL),
    "driver interrupted": _end_driver(signal.SIGINT),
    "driver interrupted twice": _end_driver(signal.SIGINT, signal.SIGINT),
    "driver terminated": _end_driver(signal.SIGTERM),
    "worker killed": _kill_worker,
    "journal torn": _tear,
    "checkpoint damaged": _damage,
}
"""By name: what is done to a search that runs. Afterwards its driver is dead or goes on."""


def put_in(search: FaultySearch, fault: str, choose: random.Random) -> None:
    """Put one fault into a running search, verify what is left, and let a driver go on where none does.

    Raises:
        BrokenError: Something did not survive.
    """
    assert search.driver is not None
    FAULTS[fault](search, choose)
    if search.driver.poll() is not None:
        search.go_on()
