"""One synapse's 2D patch and 3D cube, with the record of their quality."""

import dataclasses
import hashlib

import numpy as np

from pipeline.extract.sampling import box_axis
from pipeline.extract.volume import ExtractionError
from pipeline.space import VoxelFrame, zyx


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A box of uint8 voxels around a synapse. `low_vx, high_vx` is the source box that was read (XYZ voxels)."""

    pixels: np.ndarray  # [Z, Y, X]
    padded: float  # fraction of voxels beyond the volume, filled by reflection
    blank_sections: np.ndarray  # [n] bool, for the source sections from low_vx[2] on: one single grey value
    center_nm: np.ndarray  # XYZ position of the voxel at index size // 2, found from what was read
    low_vx: np.ndarray
    high_vx: np.ndarray


def plan_box(center_nm, shape_zyx, volume, voxel_nm):
    """The three `sampling.Axis` (Z, Y, X) of a box of `shape_zyx` model voxels centred on a position (XYZ nm)."""
    target = VoxelFrame(tuple(voxel_nm))
    center_vx = volume.frame.to_vx(center_nm)
    return [
        box_axis(center_vx[axis], size, axis, volume.frame, target, volume.bounds_vx[:, axis])
        for axis, size in zip((2, 1, 0), shape_zyx, strict=True)
    ]


def padded_fraction(axes):
    """Fraction of a box's voxels whose centre lies outside the volume."""
    return float(1 - np.prod([1 - axis.padded for axis in axes]))


def cut(center_nm, shape_zyx, volume, voxel_nm):
    """Read and resample one box; ExtractionError names the chunks that cannot be read."""
    axes = plan_box(center_nm, shape_zyx, volume, voxel_nm)
    low = zyx([axis.take.min() for axis in axes])
    high = zyx([axis.take.max() + 1 for axis in axes])
    stored, corner = volume.read(low, high)
    start = zyx(corner)  # where the array really begins, by cloud-volume's own account
    gather = [axis.take - first for axis, first in zip(axes, start, strict=True)]
    pixels, center = stored, []
    for position, (axis, index) in enumerate(zip(axes, gather, strict=True)):
        if np.any(np.diff(index) != 1):  # reflected at the volume's edge
            pixels = pixels.take(index, axis=position)
        pixels = axis.apply(pixels, position)
        place = axis.apply(volume.frame.centers_nm(index + start[position], axis=2 - position))
        center.append(place[shape_zyx[position] // 2])
    if pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    sections = stored.reshape(len(stored), -1)
    blank = sections.min(axis=1) == sections.max(axis=1)
    return Cutout(np.ascontiguousarray(pixels), padded_fraction(axes), blank, zyx(center), low, high)


def cut_synapse(center_nm, settings, volume):
    """The patch [Y, X] and the cube [Z, Y, X] of one synapse, and their quality as a dict.

    Raises ExtractionError for a chunk that cannot be read, for a blank patch (one grey value, or so the section that
    holds the synapse) and for a voxel at the centre index that is more than one voxel from the synapse.
    """
    flat = cut(center_nm, (1, settings.patch_px, settings.patch_px), volume, settings.voxel_nm)
    cube = cut(center_nm, settings.cube_zyx, volume, settings.voxel_nm)
    section = volume.frame.to_vx(center_nm)[2]
    for name, box in (("patch", flat), ("cube", cube)):
        if box.pixels.min() == box.pixels.max():
            raise ExtractionError(f"blank {name}: every voxel is {box.pixels.flat[0]}")
        if box.blank_sections[section - box.low_vx[2]]:
            raise ExtractionError(
                f"blank {name}: section z = {section} of the volume, which holds the synapse, is empty"
            )
    offset = np.abs(np.stack([flat.center_nm, cube.center_nm]) - center_nm) / settings.voxel_nm
    if offset.max() > 1:
        raise ExtractionError(f"the centre of the patch or cube is {offset.max():.2f} voxels away from the synapse")
    chunks = {tuple(low) for box in (flat, cube) for low, _ in volume.chunks(box.low_vx, box.high_vx)}
    quality = {
        "center_offset_vx": float(offset.max()),
        "patch_padded": flat.padded,
        "cube_padded": cube.padded,
        "cube_blank_sections": int(cube.blank_sections.sum()),
        "n_chunks": len(chunks),
        **statistics("patch", flat.pixels),
        **statistics("cube", cube.pixels),
    }
    return flat.pixels[0], cube.pixels, quality


def statistics(name, pixels):
    """Mean, standard deviation and digest of uint8 pixels, as `<name>_mean`, `<name>_std` and `<name>_sha256`."""
    return {
        f"{name}_mean": float(pixels.mean()),
        f"{name}_std": float(pixels.std(dtype=np.float32)),
        f"{name}_sha256": hashlib.sha256(pixels).hexdigest(),
    }
