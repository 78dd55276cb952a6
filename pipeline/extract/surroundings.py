"""The tissue around a point, from several volumes of one space, for people to look at."""

import numpy as np

from pipeline.extract.clefts import labels_at
from pipeline.extract.volume import ExtractionError
from pipeline.space import zyx


def around(em, labels, center_nm, size_nm):
    """Boxes `[Z, Y, X]` of `em` and of all `labels`, on its grid, about `center_nm` (XYZ); and the centre's ZYX index.

    `em` is a `volume.Volume`, `labels` are volumes as of `volume.open_labels`, each of whose voxels is the one that
    holds the EM voxel's centre (0 beyond). The box has `size_nm` (XYZ), less what lies beyond the EM: nothing is made
    up. Raises ExtractionError where the centre does.
    """
    center_vx = em.frame.to_vx(center_nm)
    half_vx = np.maximum(1, np.round(np.array(size_nm) / em.frame.resolution_nm / 2).astype(int))
    low_vx = np.maximum(center_vx - half_vx, em.bounds_vx[0])
    high_vx = np.minimum(center_vx + half_vx + 1, em.bounds_vx[1])
    if (center_vx < low_vx).any() or (center_vx >= high_vx).any():
        raise ExtractionError(f"the point {np.asarray(center_nm).tolist()} nm lies outside of the volume")
    places_nm = [em.frame.centers_nm(np.arange(low_vx[axis], high_vx[axis]), axis) for axis in (2, 1, 0)]
    boxes = [em.read(low_vx, high_vx)[0], *(labels_at(places_nm, volume) for volume in labels)]
    return boxes, zyx(center_vx - low_vx)
