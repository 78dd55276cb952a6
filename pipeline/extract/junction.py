"""How grey levels run across a junction, from inside the bouton to inside the postsynaptic cell."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import ndimage
from tqdm import tqdm

from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.extract.boxes import Grid, distances_nm, nearest, resampled
from pipeline.extract.volume import Volume, open_labels
from pipeline.space import EM

SIDE_PX = 80  # of the section around a synapse whose grey levels are the scale
NEAR_NM = 140.0  # pixels so near to the synapse count, about the radius of an active zone
REACH_NM = 152.0
APART_NM = 100.0  # partners further apart do not touch
STEP_NM = 8.0  # pixel, and width of the bins of distance
LEAST_PIXELS = 4  # of a bin, and of the partners' common edge, for a synapse to count


def profiles(synapses: pd.DataFrame, em_path: str, segmentation_path: str) -> pd.DataFrame:
    """Mean profile of each class: `label, distance_nm, grey, n_synapses`, at 8 nm pixels in the synapse's section.

    `synapses` has `center_{x,y,z}_nm`, `pre_segment_id`, `post_segment_id` and `label`. `distance_nm` is that from the
    middle between the partners, negative in the bouton. `grey` is relative to the patch of 80 x 80 pixels about the
    synapse: the deviation from its median, over the distance between its 1st and 99th percentiles, so that volumes
    whose grey levels were stretched can be compared. Synapses outside of the volume, and those whose partners do not
    touch in the section, are left out.
    """
    em, segments = Volume(em_path, EM.resolution_nm), open_labels(segmentation_path, EM.resolution_nm)
    synapses = synapses[em.inside(synapses[CENTER_NM].to_numpy(float))].sort_values(CENTER_NM[::-1])  # as stored
    columns = synapses[[*CENTER_NM, *PARTNER_SEGMENTS, "label"]]
    rows = []
    for *center_nm, pre, post, label in tqdm(
        columns.itertuples(index=False), desc="junctions", total=len(columns), disable=None, leave=False
    ):
        grid = Grid.at(np.array(center_nm, float), (1, SIDE_PX, SIDE_PX), em, EM.resolution_nm)
        image, labels = resampled(em, grid).pixels[0].astype(float), nearest(segments, grid)[0]
        low, median, high = np.percentile(image, [1, 50, 99])
        if high > low:
            relative = (image - median) / (high - low)
            rows += [(label, distance, grey) for distance, grey in _profile(relative, labels == pre, labels == post)]
    table = pd.DataFrame(rows, columns=["label", "distance_nm", "grey"])
    return table.groupby(["label", "distance_nm"], as_index=False).agg(
        grey=("grey", "mean"), n_synapses=("grey", "size")
    )


def _profile(image: np.ndarray, pre: np.ndarray, post: np.ndarray) -> Iterator[tuple[float, float]]:
    """(distance nm, mean grey) of the bins that have pixels enough; masks `[Y, X]` of both partners."""
    if not (pre.any() and post.any()):
        return
    to_pre, to_post = (ndimage.distance_transform_edt(~mask, sampling=STEP_NM) for mask in (pre, post))
    near = distances_nm(image.shape, np.array(image.shape) // 2, (STEP_NM, STEP_NM)) < NEAR_NM
    edge = to_pre[post & ~ndimage.binary_erosion(post) & near & (to_pre < APART_NM)]
    if len(edge) < LEAST_PIXELS:
        return
    half = np.median(edge) / 2  # of the way between them: segments may leave the membranes unlabelled
    distance = np.select([pre, post], [half - to_post, to_pre - half], (to_pre - to_post) / 2)
    bins = np.floor(distance / STEP_NM)
    for first in np.arange(-REACH_NM, REACH_NM, STEP_NM) / STEP_NM:
        within = near & (bins == first)
        if within.sum() >= LEAST_PIXELS:
            yield (first + 0.5) * STEP_NM, float(image[within].mean())
