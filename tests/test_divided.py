"""Several runs of one plan at once: every block is computed once, whoever dies, and published once."""

import contextlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import artefacts, blocks, locks

SHAPE, BLOCK = (24, 8, 8), (1, 8, 8)
N = SHAPE[0]
HELD = 2  # which of its blocks a run does not end before the file `go` is there

ELSEWHERE = """
import socket, sys
from pathlib import Path
socket.gethostname = lambda: "node7"
import test_divided
test_divided.divide(Path(sys.argv[1]))
"""


def divide(folder, plan="plan"):
    """One of several runs, which notes that its process begins a block."""

    def fill(region):
        number = region[0].start
        with (folder / "begun").open("a") as noted:
            noted.write(f"{os.getpid()} {number}\n")
        if begun(folder)[os.getpid()] == HELD:
            wait_for((folder / "go").exists)
        blocks.write(work.content, region, np.full(BLOCK, number, np.uint16))
        return pd.DataFrame({"number": [number]})

    create = lambda path: blocks.create(path, SHAPE, "uint16", BLOCK, (8, 8, 40), (0, 0, 0))  # noqa: E731
    work = blocks.Work(folder / "out", {"plan": plan}, create, divides=True)
    with work:
        tables = work.run("fill", fill, blocks.grid(SHAPE, BLOCK), None)
        assert [int(table["number"].iloc[0]) for table in tables] == list(range(N))
        with (folder / "published").open("a") as published:
            published.write(f"{os.getpid()}\n")
        work.publish()


def wait_for(condition):
    given_up = time.monotonic() + 250
    while not condition():
        assert time.monotonic() < given_up
        time.sleep(0.05)


def begun(folder, by="process"):
    """How many blocks each process began, or how often each block was begun."""
    path = folder / "begun"
    pairs = [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []
    return Counter(process if by == "process" else block for process, block in pairs)


@pytest.fixture
def start(tmp_path):
    """Function that starts a run as a process of its own, and returns it when it is held."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pipeline.blocks"])
    with contextlib.ExitStack() as started:

        def begin():
            process = processes.Process(target=divide, args=(tmp_path,))
            process.start()
            started.callback(process.join)
            started.callback(process.kill)
            wait_for(lambda: begun(tmp_path)[process.pid] == HELD)
            return process

        yield begin


@pytest.fixture
def whole(tmp_path):
    """Digest of what one run alone writes."""
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "go").touch()
    divide(folder)
    return artefacts.sha256(folder / "out")


def check(folder, whole, twice):
    """The result is that of one run, published once, nothing is left beside it, and `twice` blocks were begun twice."""
    assert artefacts.sha256(folder / "out") == whole
    assert sorted(path.name for path in folder.iterdir()) == ["begun", "go", "out", "published", "whole"]
    assert len((folder / "published").read_text().splitlines()) == 1
    times = begun(folder, by="block")
    assert sorted(times) == list(range(N))
    assert sorted(times.values()) == [1] * (N - twice) + [2] * twice


def test_runs_divide_the_blocks(tmp_path, start, whole):
    runs = [start() for _ in range(3)]
    (tmp_path / "go").touch()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    check(tmp_path, whole, twice=0)


@pytest.mark.parametrize("victim", [0, 1], ids=["the one that leads", "the one that helps"])
def test_a_run_that_dies_leaves_its_blocks_to_the_other(tmp_path, start, whole, victim):
    runs = [start(), start()]
    dies = runs.pop(victim)
    dies.kill()
    dies.join()
    (tmp_path / "go").touch()
    runs[0].join()
    assert runs[0].exitcode == 0
    check(tmp_path, whole, twice=1)


def test_all_are_killed_and_another_goes_on(tmp_path, start, whole):
    for run in [start(), start()]:
        run.kill()
        run.join()
    (tmp_path / "go").touch()
    divide(tmp_path)
    check(tmp_path, whole, twice=2)


def test_another_plan_is_refused_while_a_run_of_the_first_lives(tmp_path, start, whole):
    leads, helps = start(), start()
    with pytest.raises(locks.LockError, match=f"another run works in .*: process {leads.pid} on "):
        divide(tmp_path, plan="another")
    leads.kill()
    leads.join()
    with pytest.raises(locks.LockError, match=f"another run works in .*: process {helps.pid} on "):
        divide(tmp_path, plan="another")
    (tmp_path / "go").touch()
    helps.join()
    check(tmp_path, whole, twice=1)


def test_a_run_on_another_host_is_waited_for_by_name(tmp_path, whole, caplog):
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    elsewhere = subprocess.Popen([sys.executable, "-c", ELSEWHERE, tmp_path], env=os.environ | {"PYTHONPATH": paths})
    wait_for(lambda: begun(tmp_path)[elsewhere.pid] == HELD)
    elsewhere.kill()
    elsewhere.wait()
    (tmp_path / "go").touch()
    here = threading.Thread(target=divide, args=(tmp_path,))
    here.start()
    wait_for(lambda: "waiting: " in caplog.text)
    assert f"process {elsewhere.pid} on node7, since " in caplog.text
    for lock in [tmp_path / ".out-work.lock", *tmp_path.glob(".out-work/runs/*.lock")]:
        if f"{elsewhere.pid}" in Path(f"{lock}.json").read_text():
            lock.unlink()  # as the message says
    here.join()
    check(tmp_path, whole, twice=1)
