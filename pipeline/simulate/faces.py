"""The face between two given cells, whatever else lies near."""

import numpy as np

from pipeline.simulate import field
from pipeline.simulate.kernels import Number, inlined, kernel


@inlined
def list_pair(field_: field.Field, cube: int, first: Number, second: Number, listed: np.ndarray) -> int:
    """Write the capsules of two cells that a cube lists into `listed`; returns how many there are."""
    count = 0
    for i in range(field_.start[cube], field_.start[cube + 1]):
        cell = field_.owner[field_.items[i]]
        if cell in (first, second):
            listed[count] = field_.items[i]
            count += 1
    return count


@kernel
def distance(
    field_: field.Field, listed: np.ndarray, own: Number, other: Number, x: Number, y: Number, z: Number
) -> tuple[Number, Number]:
    """Distance (nm) from a point in cell `own` to its face with cell `other`, and the z of the face's normal.

    `listed` are the capsules of both near the point (`list_pair`).
    """
    s_own, s_other = np.float32(1e9), np.float32(1e9)
    k_own = k_other = np.int32(-1)
    for k in listed:
        s = field.distance(field_.capsules, k, x, y, z)
        if field_.owner[k] == own:
            if s < s_own:
                s_own, k_own = s, k
        elif s < s_other:
            s_other, k_other = s, k
    if k_own < 0 or k_other < 0:
        return np.float32(field.FAR_NM), np.float32(0)
    return field.between(field_, k_own, k_other, s_own, s_other, x, y, z)
