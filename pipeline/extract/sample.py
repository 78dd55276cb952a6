"""One cleft's sample: the EM, the clefts and the segments around it, from up to three volumes of one space."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd

from pipeline.extract import contact
from pipeline.extract.boxes import Grid, nearest, resampled, voxels_around
from pipeline.extract.volume import ArrayVolume, Readable
from pipeline.space import zyx


@dataclasses.dataclass(frozen=True)
class Volumes:
    em: Readable
    segmentation: Readable
    clefts: Readable | None = None  # None: clefts are contact zones

    def __iter__(self) -> Iterator[Readable]:
        return (volume for volume in (self.em, self.segmentation, self.clefts) if volume is not None)

    @property
    def bounds_nm(self) -> np.ndarray:
        """[2, XYZ] of what all volumes cover."""
        ends = np.array([volume.bounds_nm for volume in self])
        return np.array([ends[:, 0].max(axis=0), ends[:, 1].min(axis=0)])

    def mismatch(self) -> str:
        """Why a label volume cannot be on the EM's grid, or "": its voxels, or where it lies."""
        low_nm, high_nm = self.em.bounds_nm
        for name, volume in (("segmentation", self.segmentation), ("clefts", self.clefts)):
            if volume is None:
                continue
            sizes = np.array([volume.frame.resolution_nm, self.em.frame.resolution_nm])
            ratio = sizes.max(axis=0) / sizes.min(axis=0)
            if np.abs(ratio - np.rint(ratio)).max() > 1e-3:
                return (
                    f"the {name} has voxels of {sizes[0].tolist()} nm, no multiple or fraction of the EM's "
                    f"{sizes[1].tolist()} nm (XYZ)"
                )
            low, high = volume.bounds_nm
            if (np.maximum(low_nm - low, high - high_nm) > sizes.max(axis=0)).any():
                return (
                    f"the {name} lies in {low.tolist()} to {high.tolist()} nm, which is not within the EM's "
                    f"{low_nm.tolist()} to {high_nm.tolist()} nm (XYZ)"
                )
        return ""


class NoSample(Exception):
    """A cleft without a sample; its text is the `fault` of its row (see `clefts.cut`)."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What is stored of one cleft; arrays are [Z, Y, X]."""

    em: np.ndarray
    cleft: np.ndarray  # 1 this cleft, 2 any other
    segments: np.ndarray  # ids as in the segmentation
    center_nm: np.ndarray  # XYZ, lower corner of the EM voxel in the middle
    read_nm: np.ndarray  # first and last X of the EM that was read
    padded: float
    at_edge: bool

    @property
    def numbered_segments(self) -> tuple[np.ndarray, list[int]]:
        """The segments by numbers of their own from 1 in the order of their ids, 0 where there is none; and the ids."""
        local, ids = pd.factorize(self.segments.ravel(), sort=True)  # np.unique, without its sort of all voxels
        return local.reshape(self.segments.shape) + (ids[0] != 0), ids[ids != 0].tolist()


def cut_sample(synapse_id: int, point_nm: np.ndarray, volumes: Volumes, shape_zyx: tuple, voxel_nm: tuple) -> Sample:
    """The Sample of a cleft around a point (XYZ nm), or of a place without one (`synapse_id` 0).

    Raises NoSample where there is none, and ExtractionError for chunks that cannot be read.
    """
    em, clefts = volumes.em, volumes.clefts
    at_edge = False
    center_vx = em.frame.to_vx(point_nm)
    if synapse_id:
        middle_nm = em.frame.to_nm(center_vx + 0.5)
        if clefts is None:
            clefts = _contact(synapse_id, middle_nm, volumes.segmentation)
        own = _own_voxels(synapse_id, middle_nm, clefts, np.array(voxel_nm) * zyx(shape_zyx) / 2)
        resolution = np.array(clefts.frame.resolution_nm)
        off_center = ((own - own.mean(axis=0)) * resolution) ** 2
        center_vx = em.frame.to_vx(clefts.frame.to_nm(own[off_center.sum(axis=1).argmin()] + 0.5))
        low_nm, high_nm = volumes.bounds_nm
        at_edge = bool(((own * resolution <= low_nm) | ((own + 1) * resolution >= high_nm)).any())
    grid = Grid(em.frame.to_nm(center_vx + 0.5), tuple(shape_zyx), tuple(voxel_nm))
    box = resampled(em, grid)
    cleft = np.zeros(shape_zyx, np.uint8)
    if clefts is not None:
        labels = nearest(clefts, grid)
        cleft = np.where(labels == np.uint64(synapse_id), 1, 2).astype(np.uint8) * (labels != 0)
    return Sample(
        em=box.pixels,
        cleft=cleft,
        segments=nearest(volumes.segmentation, grid),
        center_nm=em.frame.to_nm(center_vx),
        read_nm=em.frame.to_nm([box.low_vx, box.high_vx])[:, 0],
        padded=box.padded,
        at_edge=at_edge,
    )


def _own_voxels(synapse_id: int, point_nm: np.ndarray, clefts: Readable, half_nm: np.ndarray) -> np.ndarray:
    """[n, 3] XYZ voxels of a cleft in a box about a point."""
    low, high = voxels_around(clefts, point_nm, half_nm)
    if (low < high).all():
        labels, corner = clefts.read(low, high)
        own = np.argwhere(labels == np.uint64(synapse_id))
        if len(own):
            return zyx(own) + corner
    raise NoSample("empty_mask")


def _contact(synapse_id: int, point_nm: np.ndarray, segmentation: Readable) -> ArrayVolume:
    """The contact zone around a point, as a volume of this one cleft."""
    if not segmentation.inside(point_nm):
        raise NoSample("no_segment")
    labels, corner = segmentation.read(*voxels_around(segmentation, point_nm, np.full(3, contact.FIELD_NM)))
    here, voxel_nm = zyx(segmentation.frame.to_vx(point_nm) - corner), segmentation.frame.resolution_nm
    if not len(contact.nearest_segments(labels, here, voxel_nm)):
        raise NoSample("no_segment")
    zone = contact.contact_zone(labels, here, voxel_nm)
    if not zone.any():
        raise NoSample("one_segment")
    return ArrayVolume(zone * np.uint64(synapse_id), segmentation.frame, corner)
