"""An extraction through what a run of many hours meets: requests that fail, and processes killed with SIGKILL.

    PYTHONPATH=.:tests .venv/bin/python tests/extract/soak.py

runs it at the size of such a run, in some minutes, and prints what happened.
"""

import asyncio
import dataclasses
import json
import logging
import multiprocessing
import os
import random
import re
import tempfile
import time
import zlib
from pathlib import Path

import cloudvolume.chunks
import distributed
import numpy as np
from cloudvolume import CloudVolume
from extract_volumes import synapse_table, texture
from image_server import FAULTS, Fault, serve

from pipeline import artefacts, compute, config, shards
from pipeline.extract import patches

CHUNK, SIZE = (32, 32, 16), (40_000, 40_000, 4_000)  # XYZ voxels: as in a whole brain, no two synapses share a chunk
SHARE = 0.1  # of requests that fail
KINDS = [*FAULTS, "403", "404", "429", "500", "503"]
SETTINGS = config.Extract(
    patch_px=48,
    cube_zyx=(8, 24, 24),
    transfer=config.Transfer(requests=16, timeout_s=0.3, backoff_s=0.01, patience_s=60),
)
ROWS = 4  # of a shard
N_WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Soaked:
    """What is left of a run, and of one with the same input that nothing befell."""

    out: Path
    clean: Path
    requests: int
    failed: int  # of the requests
    retries: int  # according to the log
    worker_kills: int
    client_kills: int
    seconds: float


def _source(n_kinds=40):
    """A virtual volume: its `info`, and chunks of some kinds, chosen by their keys."""
    info = CloudVolume.create_new_info(1, "image", "uint8", "jpeg", [8, 8, 40], [0, 0, 0], SIZE, chunk_size=CHUNK)
    described = json.dumps(info).encode()
    stored = [cloudvolume.chunks.encode(texture(CHUNK, seed)[..., None], "jpeg") for seed in range(n_kinds)]

    def read(key):
        if key == "info":
            return described, ""
        return (stored[zlib.crc32(key.encode()) % n_kinds], "") if "/" in key else None

    return read


def _work(scheduler, folder):
    """A worker, in a working directory of its own."""
    os.chdir(folder)

    async def work():
        async with distributed.Worker(scheduler, nthreads=1) as worker:
            await worker.finished()

    asyncio.run(work())


def _extract(scheduler, em_path, n_synapses, out, log_file):
    """A client; with a relative path, as `make` has it."""
    os.chdir(out.parent)
    logging.basicConfig(filename=log_file, level=logging.INFO)
    shards.MAX_ROWS = ROWS
    with compute.workers(config.Compute(scheduler=scheduler)) as client:
        patches.extract(_synapses(n_synapses), em_path, SETTINGS, Path(out.name), client)


def _synapses(n):
    margin = np.array(CHUNK) * 2
    return synapse_table(np.random.default_rng(3).integers(margin, np.array(SIZE) - margin, (n, 3)))


def soak(folder, n_synapses, worker_kills, client_kills, seed=0):
    """Extract with and without faults and kills; a kill comes after each equal share of the work is done."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([__name__])  # or each process that replaces a killed one would import for seconds
    out, clean, log_file, elsewhere = (folder / name for name in ("soaked/patches", "clean/patches", "log", "other"))
    for new in (out.parent, elsewhere):
        new.mkdir()
    local = {"n_workers": 0, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with serve(_source(), seed=seed) as server, distributed.LocalCluster(**local) as cluster:
        em_path = f"precomputed://{server.address}"
        rows, shards.MAX_ROWS = shards.MAX_ROWS, ROWS
        patches.extract(_synapses(n_synapses), em_path, SETTINGS, clean, None)
        shards.MAX_ROWS = rows
        server.faults = [Fault(kind, SHARE / len(KINDS), seconds=0.2) for kind in KINDS]
        before = server.requests.total()

        def start(target, *arguments):
            process = processes.Process(target=target, args=(cluster.scheduler_address, *arguments), daemon=True)
            process.start()
            return process

        def finished():
            return sum(path.read_bytes().count(b"\n") for path in out.parent.glob(".patches-work/extract.*.jsonl"))

        began = time.monotonic()
        client_arguments = (_extract, em_path, n_synapses, out, log_file)
        client = start(*client_arguments)
        workers = [start(_work, elsewhere) for _ in range(N_WORKERS)]
        drawn = random.Random(seed)
        kills = ["client"] * client_kills + ["worker"] * worker_kills
        drawn.shuffle(kills)
        for number, victim in enumerate(kills, start=1):
            while finished() < number * -(-n_synapses // ROWS) / (len(kills) + 1):
                assert client.is_alive(), log_file.read_text()
                time.sleep(0.01)
            if victim == "client":
                client.kill()
                client.join()
                client = start(*client_arguments)
            else:
                place = drawn.randrange(N_WORKERS)
                workers[place].kill()
                workers[place] = start(_work, elsewhere)
        client.join()
        assert client.exitcode == 0, log_file.read_text()
        seconds = time.monotonic() - began
        for worker in workers:
            worker.kill()
        retries = re.search(r"extract: (\d+) requests were repeated", log_file.read_text())
        return Soaked(
            out,
            clean,
            server.requests.total() - before,
            server.failed.total(),
            int(retries[1]) if retries else 0,
            worker_kills,
            client_kills,
            seconds,
        )


def check(soaked, n_synapses):
    """Assert that nothing shows: the same bytes, every row once, nothing damaged, and nothing beside them."""
    assert artefacts.sha256(soaked.out) == artefacts.sha256(soaked.clean)
    store = patches.store(soaked.out)
    assert sorted(store.records()["synapse_id"]) == sorted(_synapses(n_synapses)["synapse_id"])
    assert len(store.damage()) == 0
    assert [path.name for path in soaked.out.parent.iterdir()] == [soaked.out.name]
    assert soaked.failed > 0.8 * SHARE * soaked.requests
    assert soaked.retries > 0


if __name__ == "__main__":
    import soak as this  # by the name that the processes know

    N = 2000
    with tempfile.TemporaryDirectory() as folder:
        result = this.soak(Path(folder), N, worker_kills=20, client_kills=5)
        this.check(result, N)
        print(result)
