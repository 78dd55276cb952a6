"""AVAN's presynaptic mask on the grid of the classifiers' cubes: their channel `presynaptic`."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from torch import nn
from tqdm import tqdm

from pipeline import config, shards
from pipeline.artefacts import atomic_folder, sha256, write_json, write_parquet
from pipeline.columns import CENTER_NM
from pipeline.learn.checkpoint import Card
from pipeline.partners import predict
from pipeline.partners.samples import Samples, SamplesError
from pipeline.space import VoxelFrame

log = logging.getLogger("pipeline")


def write(
    network: nn.Module,
    card: Card,
    samples: Samples,
    synapses: pd.DataFrame,
    settings: config.Extract,
    out: Path,
) -> None:
    """Write a folder in the format of `patches/` that holds masks in place of images, for `learn.data.Images`.

    `cube` is uint8 `[N, Z, Y, X]`, 255 where AVAN is sure that a voxel is presynaptic, of the size and voxels of
    `settings`, centred on the rows of `synapses` (`synapse_id, center_{x,y,z}_nm`) as their cubes
    are. What AVAN did not see is 0. Raises SamplesError for synapses that have no sample.
    """
    clefts = samples.index[(samples.index["synapse_id"] != 0) & (samples.index["fault"] == "")]
    rows = pd.Series(clefts.index, index=clefts["synapse_id"]).reindex(synapses["synapse_id"])
    if rows.isna().any():
        missing = rows.index[rows.isna()].tolist()
        raise SamplesError(
            f"{len(missing)} synapses have no cleft that AVAN can look at in {samples.folder}: {missing[:5]}...; "
            "leave them out, or use a model that reads EM alone"
        )
    rows = rows.to_numpy(np.int64)
    centers = synapses[CENTER_NM].to_numpy(float)
    with atomic_folder(out) as folder:
        shape, n = (len(rows), *settings.cube_zyx), shards.rows_per_shard(settings.cube_zyx)
        group = zarr.create_group(folder / "images.zarr")
        cubes = shards.create(group, "cube", shape, n, ("synapse", "z", "y", "x"))
        for start in tqdm(range(0, len(rows), n), desc="masks", disable=None):  # a shard at a time
            part = slice(start, start + n)
            found = predict.presynaptic_masks(network, card, samples, rows[part])
            own = samples.index[CENTER_NM].to_numpy()[rows[part]]
            cubes[part] = np.stack(
                [_on_cube(*one, card, settings) for one in zip(found, own, centers[part], strict=True)]
            )
        write_parquet(folder / "index.parquet", synapses[["synapse_id"]].assign(row=np.arange(len(rows))))
        hashes = {"images.zarr": sha256(folder / "images.zarr"), "index.parquet": sha256(folder / "index.parquet")}
        write_json(folder / "manifest.json", {"voxel_nm": list(settings.voxel_nm), "n": len(rows), "sha256": hashes})
    log.info("masks: of %d synapses", len(rows))


def _on_cube(
    mask: np.ndarray, mask_center_nm: np.ndarray, cube_center_nm: np.ndarray, card: Card, settings: config.Extract
) -> np.ndarray:
    """A mask `[Z, Y, X]` in [0, 1] on the voxels of a cube, uint8: each takes the value of the mask's voxel it lies in.

    Voxel `size // 2` of either is centred on the stored voxel whose lower corner is its `center_nm` (XYZ).
    """
    stored = VoxelFrame(settings.voxel_nm)
    places = []
    for axis, (have, want) in enumerate(zip(mask.shape, settings.cube_zyx, strict=True)):
        xyz = 2 - axis
        offset_nm = (cube_center_nm - mask_center_nm)[xyz] + (np.arange(want) - want // 2) * stored.resolution_nm[xyz]
        places.append(np.floor(offset_nm / card.voxel_nm[xyz] + 0.5).astype(np.int64) + have // 2)
    inside = [(place >= 0) & (place < size) for place, size in zip(places, mask.shape, strict=True)]
    cube = np.zeros(settings.cube_zyx, np.uint8)
    taken = mask[np.ix_(*(place[within] for place, within in zip(places, inside, strict=True)))]
    cube[np.ix_(*inside)] = np.rint(255 * taken)
    return cube
