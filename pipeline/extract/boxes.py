"""Reading boxes of a volume on any grid: `resampled` for electron microscopy, `nearest` for labels.

Alignment: the voxel at index `size // 2` of each axis of a box is centred on the grid's centre, which for a synapse is
the centre of the stored voxel that holds it. With equal voxel sizes the box is therefore `[c - size // 2, c - size //
2 + size)` of the stored voxels, unchanged; with others no synapse is further than half a stored voxel from the middle
of its centre voxel.

Resampling along each axis is a weighted mean of source voxels under the cubic convolution kernel of Keys (1981, "Cubic
convolution interpolation for digital image processing", IEEE Trans. ASSP 29:1153, a = -1/2), stretched by
max(1, grid voxel / source voxel), so that what the coarser grid cannot hold is filtered out before it can alias.
"""

import dataclasses
import math

import numpy as np
import scipy.sparse

from pipeline.extract.volume import Readable
from pipeline.space import VoxelFrame, zyx


@dataclasses.dataclass(frozen=True)
class Grid:
    """A box of voxels of `voxel_nm` (XYZ); the one at index `shape_zyx // 2` is centred on `center_nm` (XYZ)."""

    center_nm: np.ndarray
    shape_zyx: tuple[int, int, int]
    voxel_nm: tuple[float, float, float]

    @classmethod
    def at(cls, position_nm: np.ndarray, shape_zyx: tuple, volume: Readable, voxel_nm: tuple) -> "Grid":
        """Centred on the volume's voxel that holds a position (XYZ nm)."""
        return cls(volume.frame.to_nm(volume.frame.to_vx(position_nm) + 0.5), tuple(shape_zyx), tuple(voxel_nm))

    @classmethod
    def of_voxels(cls, low_vx: np.ndarray, high_vx: np.ndarray, frame: VoxelFrame) -> "Grid":
        """The voxels `[low_vx, high_vx)` (XYZ) of a frame."""
        size = np.asarray(high_vx) - low_vx
        return cls(frame.to_nm(low_vx + size // 2 + 0.5), tuple(zyx(size).tolist()), frame.resolution_nm)

    @property
    def places_nm(self) -> list[np.ndarray]:
        """Positions of the voxels' centres along Z, Y and X."""
        axes = zip(zyx(self.center_nm), self.shape_zyx, zyx(self.voxel_nm), strict=True)
        return [center + (np.arange(size) - size // 2) * nm for center, size, nm in axes]


@dataclasses.dataclass(frozen=True)
class Box:
    """Resampled voxels. `low_vx, high_vx` is the source box that was read (XYZ voxels)."""

    pixels: np.ndarray  # [Z, Y, X] uint8
    padded: float  # fraction of voxels beyond the volume, filled by reflection
    blank_sections: np.ndarray  # [n] bool, for the source sections from low_vx[2] on: one single grey value
    center_nm: np.ndarray  # XYZ position of the voxel at index size // 2, found from what was read
    low_vx: np.ndarray
    high_vx: np.ndarray


def resampled(volume: Readable, grid: Grid) -> Box:
    """Read a volume on a grid, reflected at its faces; ExtractionError names the chunks that cannot be read."""
    axes = box_axes(volume, grid)
    low = zyx([axis.take.min() for axis in axes])
    high = zyx([axis.take.max() + 1 for axis in axes])
    stored, corner = volume.read(low, high)
    pixels, center = stored, []
    for position, (axis, start) in enumerate(zip(axes, zyx(corner), strict=True)):
        index = axis.take - start
        if np.any(np.diff(index) != 1):  # reflected at the volume's face
            pixels = pixels.take(index, axis=position)
        pixels = axis.apply(pixels, position)
        place = axis.apply(volume.frame.centers_nm(axis.take, axis=2 - position))
        center.append(place[grid.shape_zyx[position] // 2])
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    sections = stored.reshape(len(stored), -1)
    blank = sections.min(axis=1) == sections.max(axis=1)
    return Box(np.ascontiguousarray(pixels), padded_fraction(axes), blank, zyx(center), low, high)


def nearest(volume: Readable, grid: Grid) -> np.ndarray:
    """Values `[Z, Y, X]` of the voxels that hold the places of a grid; 0 beyond the volume."""
    resolution, bounds = zyx(volume.frame.resolution_nm), zyx(volume.bounds_vx)
    index = [np.floor(p / nm + 1e-6).astype(np.int64) for p, nm in zip(grid.places_nm, resolution, strict=True)]
    inside = [(low <= i) & (i < high) for i, low, high in zip(index, *bounds, strict=True)]
    if not all(axis.any() for axis in inside):
        return np.zeros(grid.shape_zyx, np.uint64)
    index = [i[within] for i, within in zip(index, inside, strict=True)]
    stored, corner = volume.read(zyx([i.min() for i in index]), zyx([i.max() + 1 for i in index]))
    found = np.zeros(grid.shape_zyx, stored.dtype)
    found[np.ix_(*inside)] = stored[np.ix_(*(i - first for i, first in zip(index, zyx(corner), strict=True)))]
    return found


def voxels_around(volume: Readable, point_nm: np.ndarray, half_nm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low_vx, high_vx) (XYZ) of the volume's own voxels up to `half_nm` from a point; empty if low_vx >= high_vx."""
    low = np.maximum(volume.frame.to_vx(point_nm - half_nm), volume.bounds_vx[0])
    return low, np.minimum(volume.frame.to_vx(point_nm + half_nm) + 1, volume.bounds_vx[1])


def distances_nm(shape: tuple[int, ...], center_zyx: np.ndarray, voxel_nm: tuple) -> np.ndarray:
    """Distance of each voxel of an array to the one at index `center_zyx`, which may lie beyond; `voxel_nm` is XYZ."""
    axes = zip(np.ogrid[tuple(map(slice, shape))], center_zyx, zyx(voxel_nm), strict=True)
    return np.sqrt(sum(((axis - center) * nm) ** 2 for axis, center, nm in axes))


def bounds_on(frame: VoxelFrame, volume: Readable) -> np.ndarray:
    """[2, XYZ]: the voxels of another frame whose centres lie in a volume, upper excluded."""
    ends = volume.bounds_nm / np.array(frame.resolution_nm)
    return np.ceil(ends - 0.5 - 1e-6).astype(np.int64)


def keys_cubic(distance: np.ndarray) -> np.ndarray:
    """Keys's cubic convolution kernel (a = -1/2) at distances in grid steps; zero from 2 steps on."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def reflect(index: np.ndarray, low: int, high: int) -> np.ndarray:
    """Map voxel indices into `[low, high)` by reflection about the first and last voxel's centres, as often as needed.

    This is `numpy.pad(mode="reflect")`: the edge voxel itself is not repeated.
    """
    span = high - 1 - low
    if span == 0:
        return np.full_like(index, low)
    return low + span - np.abs((index - low) % (2 * span) - span)


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a box: `source[take]` holds the voxels to read, `weights @ source[take]` the box's own voxels."""

    take: np.ndarray  # [n_source] source voxel indices inside the volume
    weights: scipy.sparse.csr_array | None  # [size, n_source]; None where the voxel sizes agree
    padded: float  # fraction of the box's voxels whose centre lies outside the volume

    def apply(self, values: np.ndarray, position: int = 0) -> np.ndarray:
        """Resample axis `position` of an array holding the voxels `take`; unchanged where the voxel sizes agree."""
        if self.weights is None:
            return values
        moved = np.moveaxis(values, position, 0)
        mixed = self.weights @ moved.reshape(len(moved), -1)
        return np.moveaxis(mixed.reshape(-1, *moved.shape[1:]), 0, position)


def box_axes(volume: Readable, grid: Grid) -> list[Axis]:
    """How the axes Z, Y and X of a grid are read from a volume."""
    resolution = np.array(volume.frame.resolution_nm)
    center_vx = np.asarray(grid.center_nm) / resolution - 0.5  # whole numbers are centres of stored voxels
    whole = np.rint(center_vx)
    center_vx = np.where(np.abs(center_vx - whole) < 1e-6, whole, center_vx)
    ratio = np.array(grid.voxel_nm) / resolution
    return [
        box_axis(center_vx[axis], size, ratio[axis], volume.bounds_vx[:, axis])
        for axis, size in zip((2, 1, 0), grid.shape_zyx, strict=True)
    ]


def padded_fraction(axes: list[Axis]) -> float:
    """Fraction of a box's voxels whose centre lies outside the volume."""
    return float(1 - np.prod([1 - axis.padded for axis in axes]))


def box_axis(center_vx: float, size: int, ratio: float, bounds_vx: np.ndarray) -> Axis:
    """Plan one axis of a box of `size` voxels, each `ratio` source voxels wide, centred on a place of the source.

    `bounds_vx` is the source's (first, last + 1) voxel along the axis.
    """
    low, high = bounds_vx
    place = center_vx + (np.arange(size) - size // 2) * ratio
    padded = float(np.mean((place < low - 0.5) | (place >= high - 0.5)))
    if math.isclose(ratio, 1):
        return Axis(reflect(np.rint(place).astype(np.int64), low, high), None, padded)
    stretch = max(1.0, ratio)
    first = np.ceil(place - 2 * stretch).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(4 * stretch) + 1)
    weights = keys_cubic((taps - place[:, None]) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    read = np.arange(taps.min(), taps.max() + 1)
    rows = np.repeat(np.arange(size), taps.shape[1])
    shape = (size, len(read))
    matrix = scipy.sparse.csr_array((weights.ravel(), (rows, (taps - read[0]).ravel())), shape=shape)
    matrix.eliminate_zeros()
    return Axis(reflect(read, low, high), matrix.astype(np.float32), padded)
