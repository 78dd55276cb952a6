"""Scores of a whole volume are the same whatever the blocks, also after a kill, and they are the network's own."""

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import distributed
import numpy as np
import pytest
import zarr
from scipy import ndimage

from pipeline.artefacts import sha256
from pipeline.partners import tiles

LOW, SHAPE = np.array([7, 11, 3]), (21, 50, 43)  # XYZ voxels, [Z, Y, X]
BOUNDS = np.array([LOW, LOW + SHAPE[::-1]])
TILE, OVERLAP, VOXEL = (8, 20, 20), (2, 4, 4), (16.0, 16.0, 40.0)
IMAGE = np.random.default_rng(3).integers(0, 255, SHAPE).astype(np.uint8)


def read(low_vx, high_vx):
    assert ((low_vx >= BOUNDS[0]) & (high_vx <= BOUNDS[1])).all(), "only voxels of the volume are read"
    (x, y, z), (x2, y2, z2) = low_vx - LOW, high_vx - LOW
    return IMAGE[z:z2, y:y2, x:x2]


def smooth(tile):
    """A network whose receptive field is as wide as the overlap."""
    return ndimage.uniform_filter(tile.astype(np.float32) / 255, (5, 9, 9), mode="constant")


def uneven(tile):
    """A network whose answer depends on the whole tile, as that of any padded or normalised one does."""
    return smooth(tile) + tile.std() / 255


def infer(out, block, network=uneven, client=None, identity=0):
    return tiles.infer(read, BOUNDS, network, TILE, OVERLAP, block, out, VOXEL, identity, client)


def test_any_blocks_give_the_same_scores(tmp_path):
    sizes = [(4, 12, 12), (5, 17, 30), SHAPE]  # the tiles' inner part, one that divides nothing, all at once
    found = [zarr.open_array(infer(tmp_path / f"{n}.zarr", size))[:] for n, size in enumerate(sizes)]
    assert found[0].dtype == np.float16
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_tiles_leave_no_seams(tmp_path):
    """Where the overlap holds the receptive field, tiles score as one pass over the reflected volume does."""
    array = zarr.open_array(infer(tmp_path / "scores.zarr", (9, 25, 25), smooth))
    padded = np.pad(IMAGE, 8, mode="reflect")
    whole = smooth(padded)[8:-8, 8:-8, 8:-8]
    np.testing.assert_allclose(array[:], whole, atol=1e-3)
    assert dict(array.attrs) == {"offset_vx": LOW.tolist(), "resolution_nm": list(VOXEL)}


def test_workers_give_the_same_scores(tmp_path):
    local = {"processes": False, "n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with distributed.Client(**local) as client:
        many = infer(tmp_path / "many.zarr", (5, 17, 30), client=client)
    assert sha256(many) == sha256(infer(tmp_path / "one.zarr", (5, 17, 30)))


def dying(folder, tile):
    """The network in a process that is killed in its ninth tile."""
    mark = folder / "calls"
    with mark.open("a") as calls:
        calls.write(".")
    if mark.stat().st_size == 9 and not (folder / "alive").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return uneven(tile)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    code = (
        f"import functools, sys; from pathlib import Path; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        f"import test_tiles as t; folder = Path({str(tmp_path)!r})\n"
        "t.infer(folder / 'scores.zarr', (8, 24, 24), functools.partial(t.dying, folder))"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "scores.zarr").exists(), "half an array is not to be had"
    (journal,) = tmp_path.glob(".scores.zarr-work/tiles.*.jsonl")
    assert len(journal.read_text().splitlines()) >= 1
    (tmp_path / "alive").touch()
    (tmp_path / "calls").unlink()
    resumed = infer(tmp_path / "scores.zarr", (8, 24, 24), functools.partial(dying, tmp_path))
    again = (tmp_path / "calls").stat().st_size
    counted = tmp_path / "fresh"
    counted.mkdir()
    (counted / "alive").touch()
    fresh = infer(counted / "scores.zarr", (8, 24, 24), functools.partial(dying, counted))
    assert again < (counted / "calls").stat().st_size, "finished blocks are not computed again"
    assert sha256(resumed) == sha256(fresh)


def test_scores_of_another_network_are_not_mixed_in(tmp_path):
    """Blocks left behind by one network are thrown away when another one starts."""

    def failing(tile, calls=[]):  # noqa: B006
        calls.append(tile)
        if len(calls) == 6:
            raise RuntimeError("no memory")
        return np.zeros(TILE)

    with pytest.raises(RuntimeError, match="no memory"):
        infer(tmp_path / "scores.zarr", (4, 12, 12), failing, identity="first")
    found = infer(tmp_path / "scores.zarr", (4, 12, 12), identity="second")
    assert sha256(found) == sha256(infer(tmp_path / "alone.zarr", (4, 12, 12)))


def test_what_cannot_be_tiled_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"tiles of \(8, 20, 20\) voxels are all overlap"):
        tiles.infer(read, BOUNDS, uneven, TILE, (4, 4, 4), SHAPE, tmp_path / "a.zarr", VOXEL, 0)
    with pytest.raises(ValueError, match=r"came back with the shape \(8, 20, 19\)"):
        infer(tmp_path / "b.zarr", SHAPE, lambda tile: tile[..., 1:])
