"""From scores of ordered pairs of segments to one pair a cleft, or to the reason why there is none.

Every method scores the ordered pairs (presynaptic, postsynaptic) of a cleft's candidates, in the order of
`ordered_pairs`; everything after that is the same for all of them.
"""

import dataclasses

import numpy as np
import pandas as pd

ASSIGNED = ("assigned", "assigned_at_edge")
NO_PAIR = ("edge", "no_segment", "one_segment", "empty_mask", "frame_mismatch")

#: Of a cleft cut by the volume's edge, each chosen segment must hold this share of the labelled voxels of the grown
#: cleft. Of 233 uncut clefts of a simulated tissue (seed 20261) both partners did in 99%, while the largest third
#: segment held less than 0.2 in 95%: below it, the partner may be a bystander and the true one out of sight.
DOMINANT_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Decision:
    """What was decided about one cleft; segments are local numbers, 0 where there is no pair."""

    outcome: str  # of ASSIGNED or NO_PAIR
    pre: int = 0
    post: int = 0
    confidence: float = np.nan  # score of the chosen pair, in [0, 1]
    margin: float = np.nan  # by which it exceeds that of the next best ordered pair, be it its own reversal
    numbers: np.ndarray = dataclasses.field(default=(), repr=False)  # candidates
    scores: np.ndarray = dataclasses.field(default=(), repr=False)  # of their ordered pairs


def ordered_pairs(n):
    """Positions `(pre [P], post [P])` among n candidates of all P = n (n - 1) ordered pairs of distinct ones."""
    return np.nonzero(~np.eye(n, dtype=bool))


def obstacle(fault, cleft, numbers):
    """Why a cleft cannot have a pair, one of NO_PAIR, or None; networks need not run on it where there is a reason.

    `fault` is the sample's (`""` = none), `cleft` its mask, `numbers` its candidates (`candidates.segments_near`).
    Raises ValueError for a fault that is no outcome.
    """
    if fault:
        if fault not in NO_PAIR:
            raise ValueError(f"fault {fault!r} is not among the outcomes without a pair, {NO_PAIR}")
        return fault
    if not cleft.any():
        return "empty_mask"
    return {0: "no_segment", 1: "one_segment"}.get(len(numbers))


def mean_outputs(outputs, segments, numbers):
    """Mean of each of AVAN's two outputs `[2, Z, Y, X]` over each segment's voxels in the patch: float64 `[2, n]`.

    The first output is that of presynaptic voxels. ValueError where a number has no voxel in `segments [Z, Y, X]`.
    """
    flat, size = segments.ravel(), int(max(segments.max(), max(numbers))) + 1
    n_vx = np.bincount(flat, minlength=size)[numbers]
    if not n_vx.all():
        raise ValueError(f"segments {np.asarray(numbers)[n_vx == 0].tolist()} have no voxel in the patch")
    sums = [np.bincount(flat, weights=output.ravel(), minlength=size)[numbers] for output in outputs]
    return np.array(sums) / n_vx


def avan_scores(means):
    """Scores `[P]` of the ordered pairs: half the sum of the presynaptic mean of one and the postsynaptic of the other.

    `means [2, n]` are those of `mean_outputs`. Maximising the sum over pairs, rather than each mean by itself, is what
    keeps the two partners distinct.
    """
    pre, post = ordered_pairs(means.shape[1])
    return (means[0, pre] + means[1, post]) / 2


def decide(numbers, overlaps, scores, at_edge):
    """The best ordered pair of at least two candidates (`numbers [n]`, their `overlaps [n]` with the grown cleft).

    `scores [P]` are in [0, 1], in the order of `ordered_pairs`; of equal ones the first wins, with margin 0. Where the
    cleft is cut by the volume's edge (`at_edge`) the pair is given only if both of its segments hold DOMINANT_SHARE
    of the overlaps. Raises ValueError for scores that are too few, too many, not finite or outside [0, 1].
    """
    scores = np.asarray(scores, dtype=np.float64)
    pre, post = ordered_pairs(len(numbers))
    if len(pre) == 0 or scores.shape != pre.shape or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{len(numbers)} candidates need {len(pre)} (> 0) scores in [0, 1], not {scores.tolist()}")
    best = int(scores.argmax())
    share = np.asarray(overlaps)[[pre[best], post[best]]] / np.sum(overlaps)
    if at_edge and (share < DOMINANT_SHARE).any():
        return Decision("edge", numbers=numbers, scores=scores)
    return Decision(
        outcome="assigned_at_edge" if at_edge else "assigned",
        pre=int(numbers[pre[best]]),
        post=int(numbers[post[best]]),
        confidence=float(scores[best]),
        margin=float(scores[best] - np.delete(scores, best).max()),
        numbers=numbers,
        scores=scores,
    )


def direction_right(decision, true_pre, true_post):
    """Whether the true pair (local numbers) scores above its reversal, whichever pair was chosen.

    None where one of the two is no candidate, or the cleft was not scored; equal scores count as wrong.
    """
    score = {
        (decision.numbers[i], decision.numbers[j]): value
        for i, j, value in zip(*ordered_pairs(len(decision.numbers)), decision.scores, strict=True)
    }
    if (true_pre, true_post) not in score:
        return None
    return bool(score[true_pre, true_post] > score[true_post, true_pre])


def assignments(method, decisions, index, segments):
    """Table of a method's decisions, one row a cleft: the contract's columns and `direction_right` (see there).

    `decisions` is `{row of the sample store: Decision}`; `index` and `segments` are the store's tables. Segment ids
    stay uint64. `direction_right` is missing where the truth is unknown or not among the candidates. Raises ValueError
    for a row or local number the tables do not have, a synapse met twice, and ids that are no longer integers.
    """
    _check_integers(index, ["pre_segment_id", "post_segment_id"])
    _check_integers(segments, ["segment_id"])
    clefts = index.set_index("row")
    if missing := sorted(set(decisions) - set(clefts.index)):
        raise ValueError(f"the index of the samples has no rows {missing[:5]}")
    clefts = clefts.loc[list(decisions)]
    if clefts["synapse_id"].duplicated().any():
        raise ValueError(
            f"synapses occur twice: {clefts['synapse_id'][clefts['synapse_id'].duplicated()].tolist()[:5]}"
        )
    segment_id = _exact_lookup(segments, ["row", "local"], "segment_id")
    local = _exact_lookup(segments, ["row", "segment_id"], "local")

    def ids(numbers):
        return np.array([_found(segment_id, row, n) if n else 0 for row, n in numbers], dtype=np.uint64)

    truth = {
        f"true_{side}_segment_id": clefts[f"{side}_segment_id"].to_numpy().astype(np.uint64) for side in ("pre", "post")
    }
    right = [
        direction_right(decision, local.get((row, int(pre))), local.get((row, int(post))))
        for (row, decision), pre, post in zip(decisions.items(), *truth.values(), strict=True)
    ]
    return pd.DataFrame(
        {
            "synapse_id": clefts["synapse_id"].to_numpy(np.int64),
            "method": method,
            "pre_segment_id": ids((row, decision.pre) for row, decision in decisions.items()),
            "post_segment_id": ids((row, decision.post) for row, decision in decisions.items()),
            "confidence": [decision.confidence for decision in decisions.values()],
            "margin": [decision.margin for decision in decisions.values()],
            "outcome": [decision.outcome for decision in decisions.values()],
            **truth,
            "direction_right": pd.array(right, dtype="boolean"),
        }
    )


def _check_integers(table, columns):
    """Ids that went through floats are rounded above 2^53, which no later check could notice."""
    for column in columns:
        if table[column].dtype.kind not in "iu":
            raise ValueError(f"{column} must hold integers, not {table[column].dtype}: large ids would be rounded")


def _exact_lookup(table, keys, value):
    """`{(key, key): value}` in Python's integers, which have no upper bound."""
    return dict(zip(zip(*(table[key].tolist() for key in keys), strict=True), table[value].tolist(), strict=True))


def _found(segment_id, row, number):
    if (row, number) not in segment_id:
        raise ValueError(f"row {row} of the samples has no segment with the local number {number}")
    return segment_id[row, number]
