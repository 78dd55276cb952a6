"""Accuracy of assignment: counts by hand, intervals and tests against statsmodels."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.stats.assignment import accuracy, exact_interval, outcome, pairwise
from pipeline.stats.metrics import PredictionsError

BIG = 2**63
NONE = (0, 0)


def table(method, *rows):
    """Rows `(pair, outcome, direction_right)` of synapses whose true pair is (1, 2), shifted to where floats fail."""
    shifted = [[BIG + n if n else 0 for n in pair] for pair, *_ in rows]
    return pd.DataFrame(
        {
            "synapse_id": range(1, len(rows) + 1),
            "method": method,
            "pre_segment_id": np.array([pre for pre, _ in shifted], np.uint64),
            "post_segment_id": np.array([post for _, post in shifted], np.uint64),
            "outcome": [outcome for _, outcome, _ in rows],
            "true_pre_segment_id": np.uint64(BIG + 1),
            "true_post_segment_id": np.uint64(BIG + 2),
            "direction_right": pd.array([right for *_, right in rows], dtype="boolean"),
        }
    )


AVAN = table(
    "avan",
    ((1, 2), "assigned", True),
    ((1, 2), "assigned_at_edge", True),
    ((2, 1), "assigned", False),
    ((1, 3), "assigned", True),
    ((3, 1), "assigned", False),
    (NONE, "one_segment", None),
    (NONE, "edge", True),
)
FLOOR = table("darker_is_pre", *[((2, 1), "assigned", False)] * 6, ((1, 2), "assigned", True))


def test_reversed_pairs_wrong_partners_and_missing_pairs_are_told_apart():
    assert outcome(AVAN).tolist() == [
        "correct", "correct", "reversed", "wrong_partner", "wrong_partner", "one_segment", "edge",
    ]  # fmt: skip
    row = accuracy(AVAN).iloc[0]
    counts = ["n", "n_correct", "n_reversed", "n_wrong_partner", "n_unassigned"]
    assert row[counts].tolist() == [7, 2, 1, 2, 2]
    assert row["accuracy"] == pytest.approx(2 / 7)
    assert row[["direction_n", "direction_n_right"]].tolist() == [6, 4]
    assert row["direction_accuracy"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(("n_right", "n"), [(0, 12), (12, 12), (1, 1), (97, 100), (1593, 1600)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_equal_statsmodels(n_right, n, confidence):
    theirs = proportion_confint(n_right, n, alpha=1 - confidence, method="beta")
    assert exact_interval(n_right, n, confidence) == pytest.approx(theirs, abs=1e-9)


def test_no_error_in_73_is_still_an_interval():
    low, high = exact_interval(73, 73)
    assert low == pytest.approx((0.05 / 2) ** (1 / 73))  # closed form of Clopper & Pearson without errors
    assert high == 1
    assert np.isnan(exact_interval(0, 0)).all()


def test_methods_are_compared_pair_by_pair():
    third = AVAN.assign(method="mask_pruner")
    pairs = pairwise(pd.concat([AVAN, FLOOR, third])).set_index(["method_a", "method_b"])
    assert len(pairs) == 3
    against = pairs.loc[("avan", "darker_is_pre")]
    assert against[["n", "only_a", "only_b"]].tolist() == [7, 2, 1]
    assert against["p"] == pytest.approx(1.0)
    assert pairs.loc[("avan", "mask_pruner"), "p"] == 1.0
    assert (pairs["p_holm"] >= pairs["p"]).all()


def test_tables_that_cannot_be_scored_are_refused():
    with pytest.raises(PredictionsError, match=r"same synapses; some lack \[7\]"):
        pairwise(pd.concat([AVAN, FLOOR.iloc[:6]]))
    with pytest.raises(PredictionsError, match="no true partners"):
        outcome(AVAN.assign(true_pre_segment_id=np.uint64(0)))
    with pytest.raises(PredictionsError, match="occur twice"):
        outcome(pd.concat([AVAN, AVAN]))
