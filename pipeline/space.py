"""The only place where nanometres and voxels meet, and where XYZ positions become ZYX array indices.

A position is a float or integer array `[..., 3]` in XYZ order. MICrONS annotates in voxels of 4x4x40 nm while its
images at MIP 0 have voxels of 8x8x40 nm; the prior work took one for the other, and both for nanometres. Every
conversion therefore names its `VoxelFrame`.
"""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike


@dataclasses.dataclass(frozen=True)
class VoxelFrame:
    """A grid of voxels: voxel `i` of an axis covers `[i, i + 1) * resolution_nm` nanometres."""

    resolution_nm: tuple[float, float, float]  # XYZ

    def __post_init__(self) -> None:
        if len(self.resolution_nm) != 3 or not all(r > 0 for r in self.resolution_nm):
            raise ValueError(f"a voxel frame needs three positive sizes in nm (XYZ), not {self.resolution_nm}")

    def to_nm(self, position_vx: ArrayLike) -> np.ndarray:
        """Nanometres (XYZ) of the lower corner of voxels (XYZ), which is how CAVE writes annotation points."""
        return np.asarray(position_vx, dtype=np.float64) * self.resolution_nm

    def to_vx(self, position_nm: ArrayLike) -> np.ndarray:
        """Integer voxels (XYZ) that hold the positions (XYZ, nm).

        A position within a millionth of a voxel below a border counts as on it, so that a voxel's own corner
        survives the round trip through floating-point nanometres.
        """
        return np.floor(np.asarray(position_nm, dtype=np.float64) / self.resolution_nm + 1e-6).astype(np.int64)

    def centers_nm(self, index_vx: ArrayLike, axis: int) -> np.ndarray:
        """Nanometres of the centres of voxels `index_vx` (any shape) along an axis, 0 = X, 1 = Y, 2 = Z."""
        return (np.asarray(index_vx, dtype=np.float64) + 0.5) * self.resolution_nm[axis]


#: Annotation points of MICrONS minnie65 (`voxel_resolution` of its tables).
ANNOTATION = VoxelFrame((4.0, 4.0, 40.0))

#: MIP 0 of the minnie65 images, and the voxels every model of this project expects.
EM = VoxelFrame((8.0, 8.0, 40.0))


def zyx(xyz: ArrayLike) -> np.ndarray:
    """Reverse the last axis: XYZ positions or sizes to ZYX array order, and back."""
    return np.asarray(xyz)[..., ::-1]
