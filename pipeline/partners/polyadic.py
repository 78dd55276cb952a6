"""Synapses with several postsynaptic partners: a simulated variant of one-to-one synapses, and their assignment.

Real one-to-one synapses dominate in cortex; in the fly most synapses are polyadic. The simulated tissue has none, so
that a postsynaptic profile is divided here into several, each of which faces the cleft.
"""

import cc3d
import numpy as np
import pandas as pd
from scipy import ndimage

from pipeline.partners.assign import avan_scores, ordered_pairs
from pipeline.partners.candidates import grown

Array = np.ndarray

POSTS = (2, 4)  # fewest and most postsynaptic partners of a divided synapse

#: A profile faces the cleft where it holds this share of the postsynaptic voxels within FACING_NM of it.
FACING_SHARE = 0.1
FACING_NM = 50.0

#: The borders between the profiles wander by this much (standard deviation), over lengths of WAVE_NM.
WANDER_NM = 25.0
WAVE_NM = 80.0

#: How far from a border its two membranes darken the image: 7 nm each, 10-20 nm between them, and their blur.
MEMBRANE_NM = 40.0


class Undividable(Exception):
    """A synapse that two postsynaptic partners cannot share, or whose patch shows no membrane to copy."""


def divide(
    em: Array, cleft: Array, segments: Array, post: int, voxel_nm: tuple[float, float, float], rng: np.random.Generator
) -> tuple[Array, Array, list[int]]:
    """Make a one-to-one synapse polyadic: `(em, segments, posts)`, new arrays and the true partners' local numbers.

    `em` (uint8), `cleft` (bool) and `segments` (unsigned, local numbers) are `[Z, Y, X]`, `post` is the postsynaptic
    number, `voxel_nm` XYZ. The part of the postsynaptic segment that lies at the cleft is divided among 2 to 4 seeds
    spread over the cleft: each voxel goes to the seed it is nearest to when both are seen along the normal of the
    cleft's plane, so that the profiles stand side by side on it. The first keeps the number `post`, the others get
    numbers above all others. Where two profiles meet in a section, the image is darkened as at the borders
    between the patch's other segments. Everything random comes from `rng`. Raises Undividable where
    fewer than two profiles would face the cleft.
    """
    spacing = np.array(voxel_nm[::-1], dtype=np.float64)
    facing = grown(cleft, voxel_nm, FACING_NM) & (segments == post)
    if not facing.any():
        raise Undividable(f"segment {post} does not reach the cleft")
    parts = cc3d.connected_components(segments == post, connectivity=26)
    profile = np.isin(parts, np.unique(parts[facing]))
    points = np.argwhere(cleft) * spacing
    center = points.mean(axis=0)
    plane = np.linalg.eigh((points - center).T @ (points - center))[1][:, 1:]  # the cleft's two longest axes
    wander = [_smooth_noise(segments.shape, spacing, rng)[profile] for _ in range(2)]
    place = (np.argwhere(profile) * spacing - center) @ plane + np.transpose(wander)
    for n in range(int(rng.integers(POSTS[0], POSTS[1] + 1)), POSTS[0] - 1, -1):
        seeds = _spread((points - center) @ plane, n, rng)
        nearest = ((place[:, None] - seeds) ** 2).sum(-1).argmin(1)
        share = np.bincount(nearest[facing[profile]], minlength=n) / facing.sum()
        if (share >= FACING_SHARE).all():
            break
    else:
        raise Undividable(f"the cleft of segment {post} is too small to be shared by {POSTS[0]}")
    numbers = np.array([post, *range(int(segments.max()) + 1, int(segments.max()) + n)])
    if numbers.max() > np.iinfo(segments.dtype).max:
        raise ValueError(f"local numbers up to {numbers.max()} do not fit into {segments.dtype}")
    divided = segments.copy()
    divided[profile] = numbers[nearest]
    apart = ~grown(cleft, voxel_nm, 2 * FACING_NM)
    return _with_membranes(em, segments, divided, apart, spacing), divided, numbers.tolist()


def scored(synapse_id: int, region: str, segment_ids: Array, means: Array, true_posts: Array) -> pd.DataFrame:
    """Rows of `polyadic.parquet` of one cleft, without `chosen`.

    `segment_ids [n]` (uint64) are its candidates, `means [2, n]` AVAN's mean outputs over them, `true_posts` the ids of
    the true postsynaptic segments. There is one presynaptic partner, that of the best ordered pair; every other
    candidate is scored by its mean postsynaptic output. True partners that are not among these have a row without a
    score, so that they count as missed.
    """
    segment_ids, true_posts = (np.asarray(ids, dtype=np.uint64) for ids in (segment_ids, true_posts))
    others, score = np.arange(len(segment_ids)), means[1]
    if len(segment_ids) > 1:
        pre = ordered_pairs(len(segment_ids))[0][avan_scores(means).argmax()]
        others = np.delete(others, pre)
    unseen = np.setdiff1d(true_posts, segment_ids[others])
    return pd.DataFrame(
        {
            "synapse_id": np.int64(synapse_id),
            "region": region,
            "segment_id": np.concatenate([segment_ids[others], unseen]),
            "score": np.concatenate([score[others], np.full(len(unseen), np.nan)]),
            "is_post": np.concatenate([np.isin(segment_ids[others], true_posts), np.ones(len(unseen), dtype=bool)]),
            "n_posts": len(true_posts),
        }
    )


def best_f1_threshold(score: Array, is_post: Array) -> float:
    """The threshold of the highest F1 of `score >= threshold`: midway between two scores, or the lowest score.

    Missing scores are never reached. Of equal F1 the highest threshold wins. Raises ValueError where no true partner
    has a score.
    """
    score, is_post = np.asarray(score, dtype=np.float64), np.asarray(is_post, dtype=bool)
    seen = np.isfinite(score)
    if not is_post[seen].any():
        raise ValueError("a threshold needs scores of true postsynaptic partners")
    values = np.unique(score[seen])[::-1]
    n_chosen = (score[seen] >= values[:, None]).sum(1)
    n_right = (score[seen & is_post] >= values[:, None]).sum(1)
    best = int((2 * n_right / (n_chosen + is_post.sum())).argmax())
    return float((values[best] + values[min(best + 1, len(values) - 1)]) / 2)


def choose(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scored` with the column `chosen`, by the threshold that is best on `val`."""
    val = table[table["region"] == "val"]
    return table.assign(chosen=table["score"] >= best_f1_threshold(val["score"], val["is_post"]))


def precision_recall(table: pd.DataFrame) -> pd.DataFrame:
    """Edges (cleft, postsynaptic segment) of each region: `region, n_clefts, n_true, n_chosen, n_right,
    precision, recall, f1`; `precision` is NaN where nothing was chosen.
    """
    rows = []
    for region, part in table.groupby("region", sort=False):
        n_true, n_chosen = int(part["is_post"].sum()), int(part["chosen"].sum())
        n_right = int((part["is_post"] & part["chosen"]).sum())
        rows.append(
            {
                "region": region,
                "n_clefts": part["synapse_id"].nunique(),
                "n_true": n_true,
                "n_chosen": n_chosen,
                "n_right": n_right,
                "precision": n_right / n_chosen if n_chosen else np.nan,
                "recall": n_right / n_true if n_true else np.nan,
                "f1": 2 * n_right / (n_chosen + n_true) if n_chosen + n_true else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _smooth_noise(shape: tuple[int, ...], spacing: Array, rng: np.random.Generator) -> Array:
    """A random field `[Z, Y, X]` of standard deviation WANDER_NM that changes over WAVE_NM."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), WAVE_NM / spacing)
    return field * (WANDER_NM / field.std())


def _spread(points: Array, n: int, rng: np.random.Generator) -> Array:
    """`n` of the points `[P, 2]`, far apart: the centres of n groups of them (Lloyd's algorithm from random ones)."""
    seeds = points[rng.choice(len(points), n, replace=len(points) < n)]
    for _ in range(10):
        group = ((points[:, None] - seeds) ** 2).sum(-1).argmin(1)
        seeds = np.array([points[group == k].mean(0) if (group == k).any() else seeds[k] for k in range(n)])
    return seeds


def _with_membranes(em: Array, segments: Array, divided: Array, apart: Array, spacing: Array) -> Array:
    """Draw membranes where `divided` has borders that `segments` has not: the image, uint8.

    A voxel gets as much darker, by its distance from the new border, as the patch is that far from the borders it had
    before, among the voxels `apart` from the cleft and its densities. Darkening what is there, rather than painting
    over it, keeps the noise of the image. The patch's lower quartiles are compared, because membranes that lie flat in
    the section, unlike those drawn here, are blurred and pale.
    """
    before, after = _to_border_nm(segments, spacing), _to_border_nm(divided, spacing)
    rings_nm = np.arange(0, 2 * MEMBRANE_NM, min(spacing[1:]))  # the farther half is inside of the segments
    pools = [em[apart & (before >= low) & (before < low + min(spacing[1:]))] for low in rings_nm]
    if not all(len(pool) for pool in pools):
        raise Undividable("the patch has no other segments whose membranes could be copied")
    grey = np.array([np.percentile(pool, 25) for pool in pools])
    inside = grey[rings_nm >= MEMBRANE_NM].mean()
    if inside == 0:
        raise Undividable("the patch is black: its membranes cannot be distinguished from what they enclose")
    darker = np.minimum(grey / inside, 1)
    new = (after < before) & (after < MEMBRANE_NM)
    return np.where(new, np.rint(em * np.interp(after, rings_nm, darker)), em).astype(np.uint8)


def _to_border_nm(segments: Array, spacing: Array) -> Array:
    """Distance in the section from each voxel to the nearest one that touches another segment: nm, `[Z, Y, X]`."""
    cross = ndimage.generate_binary_structure(2, 1)
    distance = np.full(segments.shape, np.inf)
    for z, section in enumerate(segments):
        border = ndimage.minimum_filter(section, footprint=cross) != ndimage.maximum_filter(section, footprint=cross)
        if border.any():
            distance[z] = ndimage.distance_transform_edt(~border, sampling=spacing[1:])
    return distance
