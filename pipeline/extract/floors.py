"""What two plain numbers say about a synapse: how dark its postsynaptic side is, and how textured its bouton.

A classifier of real synapses is worth what it has beyond these. Both need to know which segments the two partners are.
"""

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from pipeline.extract.plan import CENTER
from pipeline.extract.volume import ExtractionError, Volume
from pipeline.space import zyx

POST_NM = 100.0  # radius of the ball in which the postsynaptic grey level is averaged
#: Radius of the ball in which the presynaptic texture is measured: a bouton is 400-1000 nm wide. Of several radii and
#: scales tried on kasthuri_ac3 this one came near the AUC known for it there, so that it is no independent choice.
PRE_NM = 300.0
VESICLE_NM = 40.0  # texture is what deviates from a mean over about a vesicle's diameter

SEGMENTS = ["pre_segment_id", "post_segment_id"]

_MARGIN_NM = 4 * VESICLE_NM  # where SciPy's Gaussian ends


def measure(synapses, em_path, segmentation_path):
    """DataFrame `synapse_id, grey_post, texture_pre` of every synapse, in the order of `synapses`.

    `synapses` has `synapse_id`, `center_{x,y,z}_nm` (in the synapse's voxel), `pre_segment_id` and `post_segment_id`
    (ids in the segmentation, which must lie on the same voxels as the EM). Balls are those of voxels whose centres are
    no further from the synapse's voxel's than the radius.

    `grey_post`: mean grey level (0 black) of the postsynaptic segment within 100 nm. `texture_pre`: mean over the
    presynaptic segment within 300 nm of the squared deviation of the grey level from its Gaussian mean in the section
    (standard deviation 40 nm). Missing where the segment has no voxel so near. Raises ExtractionError for volumes that
    do not match, synapses outside of them and chunks that cannot be read.
    """
    finest = (0.0, 0.0, 0.0)
    em, segmentation = Volume(em_path, finest), Volume(segmentation_path, finest, ("uint32", "uint64"))
    if em.frame != segmentation.frame or (em.bounds_vx != segmentation.bounds_vx).any():
        raise ExtractionError(
            f"{segmentation_path} has voxels of {segmentation.frame.resolution_nm} nm in {segmentation.bounds_vx} (XYZ)"
            f", but {em_path} of {em.frame.resolution_nm} nm in {em.bounds_vx}; they must lie on the same voxels"
        )
    rows = []
    columns = synapses[["synapse_id", *CENTER, *SEGMENTS]]
    for synapse_id, *center_nm, pre, post in tqdm(
        columns.itertuples(index=False), desc="floors", total=len(columns), disable=None, leave=False
    ):
        center_vx = em.frame.to_vx(center_nm)
        if not ((em.bounds_vx[0] <= center_vx) & (center_vx < em.bounds_vx[1])).all():
            raise ExtractionError(f"synapse {synapse_id} at voxel {center_vx} (XYZ) is outside of {em_path}")
        grey, segment, distance_nm = _ball(center_vx, em, segmentation)
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


def _ball(center_vx, em, segmentation):
    """Around a voxel: grey levels, segments and distances (nm), `[Z, Y, X]`, with a margin for the Gaussian."""
    resolution = np.array(em.frame.resolution_nm)
    reach = np.ceil((PRE_NM + np.array([_MARGIN_NM, _MARGIN_NM, 0])) / resolution).astype(np.int64)
    low = np.maximum(center_vx - reach, em.bounds_vx[0])
    high = np.minimum(center_vx + reach + 1, em.bounds_vx[1])
    (grey, corner), (segment, _) = em.read(low, high), segmentation.read(low, high)
    offset = np.indices(grey.shape) + zyx(corner - center_vx)[:, None, None, None]
    distance = np.linalg.norm(offset * zyx(resolution)[:, None, None, None], axis=0)
    return np.array(grey, dtype=np.float64), np.array(segment), distance  # without cloud-volume's own array class


def _mean(values):
    return float(values.mean()) if values.size else np.nan
