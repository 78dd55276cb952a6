"""Two plain measures of a synapse: how dark its postsynaptic side is, and how textured its bouton.

They are floors: a classifier of real synapses is worth what it achieves beyond them. Both need the partners' segments.
"""

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.extract.boxes import distances_nm, voxels_around
from pipeline.extract.volume import FINEST, ExtractionError, Volume
from pipeline.space import zyx

POST_NM = 100.0  # radius of the ball in which the postsynaptic grey level is averaged
#: Radius of the ball in which the presynaptic texture is measured: a bouton is 400-1000 nm wide. Of several radii and
#: scales tried on kasthuri_ac3 this one came near the AUC known for it there, so that it is no independent choice.
PRE_NM = 300.0
VESICLE_NM = 40.0  # texture is what deviates from a mean over about a vesicle's diameter

_MARGIN_NM = 4 * VESICLE_NM  # where SciPy's Gaussian ends


def measure(synapses: pd.DataFrame, em_path: str, segmentation_path: str) -> pd.DataFrame:
    """DataFrame `synapse_id, grey_post, texture_pre` of every synapse, in the order of `synapses`.

    `synapses` has `synapse_id`, `center_{x,y,z}_nm` (in the synapse's voxel), `pre_segment_id` and `post_segment_id`
    (ids in the segmentation, which must lie on the same voxels as the EM). Balls are those of voxels whose centres are
    no further from the synapse's voxel's than the radius.

    `grey_post`: mean grey level (0 black) of the postsynaptic segment within 100 nm. `texture_pre`: mean over the
    presynaptic segment within 300 nm of the squared deviation of the grey level from its Gaussian mean in the section
    (standard deviation 40 nm). Missing where the segment has no voxel so near. Raises ExtractionError for volumes that
    do not match, synapses outside of them and chunks that cannot be read.
    """
    em, segmentation = Volume(em_path, FINEST), Volume(segmentation_path, FINEST, ("uint32", "uint64"))
    if em.frame != segmentation.frame or (em.bounds_vx != segmentation.bounds_vx).any():
        raise ExtractionError(
            f"{segmentation_path} has voxels of {segmentation.frame.resolution_nm} nm in {segmentation.bounds_vx} (XYZ)"
            f", but {em_path} of {em.frame.resolution_nm} nm in {em.bounds_vx}; they must lie on the same voxels"
        )
    resolution = np.array(em.frame.resolution_nm)
    reach_nm = np.ceil((PRE_NM + np.array([_MARGIN_NM, _MARGIN_NM, 0])) / resolution) * resolution
    rows = []
    columns = synapses[["synapse_id", *CENTER_NM, *PARTNER_SEGMENTS]]
    for synapse_id, *center_nm, pre, post in tqdm(
        columns.itertuples(index=False), desc="floors", total=len(columns), disable=None, leave=False
    ):
        center_vx = em.frame.to_vx(center_nm)
        if not em.inside(np.array(center_nm)):
            raise ExtractionError(f"synapse {synapse_id} at voxel {center_vx} (XYZ) is outside of {em_path}")
        low, high = voxels_around(em, em.frame.to_nm(center_vx + 0.5), reach_nm)
        grey, segment = em.read(low, high)[0].astype(np.float64), segmentation.read(low, high)[0]
        distance_nm = distances_nm(grey.shape, zyx(center_vx - low), em.frame.resolution_nm)
        sigma = VESICLE_NM / zyx(em.frame.resolution_nm)[1:]
        texture = (grey - ndimage.gaussian_filter(grey, (0, *sigma))) ** 2
        rows.append(
            {
                "synapse_id": synapse_id,
                "grey_post": _mean(grey[(segment == post) & (distance_nm <= POST_NM)]),
                "texture_pre": _mean(texture[(segment == pre) & (distance_nm <= PRE_NM)]),
            }
        )
    return pd.DataFrame(rows)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan
