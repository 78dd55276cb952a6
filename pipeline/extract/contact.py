"""Where two segments meet beside a point: the cleft's stand-in where nobody has segmented clefts."""

import numpy as np
from scipy import ndimage

from pipeline.extract.boxes import distances_nm
from pipeline.space import zyx

#: Partners are sought this near to the point: an annotator may click the bouton's side of a cleft or the density's
#: (of kasthuri_ac3's points the farther partner is at most 120 nm away).
NEAR_NM = 150.0
#: The zone is what lies this near to both partners: a cleft is up to 30 nm wide (Peters et al. 1991) between membranes
#: of some 8 nm, which a segmentation may leave unlabelled.
REACH_NM = 32.0
#: Partners that are nowhere this near to one voxel, nor neighbouring voxels, do not touch.
APART_NM = 60.0
#: Radius of a disc of 0.15 um2, the mean postsynaptic density of spines in mouse visual cortex (Harris & Weinberg 2012,
#: Cold Spring Harb Perspect Biol 4:a005587, table 1).
RADIUS_NM = 220.0

#: How far around the point a contact zone depends on the segments.
FIELD_NM = NEAR_NM + RADIUS_NM + APART_NM


def nearest_segments(segments: np.ndarray, point_zyx: np.ndarray, voxel_nm: tuple) -> np.ndarray:
    """Ids of the one or two segments nearest a voxel, the nearest first; none where all are beyond `NEAR_NM`.

    `segments` [Z, Y, X] holds integer ids, 0 for none; `voxel_nm` is in XYZ order. Of segments equally near, the one
    with the smaller id comes first.
    """
    distance, box = _ball(segments.shape, point_zyx, voxel_nm, NEAR_NM)
    labels = segments[box]
    near = (distance <= NEAR_NM) & (labels != 0)
    order = np.lexsort((labels[near], distance[near]))
    ids, first = np.unique(labels[near][order], return_index=True)
    return ids[np.argsort(first)][:2]


def contact_zone(segments: np.ndarray, point_zyx: np.ndarray, voxel_nm: tuple) -> np.ndarray:
    """The thin zone, [Z, Y, X] bool, between the two segments nearest a voxel; empty where there are no such two.

    `segments` [Z, Y, X] holds integer ids, 0 for none (background, or membranes left unlabelled); `voxel_nm` is in XYZ
    order. The zone's voxels are no farther than `REACH_NM` from both segments (or, of voxels too coarse for that, those
    nearest to both), lie within `RADIUS_NM` of the zone's voxel that is nearest the point, and are connected to it.
    """
    zone = np.zeros(segments.shape, bool)
    pair = nearest_segments(segments, point_zyx, voxel_nm)
    if len(pair) < 2:
        return zone
    from_point, box = _ball(segments.shape, point_zyx, voxel_nm, FIELD_NM)
    labels, spacing = segments[box], zyx(voxel_nm)
    apart = np.maximum(*(ndimage.distance_transform_edt(labels != one, sampling=spacing) for one in pair))
    closest = apart[from_point <= NEAR_NM].min()
    if closest > max(APART_NM, *voxel_nm):
        return zone
    between = apart <= max(REACH_NM, closest)
    middle = np.unravel_index(np.where(between, from_point, np.inf).argmin(), labels.shape)
    near_middle, inner = _ball(labels.shape, np.array(middle), voxel_nm, RADIUS_NM)
    patch = np.zeros_like(between)
    patch[inner] = between[inner] & (near_middle <= RADIUS_NM)
    pieces, _ = ndimage.label(patch, np.ones((3, 3, 3)))
    zone[box] = pieces == pieces[middle]
    return zone


def _ball(
    shape: tuple, center_zyx: np.ndarray, voxel_nm: tuple, radius_nm: float
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """(distances in nm from a voxel, slices) of the part of an array of `shape` within `radius_nm` on each axis."""
    reach = np.ceil(radius_nm / zyx(voxel_nm)).astype(int)
    low, high = np.maximum(np.subtract(center_zyx, reach), 0), np.minimum(np.add(center_zyx, reach) + 1, shape)
    return distances_nm(high - low, center_zyx - low, voxel_nm), tuple(map(slice, low, high))
