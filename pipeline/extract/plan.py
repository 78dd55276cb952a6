"""Which synapses are cut and in what order, decided from positions and the volume's bounds alone."""

import numpy as np
import pandas as pd

from pipeline.columns import CENTER_NM
from pipeline.config import Extract
from pipeline.extract.boxes import Grid, box_axes, padded_fraction
from pipeline.extract.volume import ExtractionError, Volume

LISTED = 20  # synapses named line by line in an error text


def check_table(synapses: pd.DataFrame) -> None:
    """Refuse a table without the columns, without rows, or with repeated ids."""
    missing = [column for column in ("synapse_id", *CENTER_NM) if column not in synapses]
    if missing:
        raise ExtractionError(f"the synapse table lacks the column(s) {missing}; it has {list(synapses.columns)}")
    if synapses.empty:
        raise ExtractionError("no synapses to extract: the synapse table is empty")
    repeated = synapses["synapse_id"][synapses["synapse_id"].duplicated()].unique()
    if len(repeated):
        raise ExtractionError(f"synapse ids must be unique; repeated: {repeated[:LISTED].tolist()}")


def check_inside(synapses: pd.DataFrame, em_path: str, volume: Volume) -> None:
    """Refuse centres outside the volume: naming the synapses, where they are, where the volume is, and the units."""
    centers = synapses[CENTER_NM].to_numpy(float)
    outside = ~volume.inside(centers)
    if outside.any():
        low_nm, high_nm = volume.bounds_nm.tolist()
        found = zip(synapses["synapse_id"][outside], centers[outside].tolist(), strict=True)
        lines = [f"  synapse {synapse_id}: center {center} nm" for synapse_id, center in list(found)[:LISTED]]
        raise ExtractionError(
            f"{outside.sum()} of {len(synapses)} synapses lie outside the volume {em_path}, "
            f"which spans {low_nm} to {high_nm} nm (XYZ):\n"
            + "\n".join(lines)
            + (f"\n  and {outside.sum() - LISTED} more\n" if outside.sum() > LISTED else "\n")
            + "Wrong units? Positions must be nanometres; CAVE tables hold voxels of 4x4x40 nm (see "
            f"pipeline.space.ANNOTATION), and the volume's own voxels are {volume.frame.resolution_nm} nm."
        )


def grids(center_nm: np.ndarray, settings: Extract, volume: Volume) -> dict[str, Grid]:
    """The boxes of a synapse's `patch`, one section thick, and `cube`."""
    shapes = {"patch": (1, settings.patch_px, settings.patch_px), "cube": settings.cube_zyx}
    return {name: Grid.at(center_nm, shape, volume, settings.voxel_nm) for name, shape in shapes.items()}


def apply_edge_policy(
    synapses: pd.DataFrame, settings: Extract, volume: Volume
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """(synapses to cut, those left out with their padded fractions, or None where the policy is to reflect)."""
    if settings.edge == "reflect":
        return synapses, None
    padded = pd.DataFrame(
        [
            {
                f"{name}_padded": padded_fraction(box_axes(volume, grid))
                for name, grid in grids(center, settings, volume).items()
            }
            for center in synapses[CENTER_NM].to_numpy(float)
        ],
        index=synapses.index,
    )
    beyond = (padded > 0).any(axis=1)
    if beyond.all():
        raise ExtractionError(
            f"edge: drop leaves no synapse: all {len(synapses)} patches or cubes reach beyond the volume; "
            "use smaller ones, or edge: reflect"
        )
    return synapses[~beyond], synapses[beyond].join(padded)


def morton_order(synapses: pd.DataFrame, volume: Volume) -> np.ndarray:
    """Row order along a Morton (Z-order) curve of the stored chunks that hold the centres."""
    center_vx = volume.frame.to_vx(synapses[CENTER_NM].to_numpy(float))
    chunk = ((center_vx - volume.bounds_vx[0]) // volume.chunk_vx).astype(np.uint64)
    code = np.zeros(len(chunk), np.uint64)
    for bit in range(21):
        for axis in range(3):
            code |= ((chunk[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.lexsort((synapses["synapse_id"], center_vx[:, 2], code))
