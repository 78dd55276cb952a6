"""The segments beside a cleft, among which its two partners are sought."""

import numpy as np
from scipy import ndimage


def grown(cleft: np.ndarray, voxel_nm: tuple[float, float, float], dilation_nm: float) -> np.ndarray:
    """All voxels `[Z, Y, X]` within `dilation_nm` of the cleft `[Z, Y, X]` (bool) and at most one section away from it.

    In the plane the cleft grows by a disk. Into each neighbouring section it grows by the part of the ball that
    reaches there, which is nothing where `dilation_nm` is below the section thickness. It never grows by two sections:
    those may be misaligned by more than a membrane's width, and what they add is no longer beside this cleft.
    `voxel_nm` is XYZ.
    """
    x_nm, y_nm, z_nm = voxel_nm
    near = np.zeros(cleft.shape, bool)
    for z in np.flatnonzero(cleft.any(axis=(1, 2))):
        square_nm2 = ndimage.distance_transform_edt(~cleft[z], sampling=(y_nm, x_nm)) ** 2
        near[z] |= square_nm2 <= dilation_nm**2
        for neighbour in (z - 1, z + 1):
            if 0 <= neighbour < len(cleft):
                near[neighbour] |= square_nm2 + z_nm**2 <= dilation_nm**2
    return near


def segments_near(
    segments: np.ndarray, cleft: np.ndarray, voxel_nm: tuple[float, float, float], dilation_nm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of a cleft: the segments that overlap it once it has grown (see `grown`).

    `segments [Z, Y, X]` are local numbers (0 = background, never a candidate), `cleft [Z, Y, X]` is bool, `voxel_nm`
    is XYZ. Returns the candidates' numbers, ascending, and the voxels each shares with the grown cleft; both are empty
    where nothing is near or the mask is empty. Raises ValueError where the two arrays differ in shape.
    """
    if segments.shape != cleft.shape:
        raise ValueError(f"segments {segments.shape} and cleft {cleft.shape} must have the same shape [Z, Y, X]")
    beside = segments[grown(cleft.astype(bool), voxel_nm, dilation_nm)]
    return np.unique(beside[beside != 0], return_counts=True)
