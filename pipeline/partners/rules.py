"""Simple rules: how well partners are assigned without a network.

Each rule scores the ordered pairs of a cleft's candidates, in the order of `assign.ordered_pairs`, from the image and
the segmentation around the cleft alone; `assign.decide` then chooses as it does for networks.
"""

import numpy as np
from scipy import ndimage

from pipeline.partners.assign import ordered_pairs

Array = np.ndarray
Voxel = tuple[float, float, float]
Rng = np.random.Generator

#: The grey level of a side is averaged this far around the cleft: as far as a bouton, 400-1000 nm wide, reaches.
NEAR_NM = 300.0


def largest_overlap(
    em: Array, cleft: Array, segments: Array, numbers: Array, overlaps: Array, voxel_nm: Voxel, rng: Rng
) -> Array:
    """The two segments that share most of the grown cleft; the larger share is taken for the postsynaptic one.

    Which of them is called postsynaptic is a convention, about as often wrong as right: the overlap finds the pair and
    says little about its direction. The score is the mean of the two shares, the postsynaptic one with twice the
    weight; any larger weight picks the same pair.
    """
    pre, post = ordered_pairs(len(numbers))
    share = np.asarray(overlaps) / np.sum(overlaps)
    return (share[pre] + 2 * share[post]) / 3


def darker_is_pre(
    em: Array, cleft: Array, segments: Array, numbers: Array, overlaps: Array, voxel_nm: Voxel, rng: Rng
) -> Array:
    """The two segments nearest to the cleft; the darker one, full of vesicles, is taken for the presynaptic one."""
    pre, post = ordered_pairs(len(numbers))
    distance = ndimage.distance_transform_edt(~cleft, sampling=voxel_nm[::-1])
    grey = ndimage.mean(em, np.where(distance <= NEAR_NM, segments, 0), numbers)
    return _nearest_pair(cleft, segments, numbers, overlaps, voxel_nm, 0.5 + (grey[post] - grey[pre]) / (2 * 255))


def random_direction(
    em: Array, cleft: Array, segments: Array, numbers: Array, overlaps: Array, voxel_nm: Voxel, rng: Rng
) -> Array:
    """The two segments nearest to the cleft, in an order drawn from `rng` (a numpy Generator of the cleft's own)."""
    pre, post = ordered_pairs(len(numbers))
    place = rng.permutation(len(numbers))
    return _nearest_pair(cleft, segments, numbers, overlaps, voxel_nm, np.where(place[pre] < place[post], 1.0, 0.0))


#: By name in the table of assignments. All take `em`, `cleft` (bool) and `segments` `[Z, Y, X]`, the candidates'
#: `numbers [n]` and `overlaps [n]` (`candidates.segments_near`), `voxel_nm` (XYZ) and a Generator; they return `[P]`.
RULES = {rule.__name__: rule for rule in (largest_overlap, darker_is_pre, random_direction)}


def _nearest_pair(
    cleft: Array, segments: Array, numbers: Array, overlaps: Array, voxel_nm: Voxel, direction: Array
) -> Array:
    """Scores of which half says whether a pair is the nearest one, and half its `direction [P]`, in [0, 1].

    A segment is as near as its nearest voxel is to the cleft's centroid; of equally near ones that with the larger
    overlap goes first. Pairs that are not the nearest differ in their direction score alone.
    """
    pre, post = ordered_pairs(len(numbers))
    center = np.argwhere(cleft).mean(axis=0)
    offsets_nm = (np.indices(cleft.shape) - center[:, None, None, None]) * np.array(voxel_nm[::-1])[:, None, None, None]
    distance_nm = ndimage.minimum(np.linalg.norm(offsets_nm, axis=0), segments, numbers)
    nearest = np.lexsort((-np.asarray(overlaps, dtype=np.int64), distance_nm))[:2]
    return (np.isin(pre, nearest) & np.isin(post, nearest)) / 2 + direction / 2
