"""The queue of disagreements: who comes first, how they differ, and that a reader cannot tell the methods apart."""

import itertools

import numpy as np
import pandas as pd
import pytest

from pipeline.partners import disagreement

BIG = 2**63  # one more or less is lost in a float


def rows(*clefts):
    """A table of `(cleft_id, first pair, second pair, margin)`."""
    table = pd.DataFrame({"cleft_id": [cleft[0] for cleft in clefts], "avan_margin": [cleft[3] for cleft in clefts]})
    for place, method in ((1, "avan"), (2, "pruner")):
        for side, name in enumerate(("pre", "post")):
            table[f"{method}_{name}"] = np.array([cleft[place][side] for cleft in clefts], dtype=np.uint64)
    return table.assign(x_nm=0.0, y_nm=0.0, z_nm=0.0)


def test_disagreements_come_first_and_the_most_doubtful_before_the_others():
    found = disagreement.queue(
        rows(
            (1, (5, 6), (5, 6), 0.01),
            (2, (5, 6), (6, 5), 0.30),
            (3, (BIG, 6), (BIG + 1, 6), 0.20),
            (4, (0, 0), (5, 6), np.nan),
            (5, (5, 6), (0, 0), 0.90),
            (6, (0, 0), (0, 0), np.nan),
            (7, (5, 6), (5, 6), 0.50),
        )
    )
    assert list(zip(found["cleft_id"], found["disagreement"], strict=True)) == [
        (4, "no pair"),
        (3, "other partner"),
        (2, "reversed"),
        (5, "no pair"),
        (6, ""),
        (1, ""),
        (7, ""),
    ]


def test_against_the_rule_spelt_out_on_all_pairs_of_pairs():
    """Every combination of pairs among three segments and none, sorted by plain Python."""
    pairs = [(0, 0), *itertools.permutations((BIG, BIG + 1, BIG + 2), 2)]
    margins = np.random.default_rng(0).permutation(len(pairs) ** 2) / 100
    clefts = [(n, *both, margins[n]) for n, both in enumerate(itertools.product(pairs, pairs))]
    expected = sorted(clefts, key=lambda cleft: (cleft[1] == cleft[2], cleft[3]))
    found = disagreement.queue(rows(*clefts[::-1]))
    assert found["cleft_id"].tolist() == [cleft[0] for cleft in expected]
    for (_, first, second, _), how in zip(expected, found["disagreement"], strict=True):
        if first == second:
            assert how == ""
        elif (0, 0) in (first, second):
            assert how == "no pair"
        else:
            assert how == ("reversed" if first == second[::-1] else "other partner")


def test_ids_that_were_floats_once_are_refused():
    table = rows((1, (5, 6), (6, 5), 0.3)).astype({"pruner_pre": float})
    with pytest.raises(ValueError, match="pruner_pre holds float64"):
        disagreement.queue(table)


def test_proposals_are_blinded_and_can_be_unblinded():
    clefts = [(n, (BIG + 2 * n, BIG + 2 * n + 1), (BIG + 2 * n + 1, BIG + 2 * n), n / 1000) for n in range(400)]
    queued = disagreement.queue(rows(*clefts, (999, (5, 6), (5, 6), 0.0)))
    items = disagreement.blinded(queued, seed=1)
    assert items["cleft_id"].tolist() == list(range(400)), "only disagreements, in the queue's order"
    first = items["a_method"] == "avan"
    assert 150 < first.sum() < 250, "either method is A about as often"
    for item, (_, avan, pruner, _) in zip(items.itertuples(), clefts, strict=True):
        given = {item.a_method: (item.a_pre, item.a_post), item.b_method: (item.b_pre, item.b_post)}
        assert given == {"avan": avan, "pruner": pruner}
    pd.testing.assert_frame_equal(items, disagreement.blinded(queued, seed=1))
