"""What a killed leader of a process group takes with it, and what it does not."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from automl.executors.process_group import end, kill_group, reap

_LEADER = """
    import subprocess, sys
    from multiprocessing.shared_memory import SharedMemory

    memory = SharedMemory(create=True, size=16)
    sleeper = subprocess.Popen(["sleep", "600"])
    print(memory.name, sleeper.pid, flush=True)
    if sys.argv[1] == "waits":
        sleeper.wait()
    __import__("os")._exit(5)
"""


@pytest.fixture
def leader(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], Path, psutil.Process]]:
    command = [sys.executable, "-c", textwrap.dedent(_LEADER), request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        name, sleeper = process.stdout.readline().split()
        yield process, Path("/dev/shm", name.decode()), psutil.Process(int(sleeper))
        end(process)


@pytest.mark.parametrize("leader", ["waits"], indirect=True)
def test_a_killed_leader_takes_its_group_and_its_shared_memory_with_it(
    leader: tuple[subprocess.Popen[bytes], Path, psutil.Process],
) -> None:
    process, memory, sleeper = leader
    tracker = next(one for one in psutil.Process(process.pid).children() if one != sleeper)
    assert memory.exists()
    assert reap(process, 0.0) is None
    end(process)
    assert process.returncode == -9
    _, alive = psutil.wait_procs([sleeper, tracker], timeout=30)
    assert not alive
    assert not memory.exists()


@pytest.mark.parametrize("leader", ["ends"], indirect=True)
def test_what_a_leader_that_has_ended_left_goes_too(
    leader: tuple[subprocess.Popen[bytes], Path, psutil.Process],
) -> None:
    process, _, sleeper = leader
    assert reap(process, 30.0) == 5
    _, alive = psutil.wait_procs([sleeper], timeout=30)
    assert not alive


def test_a_process_that_leads_no_group_takes_nobody_with_it() -> None:
    with subprocess.Popen(["sleep", "600"]) as one, subprocess.Popen(["sleep", "600"]) as other:
        kill_group(one.pid)
        assert (one.poll(), other.poll()) == (None, None)
        one.kill()
        other.kill()
