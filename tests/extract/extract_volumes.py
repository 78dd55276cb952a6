"""Small precomputed volumes and synapse tables for the extraction tests."""

import numpy as np
import pandas as pd
from cloudvolume import CloudVolume
from scipy.ndimage import gaussian_filter

from pipeline.columns import CENTER_NM as CENTER

OFFSET, SIZE, CHUNK = (100, 200, 50), (192, 160, 48), (64, 64, 16)  # XYZ voxels


def write_volume(folder, pixels_xyz, resolution, offset, chunk=CHUNK, encoding="jpeg", kind="image"):
    """Write an [X, Y, Z] array as a precomputed volume; returns its cloud-volume path."""
    path = f"precomputed://file://{folder}"
    info = CloudVolume.create_new_info(
        1, kind, str(pixels_xyz.dtype), encoding, resolution, offset, pixels_xyz.shape, chunk_size=chunk
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
