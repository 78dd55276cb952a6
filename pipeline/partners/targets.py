"""Targets of the networks: masks, distances and proximities, from labels around a cleft.

Volumes are `[Z, Y, X]` numpy arrays, `voxel_nm` is XYZ, distances are nanometres between centres of voxels.
"""

import numpy as np
from scipy import ndimage

STDT_NM = 50.0  # scale of the signed tanh distance transform (Heinrich et al. 2018)
PROXIMITY_NM = 50.0  # sigma of the signed proximity (Parag et al. 2018, as Turner et al. 2019 compute it)
REACH_NM = 3 * PROXIMITY_NM  # beyond which it is below 0.012


def distance_nm(mask: np.ndarray, voxel_nm: tuple[float, float, float]) -> np.ndarray:
    """Distance of each voxel to the nearest one of `mask` (bool); infinite where the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(~mask, sampling=voxel_nm[::-1])


def stdt(cleft: np.ndarray, voxel_nm: tuple[float, float, float]) -> np.ndarray:
    """Signed tanh distance transform in (-1, 1): tanh(d / STDT_NM), d to the other side of the cleft's border.

    Positive inside the cleft (bool).
    """
    signed = np.where(cleft, distance_nm(~cleft, voxel_nm), -distance_nm(cleft, voxel_nm))
    return np.tanh(signed / STDT_NM)


def nearness(cleft: np.ndarray, voxel_nm: tuple[float, float, float]) -> np.ndarray:
    """exp(-d^2 / (2 sigma^2)) of the distance to the cleft (bool), and 0 in the cleft, which is on neither side."""
    return np.where(cleft, 0.0, np.exp(-((distance_nm(cleft, voxel_nm) / PROXIMITY_NM) ** 2) / 2))


def signed_proximity(near: np.ndarray, pre: np.ndarray, post: np.ndarray) -> np.ndarray:
    """`near` (see `nearness`) where `pre` (bool), minus `near` where `post`, 0 elsewhere: in [-1, 1].

    The published form multiplies by a sigmoid of 5 times the signed distance, which is the sign from the first
    nanometre on.
    """
    return near * (pre.astype(np.float64) - post)


def detection(
    representation: str,
    cleft: np.ndarray,
    segments: np.ndarray,
    pre: int,
    post: int,
    voxel_nm: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """(target, known) for all clefts in a sample: float64 in [-1, 1] or {0, 1}, and bool where it is known.

    `cleft` and `segments` are the sample's, `pre` and `post` local numbers (0: none). Unlabelled voxels, which may lie
    beyond the volume, count only inside a cleft. The sides of other clefts than the sample's own are not stored:
    signed proximity is unknown in REACH_NM of them, where the own cleft is not nearer.
    """
    known = (segments > 0) | (cleft > 0)
    if representation == "mask":
        return (cleft > 0).astype(np.float64), known
    if representation == "stdt":
        return stdt(cleft > 0, voxel_nm), known
    own, other = distance_nm(cleft == 1, voxel_nm), distance_nm(cleft == 2, voxel_nm)
    sides = [(segments == number) if number else np.zeros(cleft.shape, bool) for number in (pre, post)]
    return signed_proximity(nearness(cleft == 1, voxel_nm), *sides), known & ((other > REACH_NM) | (own < other))
