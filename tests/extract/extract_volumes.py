"""Small precomputed volumes and synapse tables for the extraction tests, and a check of what was extracted."""

import hashlib

import numpy as np
import pandas as pd
import zarr
from cloudvolume import CloudVolume
from scipy.ndimage import gaussian_filter

from pipeline.artefacts import read_json, sha256
from pipeline.columns import CENTER_NM as CENTER

OFFSET, SIZE, CHUNK = (100, 200, 50), (192, 160, 48), (64, 64, 16)  # XYZ voxels


def write_volume(folder, pixels_xyz, resolution, offset, chunk=CHUNK, encoding="jpeg"):
    """Write an [X, Y, Z] array as a precomputed volume; returns its cloud-volume path."""
    path = f"precomputed://file://{folder}"
    info = CloudVolume.create_new_info(
        1, "image", "uint8", encoding, resolution, offset, pixels_xyz.shape, chunk_size=chunk
    )
    volume = CloudVolume(path, info=info, compress=False, progress=False)
    volume.commit_info()
    volume[:] = pixels_xyz
    return path


def texture(shape, seed=0):
    """Smoothed noise, grey levels about 128 +- 30, never 0."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape).astype(np.float32), (1.5, 1.5, 0.7))
    return (noise / noise.std() * 30 + 128).clip(1, 255).astype(np.uint8)


def synapse_table(center_vx, resolution=(8, 8, 40)):
    """Synapses with ids 1000, 1001, ... centred on the lower corners of voxels."""
    table = pd.DataFrame(np.asarray(center_vx) * np.array(resolution, float), columns=CENTER)
    table.insert(0, "synapse_id", np.arange(1000, 1000 + len(table)))
    return table


def differing(folder):
    """What in a `patches/` folder is not as its manifest and its digests say."""
    manifest = read_json(folder / "manifest.json")
    quality = pd.read_parquet(folder / "quality.parquet")
    tables = ("index", "quality")
    wrong = [name for name in tables if sha256(folder / f"{name}.parquet") != manifest["sha256"][name]]
    for name in ("patch", "cube"):
        digests = [bytes.fromhex(digest) for digest in quality[f"{name}_sha256"]]
        if hashlib.sha256(b"".join(digests)).hexdigest() != manifest["sha256"][name]:
            wrong.append(name)
        images = zarr.open_array(folder / "images.zarr" / name, mode="r")[:]
        for synapse_id, image, digest in zip(quality["synapse_id"], images, digests, strict=True):
            if hashlib.sha256(image.tobytes()).digest() != digest:
                wrong.append((name, synapse_id))
    return wrong
