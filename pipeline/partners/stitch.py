"""Connected components of a thresholded volume too large for memory: labelled in blocks, joined across their faces.

Voxels are connected to their 26 neighbours. Until all is joined, a piece of a block is known by the raster number of
its first voxel in the volume, plus one, which is unique without counting. Components are numbered in the order of the
least of their pieces' numbers, so that ids follow from the array alone, whatever the blocks.
"""

import functools
import itertools
import tempfile
from pathlib import Path

import cc3d
import numpy as np
import pandas as pd
import scipy.sparse
import zarr

from pipeline.artefacts import atomic_folder
from pipeline.partners.blocks import blocks, create_array, each
from pipeline.space import VoxelFrame

AXES = list("zyx")
LOW, HIGH = ([f"{end}_{axis}_vx" for axis in "xyz"] for end in ("low", "high"))
CENTER = ["center_x_nm", "center_y_nm", "center_z_nm"]


def components(scores, threshold, min_size_vx, block_zyx, out, client=None):
    """Write the components of `scores >= threshold` to the Zarr array `out`, uint64 [Z, Y, X]; returns their table.

    `scores` is the path of a Zarr array [Z, Y, X] as `blocks.infer` writes it. Components with fewer than `min_size_vx`
    voxels become 0; the others are numbered 1, 2, ... by their first voxels in raster order. The table has `cleft_id`,
    `center_{x,y,z}_nm` (the corner of the component's voxel nearest its centroid), `size_vx` and the bounding box
    `low_{x,y,z}_vx, high_{x,y,z}_vx` (upper ends excluded). Memory holds a block and a few numbers a component; `out`
    says where it lies by the attributes of `scores`.
    """
    scores, out = Path(scores), Path(out)
    source = zarr.open_array(scores, mode="r")
    resolution_nm, offset_vx = source.attrs["resolution_nm"], source.attrs["offset_vx"]
    todo = list(blocks(source.shape, block_zyx))
    with atomic_folder(out) as final, tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as pieces:
        for path in (pieces, final):
            create_array(path, source.shape, "uint64", block_zyx, resolution_nm, offset_vx)
        label = functools.partial(_label_block, scores, pieces, threshold)
        listed = pd.concat(each(client, label, todo, "components"), ignore_index=True).sort_values("piece")
        touching = each(client, functools.partial(_touching, pieces), todo, "faces")
        table, cleft_of = _join(listed, np.concatenate(list(touching)), min_size_vx)
        relabel = functools.partial(_relabel_block, pieces, final, resolution_nm)
        shared = (listed["piece"].to_numpy(), cleft_of, table[AXES].to_numpy())
        nearest = _first(pd.concat(each(client, relabel, todo, "stitch", *shared), ignore_index=True))
    centers = VoxelFrame(tuple(resolution_nm)).to_nm(nearest[AXES[::-1]].to_numpy() + offset_vx)
    result = pd.DataFrame({"cleft_id": np.arange(1, len(table) + 1)})
    result[CENTER] = centers
    result["size_vx"] = table["size"].to_numpy()
    for names, columns in ((LOW, ["x_min", "y_min", "z_min"]), (HIGH, ["x_max", "y_max", "z_max"])):
        result[names] = table[columns].to_numpy() + offset_vx + (columns[0] == "x_max")
    return result


def _voxels(labels, block):
    """DataFrame of the labelled voxels of a block in raster order: `piece`, and `z, y, x` in the volume."""
    places = np.nonzero(labels)
    columns = {axis: place + part.start for axis, place, part in zip(AXES, places, block, strict=True)}
    return pd.DataFrame({"piece": labels[places], **columns})


def _label_block(scores, target, threshold, block):
    """Label one block by raster numbers; returns a row a piece: number of voxels, sums and ends of their indices."""
    source = zarr.open_array(scores, mode="r")
    mask = source[block] >= threshold
    local = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    voxels = _voxels(local, block)
    raster = np.ravel_multi_index([voxels[axis].to_numpy() for axis in AXES], source.shape).astype(np.uint64) + 1
    voxels["piece"] = pd.Series(raster).groupby(voxels["piece"].to_numpy()).transform("min")
    labels = np.zeros(local.shape, np.uint64)
    labels[np.nonzero(local)] = voxels["piece"]
    zarr.open_array(target, mode="r+")[block] = labels
    groups = voxels.groupby("piece")
    parts = [
        groups.size().rename("size"),
        groups.sum(),
        groups.min().add_suffix("_min"),
        groups.max().add_suffix("_max"),
    ]
    return pd.concat(parts, axis=1).reset_index()


def _touching(pieces, block):
    """[n, 2] pairs of pieces that touch across the far faces of a block, edges and corners included."""
    labels = zarr.open_array(pieces, mode="r")
    pairs = [np.zeros((0, 2), np.uint64)]
    for axis in range(3):
        face = block[axis].stop
        if face == labels.shape[axis]:
            continue
        near, far, short = list(block), list(block), [(0, 0)] * 3
        near[axis], far[axis] = slice(face - 1, face), slice(face, face + 1)
        for other in {0, 1, 2} - {axis}:  # one voxel more on each side, of zeros beyond the volume
            low, high = block[other].start - 1, block[other].stop + 1
            far[other] = slice(max(low, 0), min(high, labels.shape[other]))
            short[other] = (far[other].start - low, high - far[other].stop)
        here, there = labels[tuple(near)], np.pad(labels[tuple(far)], short)
        for shift in itertools.product(*(range(b - a + 1) for a, b in zip(here.shape, there.shape, strict=True))):
            beside = there[tuple(slice(s, s + n) for s, n in zip(shift, here.shape, strict=True))]
            both = (here != 0) & (beside != 0)
            pairs.append(np.stack([here[both], beside[both]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _join(pieces, pairs, min_size_vx):
    """(table of components large enough: centroid `z, y, x`, size, ends; [pieces] the cleft id of each piece, or 0)."""
    known = pieces["piece"].to_numpy()  # sorted
    ends = np.searchsorted(known, pairs)
    graph = scipy.sparse.coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(known),) * 2)
    _, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    how = {"piece": "min", "size": "sum", **dict.fromkeys(AXES, "sum")}
    how |= {f"{axis}_{end}": end for axis in AXES for end in ("min", "max")}
    table = pieces.groupby(group).agg(how).sort_values("piece")
    table = table[table["size"] >= min_size_vx]
    table[AXES] = table[AXES].div(table["size"], axis=0)
    cleft = pd.Series(np.arange(1, len(table) + 1, dtype=np.uint64), index=table.index)
    return table, cleft.reindex(group, fill_value=0).to_numpy(np.uint64)


def _relabel_block(pieces, final, resolution_nm, block, known, cleft_of, centroid_zyx):
    """Write the final ids of one block; returns the voxel nearest the centroid of each component in it."""
    labels = zarr.open_array(pieces, mode="r")[block]
    inside = labels != 0
    labels[inside] = cleft_of[np.searchsorted(known, labels[inside])]
    zarr.open_array(final, mode="r+")[block] = labels
    voxels = _voxels(labels, block)
    offset = voxels[AXES].to_numpy() - centroid_zyx[voxels["piece"].to_numpy().astype(np.int64) - 1]
    return _first(voxels.assign(distance=((offset * resolution_nm[::-1]) ** 2).sum(axis=1)))


def _first(voxels):
    """Of each component the voxel with the least distance, then the first in raster order."""
    return voxels.sort_values(["piece", "distance", *AXES]).drop_duplicates("piece")
