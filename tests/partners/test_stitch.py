"""Components stitched from blocks are those of the whole array at once, by SciPy and by cc3d."""

import signal
import subprocess
import sys
from pathlib import Path

import cc3d
import distributed
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import ndimage

from pipeline.artefacts import sha256
from pipeline.partners import stitch

SHAPE, RESOLUTION, OFFSET = (9, 31, 27), [16.0, 16.0, 40.0], [100, 200, 30]
BLOCKS = [SHAPE, (4, 8, 10), (5, 31, 7), (1, 16, 27)]


def write(path, scores):
    attributes = {"resolution_nm": RESOLUTION, "offset_vx": OFFSET}
    zarr.create_array(path, data=scores, chunks=(4, 8, 10), attributes=attributes)
    return path


@pytest.fixture(params=["sparse", "percolating"])
def scores(request, tmp_path):
    """Blobs, or a web that winds through nearly all blocks and touches by edges and corners too."""
    noise = np.random.default_rng(1).normal(size=SHAPE)
    if request.param == "sparse":
        noise = ndimage.gaussian_filter(noise, 1.2) * 8
    return write(tmp_path / "scores.zarr", noise.astype(np.float16))


def in_raster_order(labels):
    """The same components numbered by their first voxels."""
    ids, first = np.unique(labels, return_index=True)
    order = ids[ids != 0][np.argsort(first[ids != 0])]
    number = np.zeros(ids.max() + 1, np.uint64)
    number[order] = np.arange(1, len(order) + 1)
    return number[labels]


@pytest.mark.parametrize("block", BLOCKS)
def test_components_are_those_of_the_whole_array(scores, tmp_path, block):
    mask = zarr.open_array(scores)[:] >= 1.3
    table = stitch.components(scores, 1.3, 1, block, tmp_path / "found.zarr")
    found = zarr.open_array(tmp_path / "found.zarr")[:]
    np.testing.assert_array_equal(found, in_raster_order(ndimage.label(mask, np.ones((3, 3, 3)))[0]))
    np.testing.assert_array_equal(found, in_raster_order(cc3d.connected_components(mask, connectivity=26)))
    statistics = cc3d.statistics(found.astype(np.uint32))
    assert table["size_vx"].tolist() == statistics["voxel_counts"][1:].tolist()


def test_table_and_files_are_the_same_for_any_blocks_and_workers(scores, tmp_path):
    tables = [stitch.components(scores, 1.3, 4, block, tmp_path / f"{n}.zarr") for n, block in enumerate(BLOCKS)]
    local = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.Client(**local) as client:
        tables.append(stitch.components(scores, 1.3, 4, BLOCKS[2], tmp_path / "4.zarr", client))
    for n, table in enumerate(tables):
        assert table.equals(tables[0])
        np.testing.assert_array_equal(
            zarr.open_array(tmp_path / f"{n}.zarr")[:], zarr.open_array(tmp_path / "0.zarr")[:]
        )


KILLED = """
import os, signal, sys
from pipeline.artefacts import sha256
from pipeline.partners import stitch
name, folder = sys.argv[1:]
function, calls = getattr(stitch, name), []
def dying(*arguments):
    calls.append(0)
    if len(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments)
setattr(stitch, name, dying)
stitch.components(folder + "/scores.zarr", 1.3, 4, (4, 8, 10), folder + "/killed.zarr")
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(scores, tmp_path, monkeypatch):
    """Killed once in each of its three passes."""
    expected = stitch.components(scores, 1.3, 4, (4, 8, 10), tmp_path / "fresh.zarr")
    for name in ("_label_block", "_touching", "_relabel_block"):
        command = [sys.executable, "-c", KILLED, name, str(tmp_path)]
        killed = subprocess.run(command, cwd=Path(__file__).parents[2])
        assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed.zarr").exists()
    monkeypatch.setattr(stitch, "_label_block", lambda *_: pytest.fail("all blocks were labelled before"))
    table = stitch.components(str(scores), 1.3, 4, (4, 8, 10), tmp_path / "killed.zarr")
    pd.testing.assert_frame_equal(table, expected)
    assert sha256(tmp_path / "killed.zarr") == sha256(tmp_path / "fresh.zarr")


def test_a_threshold_is_compared_in_the_precision_of_the_scores(tmp_path):
    """0.4 is no float16: what the nearest one reaches counts, whoever's float names the threshold."""
    scores = np.full(SHAPE, 0.4, np.float16)
    write(tmp_path / "scores.zarr", scores)
    for n, threshold in enumerate((0.4, np.float64(0.4))):
        table = stitch.components(tmp_path / "scores.zarr", threshold, 3, (4, 8, 10), tmp_path / f"{n}.zarr")
        assert table["size_vx"].tolist() == [scores.size]


def test_small_components_go_and_centres_lie_on_their_own_voxels(tmp_path):
    """A bent cleft's centroid is beside it; its centre is the nearest of its own voxels, in nanometres."""
    scores = np.zeros(SHAPE, np.float16)
    scores[5, 5:30, 10] = scores[5, 5, 10:25] = 1  # an angle: 25 + 15 - 1 voxels
    scores[2, 2, 2:4] = 1
    write(tmp_path / "scores.zarr", scores)
    table = stitch.components(tmp_path / "scores.zarr", 0.5, 3, (4, 8, 10), tmp_path / "found.zarr")
    assert table["size_vx"].tolist() == [39]
    own = np.argwhere(zarr.open_array(tmp_path / "found.zarr")[:] == 1)
    nearest = own[np.linalg.norm((own - own.mean(axis=0)) * RESOLUTION[::-1], axis=1).argmin()]
    expected = (nearest[::-1] + OFFSET) * RESOLUTION
    assert table.filter(like="center").iloc[0].tolist() == expected.tolist()


def test_nothing_above_the_threshold_is_an_empty_table(tmp_path):
    write(tmp_path / "scores.zarr", np.zeros(SHAPE, np.float16))
    assert stitch.components(tmp_path / "scores.zarr", 0.5, 1, (4, 8, 10), tmp_path / "found.zarr").empty
    assert not zarr.open_array(tmp_path / "found.zarr")[:].any()
