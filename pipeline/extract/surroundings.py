"""The tissue around a point, from several volumes of one space, for people to look at."""

from collections.abc import Sequence

import numpy as np

from pipeline.extract.boxes import Grid, nearest, voxels_around
from pipeline.extract.volume import ExtractionError, Readable
from pipeline.space import zyx


def around(
    em: Readable, labels: Sequence[Readable], center_nm: Sequence[float], size_nm: Sequence[float]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Boxes `[Z, Y, X]` of `em` and of all `labels`, on its grid, about `center_nm` (XYZ); and the centre's ZYX index.

    The box has `size_nm` (XYZ), less what lies beyond the EM; labels are 0 beyond their own volume. Raises
    ExtractionError where the centre is not in the EM.
    """
    if not em.inside(np.array(center_nm)):
        raise ExtractionError(f"the point {list(center_nm)} nm lies outside of the volume")
    center_vx, resolution = em.frame.to_vx(center_nm), np.array(em.frame.resolution_nm)
    half_vx = np.maximum(1, np.round(np.array(size_nm) / resolution / 2))
    low, high = voxels_around(em, em.frame.to_nm(center_vx + 0.5), half_vx * resolution)
    grid = Grid.of_voxels(low, high, em.frame)
    return [em.read(low, high)[0], *(nearest(volume, grid) for volume in labels)], zyx(center_vx - low)
