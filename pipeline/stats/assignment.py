"""How often each method of partner assignment finds the pair, with intervals and tests whose unit is the neuron.

All functions read the table of assignments (`method, synapse_id, outcome, margin, direction_right` and the segments of
both partners, assigned and true) of synapses whose partners are known. Synapses without a pair count as errors.

A segment is an axon or a dendrite throughout, so that the synapses of a neuron, on either side, are easy or hard
together. Each synapse belongs to two neurons (CELLS): intervals and tests are computed with synapses grouped by one
and by the other, and the wider limits and the larger p-value are given.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stats.metrics import PredictionsError
from pipeline.stats.permutation import sign_flip
from pipeline.stats.shares import share_interval

#: The true partners of a synapse, by either of which synapses are grouped.
CELLS = [f"true_{column}" for column in PARTNER_SEGMENTS]

#: What can be wrong with a pair: the true one in the wrong direction, or another segment.
ERRORS = ("reversed", "wrong_partner")


def outcome(table: pd.DataFrame) -> pd.Series:
    """For each row `correct`, one of ERRORS, or the reason why it has no pair.

    Raises PredictionsError for synapses of unknown partners, and for a method's synapses that occur twice.
    """
    if (twice := table.duplicated(["method", "synapse_id"])).any():
        raise PredictionsError(f"synapses occur twice: {table['synapse_id'][twice].tolist()[:5]}")
    unknown = table["synapse_id"][(table[CELLS] == 0).any(axis=1)]
    if len(unknown):
        raise PredictionsError(f"{len(unknown)} rows have no true partners to compare with: {unknown.tolist()[:5]}")
    (pre, post), (true_pre, true_post) = ((table[name] for name in names) for names in (PARTNER_SEGMENTS, CELLS))
    conditions = [pre == 0, (pre == true_pre) & (post == true_post), (pre == true_post) & (post == true_pre)]
    found = np.select(conditions, [table["outcome"], "correct", ERRORS[0]], ERRORS[1])
    return pd.Series(found, index=table.index, dtype=object)


def share(right: pd.Series, cells: pd.DataFrame, confidence: float) -> tuple[float, float, float]:
    """Share of synapses that are `right` [N] with its limits `(value, low, high)`; NaN where there are no synapses.

    `cells` has the columns of CELLS and the rows of `right`.
    """
    if right.empty:
        return np.nan, np.nan, np.nan
    limits = [share_interval(right, cells[column], confidence) for column in CELLS]
    return float(right.mean()), min(low for low, _ in limits), max(high for _, high in limits)


def difference_p(right_a: pd.Series, right_b: pd.Series, cells: pd.DataFrame) -> float:
    """P-value of no difference between two methods on the same synapses; arguments as those of `share`."""
    gain = right_a.astype(int) - right_b.astype(int)
    return max(sign_flip(gain.groupby(cells[column]).sum()) for column in CELLS)


def accuracy(table: pd.DataFrame, confidence: float) -> pd.DataFrame:
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
        value, low, high = share(of_method["found"] == "correct", of_method, confidence)
        direction, direction_low, direction_high = share(right, of_method.loc[right.index], confidence)
        rows.append(
            {
                "method": method,
                "n": n,
                **counts,
                "n_unassigned": n - sum(counts.values()),
                "accuracy": value,
                "low": low,
                "high": high,
                "direction_n": len(right),
                "direction_n_right": int(right.sum()),
                "direction_accuracy": direction,
                "direction_low": direction_low,
                "direction_high": direction_high,
            }
        )
    return pd.DataFrame(rows)


def at_coverage(table: pd.DataFrame, coverages: Sequence[float], confidence: float) -> pd.DataFrame:
    """Accuracy on the synapses of which each method is surest: `method, coverage, n, margin, value, low, high`.

    At coverage c these are the share c of the synapses with the largest margin (equal ones in the order of their ids);
    `margin` is the smallest of them. Synapses without a pair come last, and count as errors.
    """
    table = table.assign(right=outcome(table) == "correct")
    rows = []
    for method, of_method in table.groupby("method", sort=False):
        ordered = of_method.sort_values("synapse_id").sort_values("margin", ascending=False, kind="stable")
        for coverage in coverages:
            part = ordered.head(int(np.ceil(coverage * len(ordered))))
            found = share(part["right"], part, confidence)
            rows.append((method, coverage, len(part), part["margin"].min(), *found))
    return pd.DataFrame(rows, columns=["method", "coverage", "n", "margin", "value", "low", "high"])


def pairwise(table: pd.DataFrame) -> pd.DataFrame:
    """Every method against every later one: `method_a, method_b, n, only_a, only_b, p, p_holm`.

    `only_a` counts the synapses that method a alone has right; `p_holm` is adjusted over all pairs (Holm 1979). Raises
    PredictionsError unless every method was given the same synapses.
    """
    right = table.assign(right=outcome(table) == "correct").pivot(index="synapse_id", columns="method", values="right")
    if right.isna().any(axis=None):
        missing = right.index[right.isna().any(axis=1)].tolist()
        raise PredictionsError(f"methods are compared on the same synapses; some lack {missing[:5]}")
    right = right.astype(bool)
    cells = table.drop_duplicates("synapse_id").set_index("synapse_id")[CELLS].loc[right.index]
    rows = []
    for a, b in itertools.combinations(table["method"].unique(), 2):
        only_a, only_b = (right[a] & ~right[b]).sum(), (right[b] & ~right[a]).sum()
        rows.append((a, b, len(right), int(only_a), int(only_b), difference_p(right[a], right[b], cells)))
    pairs = pd.DataFrame(rows, columns=["method_a", "method_b", "n", "only_a", "only_b", "p"])
    return pairs.assign(p_holm=multipletests(pairs["p"], method="holm")[1] if len(pairs) else [])
