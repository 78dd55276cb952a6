"""Connected components of a thresholded volume too large for memory: labelled in blocks, joined across their faces.

Voxels are connected to their 26 neighbours. Until all is joined, a piece of a block is identified by the raster
number of its first voxel in the volume, plus one, which is unique without counting. Components are numbered in the
order of the least of their pieces' numbers, so that ids follow from the array alone, whatever the blocks.
"""

import functools
import itertools
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
import pandas as pd
import scipy.sparse
import zarr
from distributed import Client

from pipeline import blocks
from pipeline.columns import CENTER_NM
from pipeline.space import VoxelFrame

AXES = list("zyx")


def components(
    scores: Path,
    threshold: float,
    min_size_vx: int,
    block_zyx: tuple[int, int, int],
    out: Path,
    client: Client | None = None,
) -> pd.DataFrame:
    """Write the components of `scores >= threshold` to the Zarr array `out`, uint64 [Z, Y, X]; returns their table.

    `scores` is the path of a Zarr array [Z, Y, X] as `tiles.infer` writes it. Components with fewer than `min_size_vx`
    voxels become 0; the others are numbered 1, 2, ... by their first voxels in raster order. The table has `cleft_id`,
    `center_{x,y,z}_nm` (the corner of the component's voxel nearest its centroid) and `size_vx`. Memory holds a block
    and a few numbers a component; `out` says where it lies by the attributes of `scores`. An interrupted run
    continues from its finished blocks when called again with the same arguments, and ends with the same bytes.
    """
    source = zarr.open_array(scores, mode="r")
    place: dict[str, Any] = dict(source.attrs)
    resolution_nm, offset_vx = place["resolution_nm"], place["offset_vx"]
    threshold = float(threshold)  # Python's own is compared in the precision of the scores, NumPy's in its own
    plan = {
        "scores": [str(scores), (Path(scores) / "zarr.json").stat().st_mtime_ns],
        "threshold": threshold,
        "min_size_vx": min_size_vx,
        "block_zyx": block_zyx,
    }

    def create(content: Path) -> None:
        for path in (content, content.with_name("pieces")):
            blocks.create(path, source.shape, "uint64", block_zyx, resolution_nm, offset_vx)

    todo = blocks.grid(source.shape, block_zyx)
    with blocks.Work(out, plan, create) as work:
        pieces = work.folder / "pieces"
        label = functools.partial(_label_block, scores, pieces, threshold, source.shape)
        labelled = work.run("label", label, todo, client)
        listed = pd.concat(labelled, ignore_index=True).sort_values("piece")
        touching = work.run("faces", functools.partial(_touching, pieces, source.shape), todo, client)
        table, cleft_of = _join(listed, pd.concat(touching).to_numpy(np.uint64), min_size_vx)
        relabel = functools.partial(_relabel_block, pieces, work.content, resolution_nm)
        joined = pd.DataFrame({"cleft": cleft_of}, index=listed["piece"]).join(table.set_index("cleft")[AXES], "cleft")
        items = [(block, joined.loc[own["piece"]]) for block, own in zip(todo, labelled, strict=True)]
        nearest = _first(pd.concat(work.run("relabel", relabel, items, client), ignore_index=True))
        work.publish()
    centers = VoxelFrame(tuple(resolution_nm)).to_nm(nearest[AXES[::-1]].to_numpy() + offset_vx)
    result = pd.DataFrame({"cleft_id": np.arange(1, len(table) + 1)})
    result[CENTER_NM] = centers
    return result.assign(size_vx=table["size"].to_numpy())


def _voxels(labels: np.ndarray, block: blocks.Region) -> pd.DataFrame:
    """The labelled voxels of a block in raster order: `piece`, and `z, y, x` in the volume."""
    places = np.nonzero(labels)
    columns = {axis: place + part.start for axis, place, part in zip(AXES, places, block, strict=True)}
    return pd.DataFrame({"piece": labels[places], **columns})


def _label_block(
    scores: Path, target: Path, threshold: float, shape: tuple[int, ...], block: blocks.Region
) -> pd.DataFrame:
    """Label one block by raster numbers; returns a row a piece: number of voxels, and sums of their indices."""
    mask = blocks.read(scores, block) >= threshold
    local = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    voxels = _voxels(local, block)
    raster = np.ravel_multi_index([voxels[axis].to_numpy() for axis in AXES], shape).astype(np.uint64) + 1
    voxels["piece"] = pd.Series(raster).groupby(voxels["piece"].to_numpy()).transform("min")
    labels = np.zeros(local.shape, np.uint64)
    labels[np.nonzero(local)] = voxels["piece"]
    blocks.write(target, block, labels)
    return voxels.assign(size=1).groupby("piece").sum().reset_index()


def _touching(pieces: Path, shape: tuple[int, ...], block: blocks.Region) -> pd.DataFrame:
    """The pairs of pieces (two columns) that touch across the far faces of a block, edges and corners included."""
    pairs = [np.zeros((0, 2), np.uint64)]
    for axis in range(3):
        face = block[axis].stop
        if face == shape[axis]:
            continue
        near, far, short = list(block), list(block), [(0, 0)] * 3
        near[axis], far[axis] = slice(face - 1, face), slice(face, face + 1)
        for other in {0, 1, 2} - {axis}:  # one voxel more on each side, of zeros beyond the volume
            low, high = block[other].start - 1, block[other].stop + 1
            far[other] = slice(max(low, 0), min(high, shape[other]))
            short[other] = (far[other].start - low, high - far[other].stop)
        here, there = blocks.read(pieces, tuple(near)), np.pad(blocks.read(pieces, tuple(far)), short)
        for shift in itertools.product(*(range(b - a + 1) for a, b in zip(here.shape, there.shape, strict=True))):
            beside = there[tuple(slice(s, s + n) for s, n in zip(shift, here.shape, strict=True))]
            both = (here != 0) & (beside != 0)
            pairs.append(np.stack([here[both], beside[both]], axis=1))
    return pd.DataFrame(np.unique(np.concatenate(pairs), axis=0), columns=["piece", "other"])


def _join(pieces: pd.DataFrame, pairs: np.ndarray, min_size_vx: int) -> tuple[pd.DataFrame, np.ndarray]:
    """(table of components large enough: `cleft`, centroid `z, y, x`, `size`; [pieces] cleft of each piece, or 0)."""
    known = pieces["piece"].to_numpy()  # sorted
    ends = np.searchsorted(known, pairs)
    graph = scipy.sparse.coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(known),) * 2)
    _, group = scipy.sparse.csgraph.connected_components(graph, directed=False)
    how = {"piece": "min", "size": "sum", **dict.fromkeys(AXES, "sum")}
    table = pieces.groupby(group).agg(how).sort_values("piece")
    table = table[table["size"] >= min_size_vx]
    table[AXES] = table[AXES].div(table["size"], axis=0)
    table["cleft"] = np.arange(1, len(table) + 1, dtype=np.uint64)
    return table, table["cleft"].reindex(group, fill_value=0).to_numpy(np.uint64)


def _relabel_block(
    pieces: Path, final: Path, resolution_nm: list[float], item: tuple[blocks.Region, pd.DataFrame]
) -> pd.DataFrame:
    """Write the final ids of one block; returns the voxel nearest the centroid of each component in it.

    The item is the block and the table of its pieces, in their order: `cleft` and the centroid's `z, y, x`.
    """
    block, joined = item
    labels = blocks.read(pieces, block)
    inside = labels != 0
    labels[inside] = joined["cleft"].to_numpy()[np.searchsorted(joined.index, labels[inside])]
    blocks.write(final, block, labels)
    voxels = _voxels(labels, block)
    centroid = joined.drop_duplicates("cleft").set_index("cleft")
    offset = voxels[AXES].to_numpy() - centroid.loc[voxels["piece"], AXES].to_numpy()
    return _first(voxels.assign(distance=((offset * resolution_nm[::-1]) ** 2).sum(axis=1)))


def _first(voxels: pd.DataFrame) -> pd.DataFrame:
    """Of each component the voxel with the least distance, then the first in raster order."""
    return voxels.sort_values(["piece", "distance", *AXES]).drop_duplicates("piece")
