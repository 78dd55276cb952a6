"""A volume, its synapses and an in-process Dask client for the extraction tests."""

import distributed
import numpy as np
import pytest
from extract_volumes import OFFSET, SIZE, synapse_table, texture, write_volume

from pipeline import compute, config


@pytest.fixture(scope="session")
def client():
    local = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.Client(**local) as client:
        yield client


@pytest.fixture
def em_path(tmp_path):
    """A JPEG volume of 8x8x40 nm with 3x3x3 chunks, the test's own to damage."""
    return write_volume(tmp_path / "em", texture(SIZE), (8, 8, 40), OFFSET)


@pytest.fixture
def settings():
    return config.Extract(patch_px=48, cube_zyx=(8, 24, 24))


@pytest.fixture
def synapses():
    """40 synapses anywhere in the volume, some of them at its very edge."""
    low, high = np.array(OFFSET), np.array(OFFSET) + SIZE
    center_vx = np.random.default_rng(7).integers(low, high, size=(40, 3))
    center_vx[0], center_vx[1] = low, high - 1
    return synapse_table(center_vx)


@pytest.fixture
def rounds(monkeypatch):
    """Numbers of the blocks that each extraction cuts, a list each."""
    found, run = [], compute.run

    def recording(client, function, items, what):
        found.append([number for number, _ in items])
        yield from run(client, function, items, what)

    monkeypatch.setattr(compute, "run", recording)
    return found
