"""Reading a precomputed volume: which scale, which bounds, boxes of it, and what is wrong with chunks that fail.

cloud-volume decodes each stored chunk once and keeps it in an LRU cache of bounded size; callers that ask for boxes in
spatial order therefore find most chunks in memory.
"""

import functools
import itertools
from pathlib import Path

import cloudvolume
import numpy as np
import zarr
from cloudfiles.exceptions import DecompressionError
from cloudvolume.exceptions import DecodingError, EmptyVolumeException, InfoUnavailableError

from pipeline.extract.sampling import box_axis
from pipeline.space import VoxelFrame, zyx

CACHE_BYTES = 512 << 20  # decoded chunks, per worker process

#: What cloud-volume raises for a missing chunk, and for one whose bytes cannot be decoded. Anything else (a lost
#: connection, a full disk) says nothing about the volume and ends the run, which resumes when started again.
FAULTS = (EmptyVolumeException, DecodingError, DecompressionError, ValueError)


class ExtractionError(ValueError):
    """Synapses or volumes that cannot give patches; the text names them and says what to do."""


class Volume:
    """One scale of a single-channel precomputed volume: electron microscopy, or what else `dtypes` allows."""

    def __init__(self, em_path, voxel_nm, dtypes=("uint8",)):
        try:
            self._cv = cloudvolume.CloudVolume(
                em_path, fill_missing=False, bounded=True, progress=False, lru_bytes=CACHE_BYTES, lru_encoding="raw"
            )
        except InfoUnavailableError:
            raise ExtractionError(f"no precomputed volume at {em_path}: it has no readable `info` file") from None
        if self._cv.dtype not in dtypes or self._cv.num_channels != 1:
            raise ExtractionError(
                f"{em_path} holds {self._cv.num_channels} channel(s) of {self._cv.dtype}; "
                f"it must be one channel of {' or '.join(dtypes)}"
            )
        self.info = self._cv.info
        self._cv.mip = self.mip = self._choose_mip(voxel_nm)
        bounds = self._cv.bounds
        self.frame = VoxelFrame(tuple(float(r) for r in self._cv.resolution))
        self.bounds_vx = np.array([bounds.minpt, bounds.maxpt], dtype=np.int64)  # [2, XYZ], upper excluded
        self.chunk_vx = np.array(self._cv.chunk_size, dtype=np.int64)

    def _choose_mip(self, voxel_nm):
        """The coarsest scale that is no coarser than the model's voxels on any axis, else the finest."""
        for mip in reversed(self._cv.available_mips):
            if np.all(np.array(self._cv.mip_resolution(mip)) <= np.array(voxel_nm) + 1e-6):
                return mip
        return 0

    def chunks(self, low_vx, high_vx):
        """Corners (low, high) of the stored chunks that cover the box `[low_vx, high_vx)` (XYZ voxels)."""
        origin, end = self.bounds_vx
        first = (np.asarray(low_vx) - origin) // self.chunk_vx
        last = -(-(np.asarray(high_vx) - origin) // self.chunk_vx)
        corners = itertools.product(*(range(a, b) for a, b in zip(first, last, strict=True)))
        for low in (origin + np.array(corner) * self.chunk_vx for corner in corners):
            yield low, np.minimum(low + self.chunk_vx, end)

    def read(self, low_vx, high_vx):
        """The box `[low_vx, high_vx)` (XYZ voxels inside the bounds): (array [Z, Y, X], XYZ corner it starts at).

        Raises ExtractionError naming every missing or undecodable chunk of the box.
        """
        try:
            cutout = self._cv.download(cloudvolume.Bbox(low_vx, high_vx))
        except FAULTS:
            faults = list(self._chunk_faults(low_vx, high_vx))
            if not faults:
                raise
            raise ExtractionError("; ".join(faults)) from None
        # cloud-volume returns one single voxel as a plain array, which does not know its place
        corner = cutout.bounds.minpt if hasattr(cutout, "bounds") else low_vx
        return cutout[..., 0].transpose(zyx(range(3))), np.array(corner)

    def _chunk_faults(self, low_vx, high_vx):
        for low, high in self.chunks(low_vx, high_vx):
            box = cloudvolume.Bbox(low, high)
            name = f"{self._cv.key}/{box.to_filename()}"
            try:
                self._cv.download(box)
            except EmptyVolumeException:
                yield f"missing chunk {name}"
            except FAULTS as error:
                yield f"undecodable chunk {name} ({error})"


#: What a volume of segments or clefts may hold.
LABELS = ("uint8", "uint16", "uint32", "uint64")


class ArrayVolume:
    """Labels [Z, Y, X] in memory or in a Zarr array, read as a Volume is; `offset_vx` (XYZ) is its first voxel."""

    def __init__(self, labels, frame, offset_vx):
        self._labels = labels
        self.frame = frame
        self.bounds_vx = np.array([offset_vx, offset_vx + zyx(labels.shape)], dtype=np.int64)

    def read(self, low_vx, high_vx):
        """The box `[low_vx, high_vx)` (XYZ voxels inside the bounds): (array [Z, Y, X], XYZ corner it starts at)."""
        low, high = np.asarray(low_vx), np.asarray(high_vx)
        box = [slice(*ends) for ends in zip(zyx(low - self.bounds_vx[0]), zyx(high - self.bounds_vx[0]), strict=True)]
        return self._labels[tuple(box)], low


def open_labels(path, voxel_nm):
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
    if missing := [name for name in ("resolution_nm", "offset_vx") if name not in labels.attrs]:
        raise ExtractionError(f"{path} does not say where it lies: it lacks the attributes {missing} (XYZ)")
    return ArrayVolume(labels, VoxelFrame(tuple(labels.attrs["resolution_nm"])), np.array(labels.attrs["offset_vx"]))


class ModelVoxels:
    """EM on the grid of a model's voxels, voxel `i` centred `i + 1/2` voxels from the origin; read as a Volume is.

    Resampled as `pipeline.extract.sampling` says. The bounds are those of the voxels whose centres lie in the EM.
    """

    def __init__(self, em_path, voxel_nm):
        self._em = Volume(em_path, voxel_nm)
        self.frame = VoxelFrame(tuple(voxel_nm))
        ends = self._em.frame.to_nm(self._em.bounds_vx) / np.array(voxel_nm)
        self.bounds_vx = np.ceil(ends - 0.5 - 1e-6).astype(np.int64)

    def read(self, low_vx, high_vx):
        """The box `[low_vx, high_vx)` (XYZ voxels): (uint8 [Z, Y, X], low_vx). ExtractionError names faulty chunks."""
        axes = []
        for axis, (low, high) in enumerate(zip(low_vx, high_vx, strict=True)):
            size, ratio = high - low, self.frame.resolution_nm[axis] / self._em.frame.resolution_nm[axis]
            middle = (low + size // 2 + 0.5) * ratio - 0.5  # in the EM's voxels, whose centres are whole numbers
            axes.append(box_axis(middle, size, axis, self._em.frame, self.frame, self._em.bounds_vx[:, axis]))
        pixels, corner = self._em.read([a.take.min() for a in axes], [a.take.max() + 1 for a in axes])
        for position, axis in enumerate(reversed(axes)):
            pixels = axis.apply(pixels.take(axis.take - zyx(corner)[position], axis=position), position)
        return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), np.asarray(low_vx)


@functools.lru_cache(maxsize=1)
def open_model_voxels(em_path, voxel_nm, run):
    """The worker's ModelVoxels of this `run` (a unique token), so that its chunk cache lasts from block to block."""
    return ModelVoxels(em_path, voxel_nm)


@functools.lru_cache(maxsize=1)
def open_cached(em_path, voxel_nm, run):
    """The worker's Volume of this `run` (a unique token), so that its chunk cache lasts from block to block."""
    return Volume(em_path, voxel_nm)
