"""How often each method of partner assignment finds the pair, with exact intervals and exact tests between methods.

All functions read the table of assignments (`method, synapse_id, outcome, direction_right` and the segments of both
partners, assigned and true) of synapses whose partners are known. Synapses without a pair count as errors. Intervals
and tests take synapses for independent, as Turner et al. (2019) do: the direction of a synapse is no property of its
neuron, unlike the class that the rest of this project predicts.
"""

import itertools

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stats.metrics import PredictionsError
from pipeline.stats.naive import mcnemar

#: What can be wrong with a pair: the true one in the wrong direction, or another segment.
ERRORS = ("reversed", "wrong_partner")


def outcome(table: pd.DataFrame) -> pd.Series:
    """For each row `correct`, one of ERRORS, or the reason why it has no pair.

    Raises PredictionsError for synapses of unknown partners, and for a method's synapses that occur twice.
    """
    if (twice := table.duplicated(["method", "synapse_id"])).any():
        raise PredictionsError(f"synapses occur twice: {table['synapse_id'][twice].tolist()[:5]}")
    true = [f"true_{column}" for column in PARTNER_SEGMENTS]
    unknown = table["synapse_id"][(table[true] == 0).any(axis=1)]
    if len(unknown):
        raise PredictionsError(f"{len(unknown)} rows have no true partners to compare with: {unknown.tolist()[:5]}")
    (pre, post), (true_pre, true_post) = ((table[name] for name in names) for names in (PARTNER_SEGMENTS, true))
    conditions = [pre == 0, (pre == true_pre) & (post == true_post), (pre == true_post) & (post == true_pre)]
    found = np.select(conditions, [table["outcome"], "correct", ERRORS[0]], ERRORS[1])
    return pd.Series(found, index=table.index, dtype=object)


def exact_interval(n_right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper & Pearson's (1934) interval `(low, high)` of a share; NaN where there is nothing to be a share of."""
    if n == 0:
        return np.nan, np.nan
    interval = binomtest(int(n_right), int(n)).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def accuracy(table: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row a method, in the order they come.

    `method, n, n_correct, accuracy, low, high`; the errors `n_reversed`, `n_wrong_partner` and `n_unassigned`; and the
    direction given the true pair, whichever pair was chosen: `direction_n` (synapses whose true pair was scored),
    `direction_n_right, direction_accuracy, direction_low, direction_high`.
    """
    table = table.assign(found=outcome(table))
    rows = []
    for method, of_method in table.groupby("method", sort=False):
        count = of_method["found"].value_counts()
        counts = {f"n_{name}": int(count.get(name, 0)) for name in ("correct", *ERRORS)}
        n, right = len(of_method), of_method["direction_right"].dropna().astype(bool)
        low, high = exact_interval(counts["n_correct"], n, confidence)
        direction_low, direction_high = exact_interval(right.sum(), len(right), confidence)
        rows.append(
            {
                "method": method,
                "n": n,
                **counts,
                "n_unassigned": n - sum(counts.values()),
                "accuracy": counts["n_correct"] / n,
                "low": low,
                "high": high,
                "direction_n": len(right),
                "direction_n_right": int(right.sum()),
                "direction_accuracy": right.mean() if len(right) else np.nan,
                "direction_low": direction_low,
                "direction_high": direction_high,
            }
        )
    return pd.DataFrame(rows)


def pairwise(table: pd.DataFrame) -> pd.DataFrame:
    """Every method against every later one: `method_a, method_b, n, only_a, only_b, p, p_holm`.

    `only_a` counts the synapses that method a alone has right; `p` is McNemar's, `p_holm` adjusted over all pairs
    (Holm 1979). Raises PredictionsError unless every method was given the same synapses.
    """
    right = table.assign(right=outcome(table) == "correct").pivot(index="synapse_id", columns="method", values="right")
    if right.isna().any(axis=None):
        missing = right.index[right.isna().any(axis=1)].tolist()
        raise PredictionsError(f"methods are compared on the same synapses; some lack {missing[:5]}")
    right = right.astype(bool)
    rows = []
    for a, b in itertools.combinations(table["method"].unique(), 2):
        only_a, only_b = (right[a] & ~right[b]).sum(), (right[b] & ~right[a]).sum()
        rows.append((a, b, len(right), int(only_a), int(only_b), mcnemar(right[a], right[b])))
    pairs = pd.DataFrame(rows, columns=["method_a", "method_b", "n", "only_a", "only_b", "p"])
    return pairs.assign(p_holm=multipletests(pairs["p"], method="holm")[1] if len(pairs) else [])
