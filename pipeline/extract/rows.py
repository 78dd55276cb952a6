"""The rows of a sample store: which clefts, in which region and in what order, decided before any voxel is read."""

import logging

import numpy as np
import pandas as pd

from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.config import Partners
from pipeline.extract import plan
from pipeline.extract.volume import ExtractionError, Volume

log = logging.getLogger("pipeline")

REGIONS = ("train", "val", "test")


def planned(
    clefts: pd.DataFrame, em: Volume, settings: Partners, shape_zyx: tuple, n_background: int, seed: int
) -> pd.DataFrame:
    """The rows of a store in the order of their stored chunks, points outside of the EM last: what `clefts.cut` cuts.

    Raises ExtractionError for tables that cannot be used.
    """
    rows = _checked(clefts)
    if n_background:
        background = _background(em, settings, shape_zyx, n_background, seed)
        rows = pd.concat([rows, background], ignore_index=True)
    inside = em.inside(rows[CENTER_NM].to_numpy(float))
    if not inside.any():
        plan.check_inside(rows, em.identity["path"], em)
    if not inside.all():
        log.warning(
            "clefts: %d points are outside of the EM, which spans %s to %s nm (XYZ): synapses %s",
            (~inside).sum(),
            *em.bounds_nm.tolist(),
            rows["synapse_id"][~inside][: plan.LISTED].tolist(),
        )
    along = np.flatnonzero(inside)[plan.morton_order(rows[inside], em)]
    return rows.iloc[np.concatenate([along, np.flatnonzero(~inside)])].reset_index(drop=True)


def _checked(clefts: pd.DataFrame) -> pd.DataFrame:
    """The table's columns as the store has them; ExtractionError for ids that are not exact integers."""
    plan.check_table(clefts)
    rows = clefts[["synapse_id", *CENTER_NM]].reset_index(drop=True)
    for name in ("synapse_id", *PARTNER_SEGMENTS):
        column = clefts[name] if name in clefts else pd.Series(0, index=clefts.index)
        if not pd.api.types.is_integer_dtype(column):
            raise ExtractionError(
                f"{name} holds {column.dtype}, which is not exact above 2^53; read it as (nullable) 64-bit integers"
            )
        column = column.fillna(0)
        wrong = column < 0 if name in PARTNER_SEGMENTS else (column < 1) | (column > np.iinfo(np.int64).max)
        if wrong.any():
            raise ExtractionError(
                f"{name} {column[wrong].iloc[0]} (and {wrong.sum() - 1} more) is out of range: ids are positive "
                "64-bit integers (a partner's may be 0, unknown)"
            )
        rows[name] = column.to_numpy("uint64" if name in PARTNER_SEGMENTS else "int64")
    if "region" in clefts:
        rows["region"] = clefts["region"].to_numpy()
        if unknown := set(rows["region"]) - set(REGIONS):
            raise ExtractionError(f"region is train, val or test, not {sorted(map(str, unknown))}")
    return rows


def border_nm(bounds_nm: np.ndarray, val_fraction: float) -> float:
    """Where `train` ends and `val` begins on the X axis of a volume with these bounds ([2, XYZ] nm)."""
    low, high = bounds_nm[:, 0]
    return high - val_fraction * (high - low)


def region(first_nm: float, last_nm: float, border: float) -> str:
    """Where a sample belongs that reads the EM from `first_nm` to `last_nm` along X; `border` serves neither side."""
    return "val" if first_nm >= border else "train" if last_nm <= border else "border"


def _background(em: Volume, settings: Partners, shape_zyx: tuple, n: int, seed: int) -> pd.DataFrame:
    """Random places whose samples lie in `train`, beyond the volume's other faces if need be."""
    low, high = em.bounds_nm
    voxel_nm = max(settings.voxel_nm[0], em.frame.resolution_nm[0])
    reach_vx = shape_zyx[2] // 2 + 3  # the kernel reaches two voxels further
    high[0] = border_nm(em.bounds_nm, settings.val_fraction) - reach_vx * voxel_nm
    if high[0] <= low[0]:
        raise ExtractionError(f"the volume is too narrow for samples of {shape_zyx[2]} voxels in its training part")
    places = np.random.default_rng(seed).uniform(low, high, size=(n, 3))
    corners = em.frame.to_nm(em.frame.to_vx(places))
    unknown = {name: np.zeros(n, np.uint64) for name in PARTNER_SEGMENTS}
    return pd.DataFrame(corners, columns=CENTER_NM).assign(synapse_id=0, **unknown)
