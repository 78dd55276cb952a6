"""Where a predicted volume has clefts, and which of them are which true ones; `stitch` makes single clefts of it.

Volumes are `[Z, Y, X]`, voxel sizes XYZ nm. Clefts predicted and true are numbered from 1; true ones may have any
64-bit ids.
"""

import numpy as np
import pandas as pd
from scipy import ndimage

#: What a detection network was trained to output: the cleft's mask, the signed tanh distance transform (Heinrich et
#: al. 2018), the signed proximity (Parag et al. 2018).
REPRESENTATIONS = ("mask", "stdt", "proximity")

#: Settings among which the best is searched on validation: thresholds of `cleft_scores`, and the least volume of a
#: component; a true cleft has some 2e6 nm3, 200 voxels of 16x16x40 nm. A true cleft's STDT reaches no more than
#: tanh(16 nm / 50 nm) = 0.3 where it is two voxels of 16 nm thick.
THRESHOLDS = {
    "mask": (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5),
    "stdt": (-0.7, -0.6, -0.5, -0.42, -0.35, -0.25, -0.1),
    "proximity": (0.15, 0.2, 0.25, 0.3, 0.38, 0.45, 0.55),
}
MIN_SIZES_NM3 = (4e5, 8e5, 1.2e6, 1.6e6)

#: How near both sides of a cleft must be, where signed proximity is predicted: one section of 40 nm, so that clefts
#: that lie flat in the section are found. Parag's code (EMSynConn, `generate_proposals.py`) takes regions up to 50 nm
#: apart for a pair.
REACH_NM = 40.0

#: A predicted and a true cleft are the same where they share this part of the smaller one's voxels. A single
#: shared voxel would join neighbours that touch; clefts at 16x16x40 nm have some 200 voxels.
SHARED = 0.1


def cleft_scores(values: np.ndarray, representation: str, voxel_nm: tuple[float, float, float]) -> np.ndarray:
    """A predicted volume `[Z, Y, X]` as one that is high in clefts, whatever the representation.

    `mask` and `stdt` are highest in the cleft as they are. Signed proximity is positive on the presynaptic side,
    negative on the postsynaptic one, and zero in the cleft as well as far from any. Parag et al. (2018) take for a
    candidate a positive and a negative region, each above a threshold, that come near each other: the cleft is where
    both are within REACH_NM, and the score is the highest threshold at which they are. A side without the other is no
    cleft. No voxel farther than REACH_NM in the plane and one section counts, so that the volume may come in tiles.
    Raises ValueError for another representation.
    """
    if representation not in REPRESENTATIONS:
        raise ValueError(f"no representation {representation!r}; there are {REPRESENTATIONS}")
    if representation != "proximity":
        return values
    steps_nm = [
        np.arange(-reach, reach + 1) * size
        for reach, size in zip((1, *(int(REACH_NM // size) for size in voxel_nm[1::-1])), voxel_nm[::-1], strict=True)
    ]
    ball = np.linalg.norm(np.meshgrid(*steps_nm, indexing="ij"), axis=0) <= REACH_NM
    presynaptic, postsynaptic = (
        ndimage.maximum_filter(side, footprint=ball, mode="nearest") for side in (values, -values)
    )
    return np.minimum(presynaptic, postsynaptic)


def overlaps(predicted: np.ndarray, true: np.ndarray) -> pd.DataFrame:
    """Voxels shared by each pair of a predicted and a true cleft: `cleft_id, synapse_id, n_vx`.

    Both volumes hold unsigned integers, 0 = no cleft; their numbers are kept exact. Raises ValueError where the shapes
    differ.
    """
    if predicted.shape != true.shape:
        raise ValueError(f"predicted clefts {predicted.shape} and true ones {true.shape} lie on two grids")
    both = (predicted != 0) & (true != 0)
    pairs = pd.DataFrame({"cleft_id": predicted[both], "synapse_id": true[both]})
    return pairs.groupby(["cleft_id", "synapse_id"]).size().rename("n_vx").reset_index()


def matches(shared: pd.DataFrame, predicted_vx: dict[int, int], true_vx: dict[int, int]) -> pd.DataFrame:
    """The rows of `overlaps` that are matches: at least SHARED of the smaller cleft, largest overlap first.

    `predicted_vx` and `true_vx` are `{cleft_id: voxels}` and `{synapse_id: voxels}`; overlaps of clefts that are not
    among them (filtered by size, outside of the region) are left out. The column `partners` marks the matches that are
    one-to-one: going down the list, a pair is taken where neither cleft has been. The other rows belong to clefts
    predicted in several pieces, and to predictions that merge several true clefts.
    """
    matched = [
        (cleft, synapse, n_vx)
        for cleft, synapse, n_vx in shared[["cleft_id", "synapse_id", "n_vx"]].itertuples(index=False)
        if cleft in predicted_vx and synapse in true_vx and n_vx >= SHARED * min(predicted_vx[cleft], true_vx[synapse])
    ]
    matched.sort(key=lambda row: (-row[2], *row[:2]))
    clefts, synapses, rows = set(), set(), []
    for cleft, synapse, n_vx in matched:
        free = cleft not in clefts and synapse not in synapses
        rows.append((cleft, synapse, n_vx, free))
        if free:
            clefts.add(cleft)
            synapses.add(synapse)
    dtypes = {**shared.dtypes[["cleft_id", "synapse_id", "n_vx"]], "partners": bool}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)
