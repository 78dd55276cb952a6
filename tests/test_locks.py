"""Locks between processes: who holds one is said, the dead hold none, and clocks do not matter."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipeline import locks

HOLD = """
import socket, sys, time
from pathlib import Path
if len(sys.argv) > 2:
    socket.gethostname = lambda: sys.argv[2]
from pipeline import locks
with locks.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Has another process hold the lock of a folder, perhaps on a host of another name."""
    started = []

    def start(*host):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "work"), *host], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def set_clock(folder, seconds):
    """As a host or a file server would write whose clock is wrong by so much."""
    path = folder.with_name("work.lock")
    os.utime(path, (time.time() + seconds, time.time() + seconds))


@pytest.mark.parametrize("skew", [-1e6, 0, 1e6])
def test_who_holds_a_lock_is_said_and_the_dead_hold_none(tmp_path, hold, skew):
    folder, holder = tmp_path / "work", hold()
    set_clock(folder, skew)
    with pytest.raises(locks.LockError) as error, locks.locked(folder):
        pass
    text = str(error.value)
    assert f"another run works in {folder}: process {holder.pid} on {socket.gethostname()}, since 20" in text
    assert f"delete {folder}.lock and start again" in text
    kill(holder)
    assert (tmp_path / "work.lock").exists()
    with locks.locked(folder):
        assert f'"pid": {os.getpid()}' in (tmp_path / "work.lock.json").read_text()
    assert not list(tmp_path.iterdir())


def test_of_another_host_no_one_can_tell_whether_it_lives(tmp_path, hold):
    folder = tmp_path / "work"
    kill(hold("node7"))
    set_clock(folder, -1e6)
    for _ in range(2):
        with (
            pytest.raises(locks.LockError, match="on node7, since .*; if it no longer runs, delete"),
            locks.locked(folder),
        ):
            pass
    (tmp_path / "work.lock").unlink()
    with locks.locked(folder):
        pass


def test_a_lock_ends_with_the_error_of_its_block(tmp_path):
    with pytest.raises(RuntimeError, match="boom"), locks.locked(tmp_path / "work"):
        raise RuntimeError("boom")
    assert not list(tmp_path.iterdir())
