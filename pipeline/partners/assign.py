"""From scores of ordered pairs of segments to one pair a cleft, or to an outcome without a pair.

Every method scores the ordered pairs (presynaptic, postsynaptic) of a cleft's candidates, in the order of
`ordered_pairs`; everything after that is the same for all of them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.columns import PARTNER_SEGMENTS

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
    numbers: np.ndarray | tuple = dataclasses.field(default=(), repr=False)  # candidates
    scores: np.ndarray | tuple = dataclasses.field(default=(), repr=False)  # of their ordered pairs


def ordered_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions `(pre [P], post [P])` among n candidates of all P = n (n - 1) ordered pairs of distinct ones."""
    pre, post = np.nonzero(~np.eye(n, dtype=bool))
    return pre, post


def no_pair(fault: str, cleft: np.ndarray, numbers: Sequence[int] | np.ndarray) -> str | None:
    """The outcome of a cleft that cannot have a pair, one of NO_PAIR; None for those that networks are applied to.

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


def mean_outputs(outputs: np.ndarray, segments: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Mean of each of AVAN's two outputs `[2, Z, Y, X]` over each segment's voxels in the patch: float64 `[2, n]`.

    The first output is that of presynaptic voxels. ValueError where a number has no voxel in `segments [Z, Y, X]`.
    """
    flat, size = segments.ravel(), int(max(segments.max(), max(numbers))) + 1
    n_vx = np.bincount(flat, minlength=size)[numbers]
    if not n_vx.all():
        raise ValueError(f"segments {np.asarray(numbers)[n_vx == 0].tolist()} have no voxel in the patch")
    sums = [np.bincount(flat, weights=output.ravel(), minlength=size)[numbers] for output in outputs]
    return np.array(sums) / n_vx


def avan_scores(means: np.ndarray) -> np.ndarray:
    """Scores `[P]` of the ordered pairs: half the sum of the presynaptic mean of one and the postsynaptic of the other.

    `means [2, n]` are those of `mean_outputs`. Maximising the sum over pairs, rather than each mean by itself, keeps
    the two partners distinct.
    """
    pre, post = ordered_pairs(means.shape[1])
    return (means[0, pre] + means[1, post]) / 2


def decide(numbers: np.ndarray, overlaps: np.ndarray, scores: np.ndarray, at_edge: bool) -> Decision:
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


def direction_right(decision: Decision, true_pre: int | None, true_post: int | None) -> bool | None:
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


def assignments(
    method: str, decisions: Mapping[int, Decision], index: pd.DataFrame, segments: pd.DataFrame
) -> pd.DataFrame:
    """Table of a method's decisions, one row a cleft: the contract's columns and `direction_right` (see there).

    `decisions` is `{row of the sample store: Decision}`; `index` and `segments` are the store's tables. Segment ids
    stay uint64. `direction_right` is missing where the truth is unknown or not among the candidates. Raises ValueError
    for a row or local number the tables do not have, a synapse met twice, and ids that are no longer integers.
    """
    _check_integers(index, PARTNER_SEGMENTS)
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

    def ids(numbers: Iterable[tuple[int, int]]) -> np.ndarray:
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


def _check_integers(table: pd.DataFrame, columns: list[str]) -> None:
    """Ids that went through floats are rounded above 2^53, which no later check could notice."""
    for column in columns:
        if table[column].dtype.kind not in "iu":
            raise ValueError(f"{column} must hold integers, not {table[column].dtype}: large ids would be rounded")


def _exact_lookup(table: pd.DataFrame, keys: list[str], value: str) -> dict[tuple[int, int], int]:
    """`{(key, key): value}` in Python's integers, which have no upper bound."""
    return dict(zip(zip(*(table[key].tolist() for key in keys), strict=True), table[value].tolist(), strict=True))


def _found(segment_id: dict[tuple[int, int], int], row: int, number: int) -> int:
    if (row, number) not in segment_id:
        raise ValueError(f"row {row} of the samples has no segment with the local number {number}")
    return segment_id[row, number]
