"""Which synapses are cut and in what order, decided from positions and the volume's bounds alone."""

import numpy as np
import pandas as pd

from pipeline.columns import CENTER_NM
from pipeline.config import Extract
from pipeline.extract.boxes import Grid, box_axes, padded_fraction
from pipeline.extract.volume import ExtractionError, Volume
from pipeline.space import ANNOTATION

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
        (x, y, z), (low, high) = volume.frame.resolution_nm, volume.bounds_vx.tolist()
        known = centers[np.isfinite(centers).all(axis=1)]
        ends = [known.min(axis=0), known.max(axis=0)] if len(known) else []
        span = " to ".join(f"{end.tolist()} nm (voxel {volume.frame.to_vx(end).tolist()})" for end in ends)
        raise ExtractionError(
            f"{outside.sum()} of {len(synapses)} synapses lie outside the volume {em_path}, "
            f"which spans {low_nm} to {high_nm} nm (XYZ), that is {low} to {high} in its voxels of "
            f"{x:g} x {y:g} x {z:g} nm:\n"
            + "\n".join(lines)
            + (f"\n  and {outside.sum() - LISTED} more\n" if outside.sum() > LISTED else "\n")
            + f"The positions given span {span or 'nothing'}. {_advice(known, volume)}"
        )


def _advice(centers_nm: np.ndarray, volume: Volume) -> str:
    """What is probably wrong with positions [N, XYZ], some of which lie outside: a reading by which all would fit."""
    frame = volume.frame
    written_vx = centers_nm / frame.resolution_nm  # as `synapses.csv` has them
    offset_vx = volume.bounds_vx[0]
    readings = {
        "if their numbers, read as voxels here, were nanometres (give voxels)": written_vx,
        f"if they were counted from the volume's first voxel (add its offset {offset_vx.tolist()})": (
            frame.to_nm(written_vx + offset_vx)
        ),
        "if X and Z were exchanged (the order is X, Y, Z)": frame.to_nm(written_vx[:, ::-1]),
        "if their numbers were voxels of 4 x 4 x 40 nm, as CAVE's tables hold them (convert these to voxels of the "
        "volume)": ANNOTATION.to_nm(written_vx),
    }
    fitting = [text for text, places_nm in readings.items() if len(places_nm) and volume.inside(places_nm).all()]
    if fitting:
        return f"They would all fit {', or '.join(fitting)}."
    return "They fit in no other units either: remove those outside, or name the volume that they belong to."


def grids(center_nm: np.ndarray, settings: Extract, volume: Volume) -> dict[str, Grid]:
    """The boxes of a synapse's `patch`, one section thick, and `cube`."""
    shapes = {"patch": (1, settings.patch_px, settings.patch_px), "cube": settings.cube_zyx}
    return {name: Grid.at(center_nm, shape, volume, settings.voxel_nm) for name, shape in shapes.items()}


def padded_fractions(synapses: pd.DataFrame, settings: Extract, volume: Volume) -> pd.DataFrame:
    """Fractions of each synapse's `patch_padded` and `cube_padded` that lie beyond the volume."""
    centers = synapses[CENTER_NM].to_numpy(float)
    boxes = (grids(center, settings, volume).items() for center in centers)
    rows = [{f"{name}_padded": padded_fraction(box_axes(volume, grid)) for name, grid in box} for box in boxes]
    return pd.DataFrame(rows, index=synapses.index)


def apply_edge_policy(
    synapses: pd.DataFrame, settings: Extract, volume: Volume
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """(synapses to cut, those left out with their padded fractions, or None where the policy is to reflect)."""
    if settings.edge == "reflect":
        return synapses, None
    padded = padded_fractions(synapses, settings, volume)
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
