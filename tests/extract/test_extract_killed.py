"""Extraction killed with SIGKILL and started again ends with the bytes of an uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from extract_volumes import OFFSET, SIZE, synapse_table, texture, write_volume

from pipeline import artefacts

SCRIPT = """
import sys, distributed, pandas
from pathlib import Path
from pipeline import config, shards
from pipeline.extract.patches import extract
shards.MAX_ROWS = 2
table, em_path, out = sys.argv[1:]
local = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
with distributed.Client(**local) as client:
    settings = config.Extract(patch_px=48, cube_zyx=(16, 32, 32))
    print("started", flush=True)
    extract(pandas.read_parquet(table), em_path, settings, Path(out), client)
"""


@pytest.fixture
def command(tmp_path):
    """Command line that extracts 200 synapses in 100 blocks; its last argument, the target folder, is to be added."""
    center_vx = np.random.default_rng(11).integers(0, SIZE, size=(200, 3)) + OFFSET
    em_path = write_volume(tmp_path / "em", texture(SIZE), (8, 8, 40), OFFSET)
    synapse_table(center_vx).to_parquet(tmp_path / "synapses.parquet")
    return [sys.executable, "-c", SCRIPT, str(tmp_path / "synapses.parquet"), em_path]


def start(command, out):
    """The extraction as a process that has opened its client and is about to begin."""
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [*command, str(out)], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout.readline() == "started\n", process.communicate()[1]
    return process


def test_killed_at_random_moments(tmp_path, command):
    process = start(command, tmp_path / "uninterrupted" / "patches")
    assert process.wait(120) == 0, process.stderr.read()

    out = tmp_path / "killed" / "patches"
    work = out.parent / ".patches-work"

    def finished():
        return sum(journal.read_bytes().count(b"\n") for journal in work.glob("extract.*.jsonl"))

    moments = random.Random(5)
    for _ in range(3):
        process, target = start(command, out), finished() + moments.randint(1, 30)
        while finished() < target:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert finished() >= target  # it goes on from where it was
        assert not out.exists()

    # what a kill in the middle of a write leaves behind, on a file system where the write itself is not atomic
    journals = list(work.glob("extract.*.jsonl"))
    lines = [line for journal in journals for line in journal.read_text().splitlines(keepends=True) if line[-1] == "\n"]
    waiting = min(set(range(100)) - {json.loads(line)["number"] for line in lines})
    for name, tail in (("patch", "0.0"), ("cube", "0.0.0")):
        shard = work / "content" / "images.zarr" / name / f"c.{waiting}.{tail}"
        shard.write_bytes(b"half a shard")
        shard.with_suffix(".0123.partial").write_bytes(b"half a shard")
    with journals[-1].open("a") as file:
        file.write(lines[0][:100])

    process = start(command, out)
    assert process.wait(120) == 0, process.stderr.read()
    assert len(pd.read_parquet(out / "index.parquet")) == 200
    assert artefacts.sha256(out) == artefacts.sha256(tmp_path / "uninterrupted" / "patches")
    assert [path.name for path in out.parent.iterdir()] == ["patches"]
