"""The tissue around a point, from several volumes of one space, for people to look at."""

import numpy as np

from pipeline.extract.volume import ExtractionError
from pipeline.space import zyx


def around(volumes, center_nm, size_nm):
    """Boxes `[Z, Y, X]` of all `volumes` about `center_nm` (XYZ), on the grid of the first, and the centre's ZYX index.

    The box has `size_nm` (XYZ), less what lies beyond the first volume's bounds: nothing is made up. Of the others each
    voxel is the one that holds the centre of the first volume's voxel. Raises ExtractionError where the centre lies
    outside the first volume, or where another one does not cover the box.
    """
    first = volumes[0]
    center_vx = first.frame.to_vx(center_nm)
    half_vx = np.maximum(1, np.round(np.array(size_nm) / first.frame.resolution_nm / 2).astype(int))
    low_vx = np.maximum(center_vx - half_vx, first.bounds_vx[0])
    high_vx = np.minimum(center_vx + half_vx + 1, first.bounds_vx[1])
    if (center_vx < low_vx).any() or (center_vx >= high_vx).any():
        raise ExtractionError(f"the point {np.asarray(center_nm).tolist()} nm lies outside of the volume")
    boxes = [first.read(low_vx, high_vx)[0]]
    for other in volumes[1:]:
        index = [  # ZYX
            np.floor(first.frame.centers_nm(np.arange(low_vx[axis], high_vx[axis]), axis) / size_nm).astype(np.int64)
            for axis, size_nm in reversed(list(enumerate(other.frame.resolution_nm)))
        ]
        start, stop = zyx([axis[0] for axis in index]), zyx([axis[-1] + 1 for axis in index])
        if (start < other.bounds_vx[0]).any() or (stop > other.bounds_vx[1]).any():
            raise ExtractionError(
                f"the volumes do not all cover the surroundings of {np.asarray(center_nm).tolist()} nm"
            )
        box, corner = other.read(start, stop)
        boxes.append(box[np.ix_(*(axis - edge for axis, edge in zip(index, zyx(corner), strict=True)))])
    return boxes, zyx(center_vx - low_vx)
