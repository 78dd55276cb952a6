"""Where two methods disagree about a cleft: what a proofreader should look at first.

Agreement of methods with different habits is evidence that both are right, so human time goes to the clefts on which
they differ (Turner et al. 2019, who had 1,000 synapses assigned twice and read only those).
"""

import numpy as np
import pandas as pd

METHODS = ("avan", "pruner")  # as columns name them

#: How two proposals differ, in the order in which `queue` tests it.
DISAGREEMENTS = ("", "reversed", "other partner", "no pair")


def queue(clefts: pd.DataFrame) -> pd.DataFrame:
    """Detected clefts in the order in which to proofread them: a copy of the table with the column `disagreement`.

    `clefts` has `cleft_id`, `<method>_pre`, `<method>_post` (uint64, 0 = no pair) of both METHODS and
    `avan_margin`. Those on which the methods disagree come first; within either group those with the lowest margin
    of AVAN over its runner-up, 0 where it gave no pair. Ties are in the order of `cleft_id`. `disagreement`
    is "" (the same pair, or no pair by either), "reversed", "other partner" (another segment) or "no pair" (by one
    method). Raises ValueError where ids are not uint64, since floats do not hold them.
    """
    columns = [f"{method}_{side}" for method in METHODS for side in ("pre", "post")]
    for column in columns:
        if clefts[column].dtype != np.uint64:
            raise ValueError(f"{column} holds {clefts[column].dtype}; segment ids are exact only as uint64")
    pre, post, other_pre, other_post = (clefts[column].to_numpy() for column in columns)
    same = (pre == other_pre) & (post == other_post)
    lacking = (pre == 0) != (other_pre == 0)
    reversed_pair = (pre == other_post) & (post == other_pre)
    found = np.select([same, reversed_pair, ~lacking], DISAGREEMENTS[:3], DISAGREEMENTS[3])
    ordered = clefts.assign(disagreement=found, _agree=same, _margin=clefts["avan_margin"].fillna(0))
    ordered = ordered.sort_values(["_agree", "_margin", "cleft_id"], ignore_index=True)
    return ordered.drop(columns=["_agree", "_margin"])


def blinded(queued: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The disagreements of a `queue` as proposals A and B, so that whoever reads them cannot favour a method.

    Returns `cleft_id, x_nm, y_nm, z_nm, disagreement, a_method, a_pre, a_post, b_method, b_pre, b_post`, in the queue's
    order. Which method is A is drawn for each cleft.
    """
    items = queued[queued["disagreement"] != ""].reset_index(drop=True)
    kept = items[["cleft_id", "x_nm", "y_nm", "z_nm", "disagreement"]].copy()
    swap = np.random.default_rng(seed).random(len(items)) < 0.5
    for name, (plain, swapped) in {"a": METHODS, "b": METHODS[::-1]}.items():
        kept[f"{name}_method"] = np.where(swap, swapped, plain)
        for side in ("pre", "post"):
            kept[f"{name}_{side}"] = np.where(swap, items[f"{swapped}_{side}"], items[f"{plain}_{side}"])
    return kept
