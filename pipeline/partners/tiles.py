"""A network over a whole volume: tiles fixed by the volume, blocks as units of work.

Tiles lie on a grid anchored at the volume's first voxel and overlap; the score of a voxel is that of the one tile whose
inner part holds it. What a tile sees does not depend on blocks, so that neither do the scores. A block computes the
tiles it needs; the least is computed twice where blocks are multiples of the tiles' inner parts.
"""

import functools
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import zarr
from tqdm import tqdm

from pipeline import compute
from pipeline.artefacts import read_json, write_json
from pipeline.space import zyx


def infer(read_em, bounds_vx, apply_tile, tile_zyx, overlap_zyx, block_zyx, out, voxel_nm, identity, client=None):
    """Write the scores of a volume to the Zarr array `out`: float16 [Z, Y, X], one chunk a block; returns its path.

    `read_em(low_vx, high_vx)` gives the box `[low_vx, high_vx)` (XYZ voxels of `voxel_nm` inside `bounds_vx` [2, XYZ])
    as [Z, Y, X]; `apply_tile` turns an image of `tile_zyx` voxels into scores of that shape. With a Dask `client` both
    are sent to its workers. Tiles overlap their neighbours by `overlap_zyx` on each side; beyond the volume the image
    is reflected. The array's attributes `resolution_nm` and `offset_vx` (XYZ) say where it lies.

    `identity` (as JSON has it) names what the scores depend on: the network's weights, the volume. Interrupted, the
    work goes on from its finished blocks when called again with the same arguments, and ends with the same bytes.
    Raises ValueError for tiles that are all overlap and for scores of another shape.
    """
    out = Path(out)
    bounds_vx = np.asarray(bounds_vx)
    inner = np.array(tile_zyx) - 2 * np.array(overlap_zyx)
    if (inner < 1).any():
        raise ValueError(f"tiles of {tuple(tile_zyx)} voxels are all overlap ({tuple(overlap_zyx)} on each side)")
    work = out.parent / f".{out.name}-work"
    shape = zyx(bounds_vx[1] - bounds_vx[0])
    plan = {
        "bounds_vx": bounds_vx.tolist(),
        "tile_zyx": list(tile_zyx),
        "overlap_zyx": list(overlap_zyx),
        "block_zyx": list(block_zyx),
        "voxel_nm": list(voxel_nm),
        "identity": identity,
    }
    if not (work / "plan.json").exists() or read_json(work / "plan.json") != plan:
        shutil.rmtree(work, ignore_errors=True)
        (work / "done").mkdir(parents=True)
        create_array(work / "scores.zarr", shape, "float16", block_zyx, voxel_nm, bounds_vx[0])
        write_json(work / "plan.json", plan)
    waiting = [item for item in enumerate(blocks(shape, block_zyx)) if not (work / "done" / str(item[0])).exists()]
    task = functools.partial(_infer_block, read_em, apply_tile, bounds_vx, tile_zyx, overlap_zyx, work)
    for _ in each(client, task, waiting, "blocks"):
        pass
    shutil.rmtree(out, ignore_errors=True)
    os.replace(work / "scores.zarr", out)
    shutil.rmtree(work)
    return out


def blocks(shape, block_zyx):
    """The blocks of an array in raster order, each a tuple of slices; those at the far faces are smaller."""
    ranges = (range(0, int(size), int(step)) for size, step in zip(shape, block_zyx, strict=True))
    for corner in itertools.product(*ranges):
        ends = zip(corner, block_zyx, shape, strict=True)
        yield tuple(slice(low, int(min(low + step, size))) for low, step, size in ends)


def create_array(path, shape, dtype, block_zyx, voxel_nm, offset_vx):
    """An empty Zarr array [Z, Y, X] that says where it lies; a chunk is a block, so that no two tasks write one."""
    return zarr.create_array(
        path,
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        chunks=tuple(int(min(step, n)) for step, n in zip(block_zyx, shape, strict=True)),
        dimension_names=("z", "y", "x"),
        attributes={"resolution_nm": [float(nm) for nm in voxel_nm], "offset_vx": [int(vx) for vx in offset_vx]},
    )


def each(client, function, items, what, *shared):
    """Yield `function(item, *shared)` of every item, from a Dask client's workers as they come, or from here."""
    if client is not None:
        yield from compute.run(client, function, items, what, *shared)
    else:
        yield from (function(item, *shared) for item in tqdm(items, desc=what, disable=None))


def _infer_block(read_em, apply_tile, bounds_vx, tile_zyx, overlap_zyx, work, item):
    """Compute and write one block, then leave the mark that says so."""
    number, block = item
    inner = np.array(tile_zyx) - 2 * np.array(overlap_zyx)
    shape = zyx(bounds_vx[1] - bounds_vx[0])
    low, high = (np.array([getattr(part, end) for part in block]) for end in ("start", "stop"))
    scores = np.zeros(high - low, np.float16)
    for index in itertools.product(*(range(a, b) for a, b in zip(low // inner, -(-high // inner), strict=True))):
        start = np.array(index) * inner
        tile = _scores(read_em, apply_tile, start - overlap_zyx, tile_zyx, bounds_vx[0], shape)
        first, last = np.maximum(start, low), np.minimum(start + inner, high)
        mine = tuple(slice(a, b) for a, b in zip(first - low, last - low, strict=True))
        its = tuple(slice(a, b) for a, b in zip(first - start + overlap_zyx, last - start + overlap_zyx, strict=True))
        scores[mine] = tile[its]
    zarr.open_array(work / "scores.zarr", mode="r+")[block] = scores
    (work / "done" / str(number)).touch()


def _scores(read_em, apply_tile, start_zyx, tile_zyx, origin_vx, shape):
    """Scores of the tile that starts at a voxel of the array, perhaps beyond it."""
    end = start_zyx + tile_zyx
    low, high = np.maximum(start_zyx, 0), np.minimum(end, shape)
    pixels = read_em(origin_vx + zyx(low), origin_vx + zyx(high))
    pixels = np.pad(pixels, np.stack([low - start_zyx, end - high], axis=1), mode="reflect")
    scores = np.asarray(apply_tile(pixels))
    if scores.shape != tuple(tile_zyx):
        raise ValueError(f"a tile of {tuple(tile_zyx)} voxels came back with the shape {scores.shape}")
    return scores
