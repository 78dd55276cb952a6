"""Where two methods disagree about a cleft: what a proofreader should look at first.

Agreement of methods with different habits is evidence that both are right, so human time goes to the clefts on which
they differ (Turner et al. 2019, who had 1,000 synapses assigned twice and read only those).
"""

import numpy as np

#: How two proposals differ, in the order in which `queue` tests it.
KINDS = ("", "direction", "partner", "no pair")


def queue(rows, first="avan", second="pruner"):
    """Detected clefts in the order in which to proofread them: a copy of `rows` with the column `disagreement`.

    `rows` has `cleft_id`, `<method>_pre`, `<method>_post` (uint64, 0 = no pair) of both methods and
    `<first>_margin`. Those on which the methods disagree come first; within either group those with the lowest margin
    of the first method to its runner-up, which is nothing where it gave no pair. Ties are in the order of `cleft_id`.
    `disagreement` is "" (the same pair, or no pair of either), "direction" (the pair reversed), "partner" (another
    segment) or "no pair" (of one method). Raises ValueError where ids are no uint64, since floats do not hold them.
    """
    columns = [f"{method}_{side}" for method in (first, second) for side in ("pre", "post")]
    for column in columns:
        if rows[column].dtype != np.uint64:
            raise ValueError(f"{column} holds {rows[column].dtype}; segment ids are exact only as uint64")
    pre, post, other_pre, other_post = (rows[column].to_numpy() for column in columns)
    same = (pre == other_pre) & (post == other_post)
    lacking = (pre == 0) != (other_pre == 0)
    reversed_pair = (pre == other_post) & (post == other_pre)
    kind = np.select([same, reversed_pair, ~lacking], KINDS[:3], KINDS[3])
    ordered = rows.assign(disagreement=kind, _agree=same, _margin=rows[f"{first}_margin"].fillna(0))
    ordered = ordered.sort_values(["_agree", "_margin", "cleft_id"], ignore_index=True)
    return ordered.drop(columns=["_agree", "_margin"])


def blinded(queued, seed, first="avan", second="pruner"):
    """The disagreements of a `queue` as proposals A and B, so that whoever reads them cannot favour a method.

    Returns `cleft_id, x_nm, y_nm, z_nm, disagreement, a_method, a_pre, a_post, b_method, b_pre, b_post`, in the queue's
    order. Which method is A is drawn for each cleft.
    """
    items = queued[queued["disagreement"] != ""].reset_index(drop=True)
    kept = items[["cleft_id", "x_nm", "y_nm", "z_nm", "disagreement"]].copy()
    swap = np.random.default_rng(seed).random(len(items)) < 0.5
    for name, (plain, swapped) in {"a": (first, second), "b": (second, first)}.items():
        kept[f"{name}_method"] = np.where(swap, swapped, plain)
        for side in ("pre", "post"):
            kept[f"{name}_{side}"] = np.where(swap, items[f"{swapped}_{side}"], items[f"{plain}_{side}"])
    return kept
