"""Volumes to read from: which scale, which bounds, boxes of stored voxels, and what is wrong with chunks that fail.

The last decoded chunks stay in memory: callers that ask for boxes in spatial order find most of theirs there. Several
threads may read a volume at once, which is what hides the latency of a server.
"""

import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline.config import Transfer
from pipeline.errors import PipelineError
from pipeline.extract import cloud, fetch
from pipeline.extract.chunks import ChunkReader, Corner
from pipeline.space import VoxelFrame, zyx

FINEST = (0.0, 0.0, 0.0)  # as `voxel_nm`: the finest scale there is
TRANSFER = Transfer()

#: What a volume of segments or clefts may hold.
LABELS = ("uint8", "uint16", "uint32", "uint64")


class ExtractionError(PipelineError):
    """Synapses or volumes that cannot give patches or samples."""


class Readable:
    """What boxes are read from: voxels of `frame` within `bounds_vx` ([2, XYZ], upper excluded)."""

    frame: VoxelFrame
    bounds_vx: np.ndarray
    identity: dict[str, Any]  # of what is stored, as far as it can be had without reading it; JSON

    @property
    def bounds_nm(self) -> np.ndarray:
        return self.frame.to_nm(self.bounds_vx)

    def inside(self, points_nm: np.ndarray) -> np.ndarray:
        """Which points (`[..., 3]` XYZ nm) lie in the volume; NaN lies nowhere."""
        place = self.frame.to_vx(np.nan_to_num(points_nm))
        within = (place >= self.bounds_vx[0]) & (place < self.bounds_vx[1])
        return (within & np.isfinite(points_nm)).all(axis=-1)

    def read(self, low_vx: np.ndarray, high_vx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The box `[low_vx, high_vx)` (XYZ voxels inside the bounds): (array [Z, Y, X], XYZ corner it starts at)."""
        raise NotImplementedError


class Volume(Readable):
    """One scale of a single-channel precomputed volume: electron microscopy, or what else `dtypes` allows.

    The scale is the coarsest that is no coarser than `voxel_nm` (XYZ) on any axis, else the finest. Raises
    ExtractionError for a volume that cannot be used, and VolumeUnavailable where a server gives no answer.
    """

    def __init__(
        self,
        path: str,
        voxel_nm: tuple[float, ...],
        dtypes: tuple[str, ...] = ("uint8",),
        transfer: Transfer = TRANSFER,
    ):
        self._store = store = fetch.store(path, transfer)
        try:
            info = store.info() if store else cloud.info(path, transfer)
        except fetch.Unreadable:
            raise ExtractionError(f"no precomputed volume at {path}: it has no readable `info` file") from None
        if info["data_type"] not in dtypes or info["num_channels"] != 1:
            raise ExtractionError(
                f"{path} holds {info['num_channels']} channel(s) of {info['data_type']}; "
                f"it must be one channel of {' or '.join(dtypes)}"
            )
        fine_enough = [
            mip
            for mip, scale in enumerate(info["scales"])
            if np.all(np.array(scale["resolution"]) <= np.array(voxel_nm) + 1e-6)
        ]
        self.mip = max(fine_enough, default=0)
        scale = info["scales"][self.mip]
        x, y, z = map(float, scale["resolution"])
        self.frame = VoxelFrame((x, y, z))
        origin = np.array(scale.get("voxel_offset", (0, 0, 0)), dtype=np.int64)
        self.bounds_vx = np.array([origin, origin + scale["size"]])
        self.chunk_vx = np.array(scale["chunk_sizes"][0], dtype=np.int64)
        _, local, folder = path.partition("file://")  # a local volume made anew must not be mixed with the old one
        written = (Path(folder) / "info").stat().st_mtime_ns if local else None
        self.identity = {"path": path, "info": info, "written": written}
        self._reader: ChunkReader | cloud.CloudReader
        if store is None or scale.get("sharding"):
            self._reader = cloud.CloudReader(path, self.mip, transfer)
        else:
            try:
                self._reader = ChunkReader(store, scale, np.dtype(info["data_type"]))
            except fetch.Unreadable as error:
                raise ExtractionError(f"{path} cannot be decoded: {error}") from None

    @property
    def retries(self) -> int:
        """Requests that were repeated so far, as far as this software makes them itself."""
        return self._store.retries if self._store else 0

    def chunks(self, low_vx: np.ndarray, high_vx: np.ndarray) -> Iterator[tuple[Corner, Corner]]:
        """Corners (low, high) of the stored chunks that cover the box `[low_vx, high_vx)` (XYZ voxels)."""
        axes = []  # Python's integers: NumPy's would take longer than copying the voxels
        for axis, size in enumerate(self.chunk_vx.tolist()):
            (first, end), low, high = self.bounds_vx[:, axis].tolist(), int(low_vx[axis]), int(high_vx[axis])
            starts = range(first + (low - first) // size * size, high, size)
            axes.append([(start, min(start + size, end)) for start in starts])
        for x, y, z in itertools.product(*axes):
            yield (x[0], y[0], z[0]), (x[1], y[1], z[1])

    def read(self, low_vx: np.ndarray, high_vx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Readable`; ExtractionError names every missing or undecodable chunk of the box."""
        low, high = np.asarray(low_vx), np.asarray(high_vx)
        if (low < self.bounds_vx[0]).any() or (high > self.bounds_vx[1]).any() or (low >= high).any():
            raise ExtractionError(
                f"no box {low.tolist()} to {high.tolist()} in a volume of {self.bounds_vx.tolist()} (XYZ voxels)"
            )
        try:
            return self._reader.read(low, high, self.chunks(low, high)), low
        except fetch.Unreadable as fault:
            raise ExtractionError(str(fault)) from None


class ArrayVolume(Readable):
    """A volume [Z, Y, X] in memory or in a Zarr array; `offset_vx` (XYZ) is its first voxel."""

    def __init__(self, values: np.ndarray | zarr.Array, frame: VoxelFrame, offset_vx: np.ndarray):
        self._values = values
        self.frame = frame
        self.bounds_vx = np.array([offset_vx, offset_vx + zyx(values.shape)], dtype=np.int64)

    def read(self, low_vx: np.ndarray, high_vx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.asarray(low_vx), np.asarray(high_vx)
        box = [slice(*ends) for ends in zip(zyx(low - self.bounds_vx[0]), zyx(high - self.bounds_vx[0]), strict=True)]
        return np.asarray(self._values[tuple(box)]), low


def open_labels(path: str | Path, voxel_nm: tuple[float, ...]) -> Readable:
    """A volume of segments or clefts: a cloud-volume path, or a Zarr array [Z, Y, X].

    The array's attributes are `resolution_nm` and `offset_vx` (XYZ): its voxels, and its first one. Raises
    ExtractionError for anything else there.
    """
    if not str(path).endswith(".zarr"):
        return Volume(str(path), voxel_nm, LABELS)
    if not Path(path).is_dir():
        raise ExtractionError(f"no Zarr array at {path}")
    labels = zarr.open_array(path, mode="r")
    if labels.dtype not in LABELS or labels.ndim != 3:
        raise ExtractionError(f"{path} holds {labels.ndim} axes of {labels.dtype}; it must be Z, Y, X of {LABELS}")
    place: dict[str, Any] = dict(labels.attrs)
    if missing := [name for name in ("resolution_nm", "offset_vx") if name not in place]:
        raise ExtractionError(f"{path} does not say where it lies: it lacks the attributes {missing} (XYZ)")
    volume = ArrayVolume(labels, VoxelFrame(tuple(place["resolution_nm"])), np.array(place["offset_vx"]))
    volume.identity = {"path": str(path), "written": os.stat(Path(path) / "zarr.json").st_mtime_ns}
    return volume


@functools.lru_cache(maxsize=1)
def cached_em(path: str, voxel_nm: tuple[float, ...], run: str, transfer: Transfer = TRANSFER) -> Volume:
    """The worker's volume of this `run` (a unique token), so that its chunk cache lasts from block to block."""
    return Volume(path, voxel_nm, transfer=transfer)


@functools.lru_cache(maxsize=2)
def cached_labels(path: str | Path, voxel_nm: tuple[float, ...], run: str) -> Readable:
    """As `cached_em`, for segments and clefts."""
    return open_labels(path, voxel_nm)
