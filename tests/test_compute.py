"""Work on a cluster whose workers come late, die, and live in another directory, and one whose scheduler is lost."""

import contextlib
import functools
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import distributed
import numpy as np
import pandas as pd
import pytest
import zarr

from pipeline import blocks, compute, config

SHAPE, BLOCK = (24, 8, 8), (1, 8, 8)
PATHS = [str(Path(__file__).parent.parent), str(Path(__file__).parent)]


@pytest.fixture
def scheduler():
    """A scheduler without workers."""
    local = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(**local) as cluster:
        yield cluster


@pytest.fixture
def add_worker(scheduler, tmp_path):
    """Function that starts a worker as another host would: a process of its own, in another working directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    worker = [sys.executable, "-m", "dask", "worker", scheduler.scheduler_address, "--nthreads", "1", "--no-nanny"]
    options = {"cwd": elsewhere, "env": os.environ | {"PYTHONPATH": os.pathsep.join(PATHS)}}
    with contextlib.ExitStack() as processes:

        def add():
            process = subprocess.Popen([*worker, "--no-dashboard"], stderr=subprocess.DEVNULL, **options)
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield add


@pytest.fixture
def client(scheduler):
    with compute.workers(config.Compute(scheduler=scheduler.scheduler_address)) as client:
        yield client


def _fill(path, marker, region):
    """Write a block and name the process; the first to come to block 3 is killed there."""
    if region[0].start == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    blocks.write(path, region, np.full(BLOCK, region[0].start, np.uint16))
    return pd.DataFrame({"process": [os.getpid()]})


def test_workers_elsewhere_that_come_late_and_die(client, add_worker, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    create = lambda path: blocks.create(path, SHAPE, "uint16", BLOCK, (8, 8, 40), (0, 0, 0))  # noqa: E731
    regions, processes = blocks.grid(SHAPE, BLOCK), [add_worker() for _ in range(3)]
    with blocks.Work(Path("out"), {"plan": 1}, create) as work:
        fill = functools.partial(_fill, work.content, tmp_path / "killed")
        tables = work.run("work", fill, regions, client)
        work.publish()
    assert "work: the scheduler at tcp://127.0.0.1:" in caplog.text
    assert "has no workers; waiting" in caplog.text
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out")[:, 0, 0], np.arange(SHAPE[0]))
    assert [process.poll() for process in processes].count(-signal.SIGKILL) == 1
    assert pd.concat(tables)["process"].nunique() >= 2, "a worker that came late got none of the work"


def _named(number):
    return number, os.getpid()


def test_results_that_died_with_their_worker_are_computed_again(client, add_worker):
    processes = [add_worker(), add_worker()]
    client.wait_for_workers(2)
    results = compute.run(client, _named, range(20), "work")
    done = [next(results)]
    while any(client.processing().values()):  # the others lie on the workers
        time.sleep(0.01)
    processes[0].kill()
    done += results
    assert sorted(number for number, _ in done) == list(range(20))


def _mark(folder, number):
    (folder / str(number)).touch()
    if number == 0:
        raise ValueError("the first is bad")
    time.sleep(0.02)


def test_a_failure_ends_the_run_at_once(client, add_worker, tmp_path):
    add_worker()
    seen = tmp_path / "seen"
    seen.mkdir()
    with pytest.raises(ValueError, match="the first is bad"):
        list(compute.run(client, functools.partial(_mark, seen), range(1000), "work"))
    while any(client.processing().values()):
        time.sleep(0.01)
    assert len(list(seen.iterdir())) < 500
    assert not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def _die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_its_workers_is_given_up(scheduler, client, add_worker):
    scheduler.scheduler.allowed_failures = 1
    for _ in range(2):
        add_worker()
    with pytest.raises(compute.ComputeError, match=r"deadly: 2 workers died of the same task, the last one at tcp://"):
        list(compute.run(client, _die, [0], "deadly"))


def test_a_scheduler_that_is_lost(scheduler, client, add_worker):
    add_worker()
    results = compute.run(client, time.sleep, itertools.repeat(0.1, 50), "naps")
    next(results)
    with pytest.raises(compute.ComputeError, match=r"naps: the scheduler at tcp://.* start again to go on"):
        for _ in results:
            scheduler.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere://else"])
def test_a_scheduler_that_does_not_answer(address):
    reached = compute.workers(config.Compute(scheduler=address))
    text = rf"no Dask scheduler answers at {address} \(compute.scheduler\)"
    soon = dask.config.set({"distributed.comm.timeouts.connect": "0.2s"})
    with soon, pytest.raises(compute.ComputeError, match=text), reached:
        pass


@pytest.mark.parametrize(
    ("settings", "cores", "gib", "expected"), [({}, 4, 64, 4), ({}, 64, 9, 4), ({}, 2, 1, 1), ({"workers": 7}, 2, 1, 7)]
)
def test_workers_follow_cores_and_memory(monkeypatch, settings, cores, gib, expected):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", gib * 2**30)
    assert compute.number_of_workers(config.Compute(**settings)) == expected


def _profiles(dask_worker):
    return "profile" in dask_worker.periodic_callbacks


def test_workers_do_not_list_the_frames_of_their_threads():
    """In Python before 3.11.9 that can end in a deadlock (python/cpython#106883), in which extractions were seen."""
    with compute.workers(config.Compute(workers=1)) as client:
        assert list(client.run(_profiles).values()) == [False]
