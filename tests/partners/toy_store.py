"""A sample store whose tissue can be learned in seconds: two cells, a cleft between them, one full of dark vesicles."""

import numpy as np
import pandas as pd
import zarr

from pipeline import shards
from pipeline.artefacts import sha256, write_json
from pipeline.partners import train as training
from pipeline.recipes import PartnerNetwork

VOXEL_NM = (16.0, 16.0, 40.0)
SHAPE_ZYX = (6, 32, 32)


PATCH_ZYX = (6, 24, 24)
DILATION_NM = 80.0


def settings(name, **changes):
    values = {"width": 8, "epochs": 4, "batch_size": 4}
    values["augmentation"] = {"rotation": 0.3, "elastic": 0, "cutout": 0, "bad_section": 0}
    return PartnerNetwork(name=name, **values | changes)


def train(store, network, run_dir, seed, start=None, patch_zyx=PATCH_ZYX):
    return training.train(store, network, patch_zyx, DILATION_NM, run_dir, seed, start)


def identity(store, network, seed, start=None):
    return training.identity(store, network, PATCH_ZYX, DILATION_NM, seed, start)


def tissue(rng, background=False):
    """(em, cleft, segments) of a sample: partners 1 (presynaptic) and 2, a bystander 3, all numbered at random later.

    A wall near the middle divides the two partners, at any angle; the cleft is part of it. Vesicles, dark dots, are on
    the presynaptic side. The bystander is a band at one end of the wall, next to the cleft.
    """
    z, y, x = np.meshgrid(*(np.arange(size) - size // 2 for size in SHAPE_ZYX), indexing="ij")
    angle = rng.uniform(0, 2 * np.pi)
    across = x * np.cos(angle) + y * np.sin(angle)
    along = y * np.cos(angle) - x * np.sin(angle)
    segments = np.where(across < 0, 1, 2)
    segments[along > 6] = 3
    wall = np.abs(across) < 1
    segments[wall] = 0
    cleft = (wall & (np.abs(along) < 5) & (np.abs(z) < 2)).astype(np.uint8)
    em = rng.normal(150, 10, SHAPE_ZYX)
    em[wall] = 90
    em[(segments == 1) & (rng.random(SHAPE_ZYX) < 0.3)] -= 80
    if background:
        em, cleft = rng.normal(150, 10, SHAPE_ZYX), 0 * cleft
    em[cleft > 0] = 30
    return em.clip(0, 255).astype(np.uint8), cleft, segments


def write(folder, n_train=80, n_val=12, n_background=8, seed=0, voxel_nm=VOXEL_NM):
    """Write a store; the local numbers and the ids of a row's segments are its own. Returns the folder."""
    rng = np.random.default_rng(seed)
    regions = ["train"] * (n_train + n_background) + ["val"] * n_val
    arrays = {name: [] for name in ("em", "cleft", "segments")}
    index, segments = [], []
    for row, region in enumerate(regions):
        background = n_train <= row < n_train + n_background
        em, cleft, labels = tissue(rng, background)
        numbers = rng.permutation(3) + 1
        ids = rng.integers(2**63, 2**64, 3, dtype=np.uint64)  # exact in this type alone
        local = np.append(0, numbers)[labels]
        for name, values in (("em", em), ("cleft", cleft), ("segments", local)):
            arrays[name].append(values)
        segments += [{"row": row, "local": n, "segment_id": id_} for n, id_ in zip(numbers, ids, strict=True)]
        index.append(
            {
                "row": row,
                "synapse_id": 0 if background else row + 1,
                "region": region,
                "pre_segment_id": np.uint64(0) if background else ids[0],
                "post_segment_id": np.uint64(0) if background else ids[1],
                "center_x_nm": 0.0,
                "center_y_nm": 0.0,
                "center_z_nm": 0.0,
                "padded": 0.0,
                "at_edge": False,
                "fault": "",
            }
        )
    return publish(folder, arrays, pd.DataFrame(index), pd.DataFrame(segments), voxel_nm)


def publish(folder, arrays, index, segments, voxel_nm=VOXEL_NM):
    """Write the files of a store from arrays `[N, Z, Y, X]` and its tables."""
    group = zarr.create_group(folder / "samples.zarr", overwrite=True)
    for name, dtype in (("em", "uint8"), ("cleft", "uint8"), ("segments", "uint16")):
        values = np.asarray(arrays[name], dtype)
        axes, rows, compressed = ("n", "z", "y", "x"), shards.MAX_ROWS, name != "em"
        shards.create(group, name, values.shape, rows, axes, dtype, compressed)[:] = values
    index.to_parquet(folder / "index.parquet")
    segments.to_parquet(folder / "segments.parquet")
    facts = {"voxel_nm": list(voxel_nm), "shape_zyx": list(np.shape(arrays["em"])[1:]), "n": len(index)}
    write_json(folder / "manifest.json", facts | {"sha256": sha256(folder / "samples.zarr")})
    return folder
