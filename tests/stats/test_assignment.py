"""Accuracy of assignment: counts by hand, intervals and tests by the neurons of the synapses."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from pipeline.stats.assignment import accuracy, at_coverage, outcome, pairwise, share
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
            "margin": np.linspace(0.9, 0.1, len(rows)),
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
    row = accuracy(AVAN, 0.95).iloc[0]
    counts = ["n", "n_correct", "n_reversed", "n_wrong_partner", "n_unassigned"]
    assert row[counts].tolist() == [7, 2, 1, 2, 2]
    assert row["accuracy"] == pytest.approx(2 / 7)
    assert row[["direction_n", "direction_n_right"]].tolist() == [6, 4]
    assert row["direction_accuracy"] == pytest.approx(4 / 6)


def cells(pre, post):
    return pd.DataFrame({"true_pre_segment_id": pre, "true_post_segment_id": post})


def test_the_interval_is_the_wider_of_those_by_either_neuron():
    """Errors of one postsynaptic neuron, evenly spread over presynaptic ones."""
    post, pre = np.repeat(np.arange(10), 18), np.arange(180) % 45
    right = pd.Series(post != 3)
    _, *alone = share(right, cells(np.arange(180), np.arange(180)), 0.95)
    _, *by_pre = share(right, cells(pre, np.arange(180)), 0.95)
    _, *both = share(right, cells(pre, post), 0.95)
    assert both[0] < min(alone[0], by_pre[0])
    assert both[1] > max(alone[1], by_pre[1])
    assert np.isnan(share(right[:0], cells(pre, post)[:0], 0.95)).all()


def test_no_error_is_still_an_interval():
    value, low, high = share(pd.Series([True] * 73), cells(np.arange(73) % 9, np.arange(73) % 5), 0.95)
    assert value == 1
    assert low < 0.96
    assert high == 1


def test_methods_are_compared_pair_by_pair():
    third = AVAN.assign(method="mask_pruner")
    pairs = pairwise(pd.concat([AVAN, FLOOR, third])).set_index(["method_a", "method_b"])
    assert len(pairs) == 3
    against = pairs.loc[("avan", "darker_is_pre")]
    assert against[["n", "only_a", "only_b"]].tolist() == [7, 2, 1]
    assert against["p"] == pytest.approx(1.0)
    assert pairs.loc[("avan", "mask_pruner"), "p"] == 1.0
    assert (pairs["p_holm"] >= pairs["p"]).all()


def test_methods_are_exchanged_neuron_by_neuron():
    """Six synapses that one method alone has right: of six neurons, of three, and of one."""
    rows = table("avan", *[((1, 2), "assigned", True)] * 6)
    for neurons in (6, 3, 1):
        posts = (np.arange(6) % neurons).astype(np.uint64) + np.uint64(7)
        ours = rows.assign(true_post_segment_id=posts, post_segment_id=posts)
        ours = ours.assign(true_pre_segment_id=np.arange(6) + 90, pre_segment_id=np.arange(6) + 90)
        theirs = ours.assign(method="mask_pruner", post_segment_id=1)
        found = pairwise(pd.concat([ours, theirs])).iloc[0]
        assert (found["only_a"], found["only_b"]) == (6, 0)
        assert found["p"] == pytest.approx(min(1, 2 * binom.cdf(0, neurons, 0.5)))


def test_accuracy_at_coverage_keeps_the_largest_margins():
    found = at_coverage(AVAN.sample(frac=1, random_state=0), (0.25, 0.5, 1.0), 0.95).set_index("coverage")
    assert found["n"].tolist() == [2, 4, 7]
    assert found["value"].tolist() == pytest.approx([1, 2 / 4, 2 / 7])
    assert found["margin"].tolist() == pytest.approx(np.linspace(0.9, 0.1, 7)[[1, 3, 6]])
    unassigned = AVAN.assign(margin=AVAN["margin"].where(AVAN["synapse_id"] != 1))
    assert at_coverage(unassigned, (6 / 7,), 0.95)["value"].item() == pytest.approx(1 / 6), "without a margin, last"


def test_tables_that_cannot_be_scored_are_refused():
    with pytest.raises(PredictionsError, match=r"same synapses; some lack \[7\]"):
        pairwise(pd.concat([AVAN, FLOOR.iloc[:6]]))
    with pytest.raises(PredictionsError, match="no true partners"):
        outcome(AVAN.assign(true_pre_segment_id=np.uint64(0)))
    with pytest.raises(PredictionsError, match="occur twice"):
        outcome(pd.concat([AVAN, AVAN]))
