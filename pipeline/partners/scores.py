"""How often each method finds the pair, with exact intervals and exact tests between methods.

All functions read the table of assignments (`assign.assignments`) of synapses whose partners are known. Synapses
without a pair count as errors. Intervals and tests take synapses for independent, as Turner et al. (2019) do: the
direction of a synapse is no property of its neuron, unlike the class that the rest of this project predicts.
"""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from pipeline.partners.assign import ASSIGNED, NO_PAIR

#: What can be wrong with a pair: both segments are the partners, but reversed; or a segment is no partner.
ERRORS = ("direction", "identity")

_PAIR = ["pre_segment_id", "post_segment_id"]
_TRUTH = ["true_pre_segment_id", "true_post_segment_id"]


def verdict(table):
    """Of each row: `correct`, one of ERRORS, or its outcome where it has no pair; a Series.

    Raises ValueError for unknown outcomes, synapses of unknown partners, and a method's synapses that occur twice.
    """
    if strange := sorted(set(table["outcome"]) - {*ASSIGNED, *NO_PAIR}):
        raise ValueError(f"assignments have unknown outcomes {strange}")
    if table.duplicated(["method", "synapse_id"]).any():
        raise ValueError(f"synapses occur twice: {table['synapse_id'][table.duplicated(['method', 'synapse_id'])][:5]}")
    unknown = table["synapse_id"][(table[_TRUTH] == 0).any(axis=1)]
    if len(unknown):
        raise ValueError(f"{len(unknown)} rows have no true partners to compare with: {unknown.tolist()[:5]}")
    (pre, post), (true_pre, true_post) = ((table[column] for column in columns) for columns in (_PAIR, _TRUTH))
    kinds = np.select(
        [
            ~table["outcome"].isin(ASSIGNED),
            (pre == true_pre) & (post == true_post),
            (pre == true_post) & (post == true_pre),
        ],
        [table["outcome"], "correct", ERRORS[0]],
        ERRORS[1],
    )
    return pd.Series(kinds, index=table.index, dtype=object)


def exact_interval(n_right, n, confidence=0.95):
    """Clopper & Pearson's (1934) interval `(low, high)` of a share; NaN where there is nothing to be a share of."""
    if n == 0:
        return np.nan, np.nan
    interval = binomtest(int(n_right), int(n)).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def accuracy(table, confidence=0.95):
    """One row a method, in the order they come: DataFrame.

    `method, n, n_correct, accuracy, low, high`; `n_direction`, `n_identity` errors and `n_<outcome>` of each outcome
    without a pair, which together are the errors; and the direction given the true pair, whichever pair was chosen:
    `direction_n` (synapses whose true pair was scored), `direction_n_right, direction_accuracy, direction_low,
    direction_high`.
    """
    table = table.assign(verdict=verdict(table))
    rows = []
    for method, of_method in table.groupby("method", sort=False):
        count = of_method["verdict"].value_counts()
        n_correct = int(count.get("correct", 0))
        right = of_method["direction_right"].dropna().astype(bool)
        low, high = exact_interval(n_correct, len(of_method), confidence)
        direction_low, direction_high = exact_interval(right.sum(), len(right), confidence)
        rows.append(
            {
                "method": method,
                "n": len(of_method),
                "n_correct": n_correct,
                "accuracy": n_correct / len(of_method),
                "low": low,
                "high": high,
                **{f"n_{kind}": int(count.get(kind, 0)) for kind in (*ERRORS, *NO_PAIR)},
                "direction_n": len(right),
                "direction_n_right": int(right.sum()),
                "direction_accuracy": right.mean() if len(right) else np.nan,
                "direction_low": direction_low,
                "direction_high": direction_high,
            }
        )
    return pd.DataFrame(rows)


def mcnemar(right_a, right_b):
    """McNemar's exact two-sided p-value of two methods being right equally often; booleans `[N]` of the same synapses.

    Only synapses on which exactly one of them is right count; without any the p-value is 1.
    """
    a, b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    return float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def pairwise(table):
    """Every method against every later one: DataFrame `method_a, method_b, n, only_a, only_b, p, p_holm`.

    `only_a` counts the synapses that method a alone has right; `p` is McNemar's, `p_holm` adjusted over all pairs
    (Holm 1979). Raises ValueError unless every method was given the same synapses.
    """
    right = table.assign(right=verdict(table) == "correct").pivot(index="synapse_id", columns="method", values="right")
    if right.isna().any(axis=None):
        missing = right.index[right.isna().any(axis=1)].tolist()
        raise ValueError(f"methods are compared on the same synapses; some lack {missing[:5]}")
    right = right.astype(bool)
    rows = []
    for a, b in itertools.combinations(table["method"].unique(), 2):
        only_a, only_b = (right[a] & ~right[b]).sum(), (right[b] & ~right[a]).sum()
        rows.append((a, b, len(right), int(only_a), int(only_b), mcnemar(right[a], right[b])))
    pairs = pd.DataFrame(rows, columns=["method_a", "method_b", "n", "only_a", "only_b", "p"])
    return pairs.assign(p_holm=multipletests(pairs["p"], method="holm")[1] if len(pairs) else [])
