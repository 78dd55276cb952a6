"""The clefts that a volume labels, found block by block."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import blocks
from pipeline.columns import CENTER_NM
from pipeline.extract.volume import FINEST, Readable, open_labels
from pipeline.space import zyx

AXES = list("xyz")


def list_clefts(path: str | Path, block_zyx: tuple[int, int, int] = (32, 512, 512)) -> pd.DataFrame:
    """Every cleft of a volume of clefts: `synapse_id, center_{x,y,z}_nm, size_vx`, by id.

    The centre is the corner of the cleft's voxel nearest its centroid (of those, the first in raster order), as
    `clefts.cut` wants it. `path` is as in `volume.open_labels`; its finest scale is read, twice, block by block.
    """
    volume = open_labels(path, FINEST)
    resolution = np.array(volume.frame.resolution_nm)
    sums = [table.assign(size_vx=1).groupby("synapse_id").sum() for table in _labelled_voxels(volume, block_zyx)]
    total = pd.concat(sums).groupby("synapse_id").sum()
    centroid = total[AXES].div(total["size_vx"], axis=0)
    nearest = []
    for table in _labelled_voxels(volume, block_zyx):
        offset = (table[AXES].to_numpy() - centroid.loc[table["synapse_id"]].to_numpy()) * resolution
        nearest.append(_first(table.assign(distance=(offset**2).sum(axis=1))))
    found = _first(pd.concat(nearest, ignore_index=True))
    listed = pd.DataFrame({"synapse_id": found["synapse_id"]})
    listed[CENTER_NM] = volume.frame.to_nm(found[AXES])
    return listed.assign(size_vx=total["size_vx"].to_numpy())


def _labelled_voxels(volume: Readable, block_zyx: tuple[int, int, int]) -> Iterator[pd.DataFrame]:
    """Yield `synapse_id, x, y, z` of the labelled voxels of each block of a volume."""
    low, high = volume.bounds_vx
    for region in tqdm(blocks.grid(zyx(high - low), block_zyx), desc="list clefts", disable=None):
        ends = [[getattr(part, end) for part in region[::-1]] for end in ("start", "stop")]
        labels, start = volume.read(*(low + ends))
        places = np.nonzero(labels)
        voxels = {axis: place + first for axis, place, first in zip(AXES, places[::-1], start, strict=True)}
        yield pd.DataFrame({"synapse_id": labels[places].astype(np.uint64), **voxels})


def _first(table: pd.DataFrame) -> pd.DataFrame:
    """Of each cleft the voxel with the least distance, then the first in raster order."""
    ordered = table.sort_values(["synapse_id", "distance", "z", "y", "x"])
    return ordered.drop_duplicates("synapse_id").reset_index(drop=True)
