"""From scores of ordered pairs of segments to one pair a cleft, or to an outcome without a pair.

Every method scores the ordered pairs (presynaptic, postsynaptic) of a cleft's candidates, in the order of
`ordered_pairs`; everything after that is the same for all of them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

ASSIGNED = ("assigned", "assigned_at_edge")
NO_PAIR = ("no_segment", "one_segment", "empty_mask", "frame_mismatch")


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
    """
    if fault:
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


def decide(numbers: np.ndarray, scores: np.ndarray, at_edge: bool) -> Decision:
    """The best ordered pair of at least two candidates, `numbers [n]`.

    `scores [P]` are in [0, 1], in the order of `ordered_pairs`; of equal ones the first wins, with margin 0. A cleft
    cut by the volume's edge (`at_edge`) gets a pair as well, and an outcome of its own: its true partner may be out of
    sight. Raises ValueError for scores that are too few, too many, not finite or outside [0, 1].
    """
    scores = np.asarray(scores, dtype=np.float64)
    pre, post = ordered_pairs(len(numbers))
    if len(pre) == 0 or scores.shape != pre.shape or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(f"{len(numbers)} candidates need {len(pre)} (> 0) scores in [0, 1], not {scores.tolist()}")
    best = int(scores.argmax())
    return Decision(
        outcome="assigned_at_edge" if at_edge else "assigned",
        pre=int(numbers[pre[best]]),
        post=int(numbers[post[best]]),
        confidence=float(scores[best]),
        margin=float(scores[best] - np.delete(scores, best).max()),
        numbers=numbers,
        scores=scores,
    )


def direction_right(decision: Decision, true_pre: int, true_post: int) -> bool | None:
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

    `decisions` is by row of the sample store, whose tables `index` and `segments` are. Segment ids stay uint64.
    `direction_right` is missing where the truth is unknown or not among the candidates.
    """
    clefts, made = index.set_index("row").loc[list(decisions)], list(decisions.values())
    keys = zip(segments["row"].tolist(), segments["local"].tolist(), strict=True)
    segment_id = dict(zip(keys, segments["segment_id"].tolist(), strict=True))  # Python's integers are exact

    def ids(side: str) -> np.ndarray:
        chosen = ((row, getattr(decision, side)) for row, decision in decisions.items())
        return np.array([segment_id[row, local] if local else 0 for row, local in chosen], dtype=np.uint64)

    truth = zip(made, clefts["pre_local"], clefts["post_local"], strict=True)
    return pd.DataFrame(
        {
            "synapse_id": clefts["synapse_id"].to_numpy(np.int64),
            "method": method,
            "pre_segment_id": ids("pre"),
            "post_segment_id": ids("post"),
            "confidence": [decision.confidence for decision in made],
            "margin": [decision.margin for decision in made],
            "outcome": [decision.outcome for decision in made],
            "true_pre_segment_id": clefts["pre_segment_id"].to_numpy(np.uint64),
            "true_post_segment_id": clefts["post_segment_id"].to_numpy(np.uint64),
            "direction_right": pd.array([direction_right(*one) for one in truth], dtype="boolean"),
        }
    )
