"""Where the voxels of a box come from: the box's place on the source grid, reflection at the edge, resampling.

Alignment: a box of `size` model voxels along an axis has its voxel `size // 2` centred on the source voxel that holds
the synapse. With equal voxel sizes the box is therefore `[c - size // 2, c - size // 2 + size)` of the stored voxels,
unchanged; with others no synapse is further than half a source voxel from the middle of its centre voxel.

Resampling along each axis is a weighted mean of source voxels under the cubic convolution kernel of Keys (1981, "Cubic
convolution interpolation for digital image processing", IEEE Trans. ASSP 29:1153, a = -1/2), stretched by
max(1, model voxel / source voxel), so that what the coarser grid cannot hold is filtered out before it can alias.
"""

import dataclasses
import math

import numpy as np
import scipy.sparse


def keys_cubic(distance):
    """Keys's cubic convolution kernel (a = -1/2) at distances in grid steps; zero from 2 steps on."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def reflect(index, low, high):
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

    def apply(self, values, position=0):
        """Resample axis `position` of an array holding the voxels `take`; unchanged where the voxel sizes agree."""
        if self.weights is None:
            return values
        moved = np.moveaxis(values, position, 0)
        mixed = self.weights @ moved.reshape(len(moved), -1)
        return np.moveaxis(mixed.reshape(-1, *moved.shape[1:]), 0, position)


def box_axis(center_vx, size, axis, source, target, bounds_vx):
    """Plan one axis (0 = X) of a box of `size` voxels of `target` centred on the source voxel `center_vx`.

    `source` and `target` are VoxelFrames; `bounds_vx` is the volume's (first, last + 1) voxel along the axis.
    """
    low, high = bounds_vx
    ratio = target.resolution_nm[axis] / source.resolution_nm[axis]
    place = center_vx + (np.arange(size) - size // 2) * ratio  # of the box's voxels; integers are source voxel centres
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
