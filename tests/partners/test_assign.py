"""One pair a cleft: against all ordered pairs tried one by one, and every outcome without a pair."""

import itertools

import numpy as np
import pandas as pd
import pytest

from pipeline.partners.assign import (
    Decision,
    assignments,
    avan_scores,
    decide,
    direction_right,
    mean_outputs,
    no_pair,
)

BIG = 2**63 + 1  # neither this nor its neighbours can be written as a float


@pytest.mark.parametrize("seed", range(5))
def test_avan_takes_the_best_of_all_ordered_pairs(seed):
    rng = np.random.default_rng(seed)
    segments = rng.choice(np.array([0, 2, 3, 7, 900], np.uint16), (3, 8, 8))
    outputs = rng.random((2, 3, 8, 8)).astype(np.float32)
    numbers = np.array([2, 3, 7, 900], np.uint16)
    decision = decide(numbers, avan_scores(mean_outputs(outputs, segments, numbers)), at_edge=False)

    by_hand = {}
    for pre, post in itertools.permutations(numbers.tolist(), 2):
        means = [float(outputs[side][segments == n].astype(float).mean()) for side, n in enumerate((pre, post))]
        by_hand[pre, post] = sum(means) / 2
    ranked = sorted(by_hand.items(), key=lambda item: -item[1])
    assert (decision.pre, decision.post) == ranked[0][0]
    assert decision.confidence == pytest.approx(ranked[0][1])
    assert decision.margin == pytest.approx(ranked[0][1] - ranked[1][1])
    assert decision.outcome == "assigned"


def test_partners_are_distinct_even_where_one_segment_leads_on_both_sides():
    means = np.array([[0.9, 0.8, 0.1], [0.95, 0.1, 0.2]])  # the first segment leads as pre and as post
    decision = decide([4, 5, 6], avan_scores(means), at_edge=False)
    assert (decision.pre, decision.post) == (5, 4)  # 0.8 + 0.95 beats 0.9 + 0.2


def test_the_margin_to_the_reversed_pair_counts():
    means = np.array([[0.9, 0.85], [0.85, 0.9]])
    decision = decide([1, 2], avan_scores(means), at_edge=False)
    assert (decision.pre, decision.post, decision.margin) == (1, 2, pytest.approx(0.05))


def test_a_cut_cleft_gets_a_pair_and_says_that_it_is_cut():
    inside, cut = (decide([1, 2], [0.4, 0.9], at_edge=at_edge) for at_edge in (False, True))
    assert (inside.outcome, cut.outcome) == ("assigned", "assigned_at_edge")
    assert (inside.pre, inside.post, inside.margin) == (cut.pre, cut.post, cut.margin) == (2, 1, 0.5)


def test_clefts_without_a_pair():
    cleft = np.ones((1, 2, 2), bool)
    assert no_pair("", cleft, [1, 2]) is None
    assert no_pair("", cleft, [1]) == "one_segment"
    assert no_pair("", cleft, []) == "no_segment"
    assert no_pair("", ~cleft, []) == "empty_mask"
    assert no_pair("frame_mismatch", ~cleft, []) == "frame_mismatch"


@pytest.mark.parametrize("scores", [[0.5], [0.5, np.nan], [0.5, 1.5], [0.1, 0.2, 0.3]])
def test_scores_that_do_not_fit_are_refused(scores):
    with pytest.raises(ValueError, match="2 candidates need 2"):
        decide([1, 2], scores, at_edge=False)


def test_a_candidate_outside_of_the_patch_is_refused():
    with pytest.raises(ValueError, match=r"\[9\] have no voxel"):
        mean_outputs(np.ones((2, 1, 2, 2)), np.ones((1, 2, 2), np.uint16), [1, 9])


def test_direction_of_the_true_pair_is_judged_whatever_was_chosen():
    decision = decide([1, 2, 3], [0.3, 0.9, 0.2, 0.0, 0.0, 0.0], at_edge=False)
    assert (decision.pre, decision.post) == (1, 3)
    assert direction_right(decision, 1, 2) is True
    assert direction_right(decision, 2, 1) is False
    assert direction_right(decision, 3, 2) is False  # equal scores know nothing
    assert direction_right(decision, 1, 8) is None
    assert direction_right(Decision("one_segment"), 1, 2) is None


@pytest.fixture
def store():
    """Two clefts whose segments have ids that floats would confuse."""
    index = pd.DataFrame({"row": [0, 1, 2], "synapse_id": [11, 12, 13]})
    index["pre_segment_id"] = np.array([BIG, BIG, 0], np.uint64)
    index["post_segment_id"] = np.array([BIG + 1, BIG + 1, 0], np.uint64)
    index["pre_local"], index["post_local"] = [1, 2, 0], [2, 1, 0]
    segments = pd.DataFrame({"row": [0, 0, 0, 1, 1], "local": np.array([1, 2, 3, 1, 2], np.uint16)})
    segments["segment_id"] = np.array([BIG, BIG + 1, BIG + 2, BIG + 1, BIG], np.uint64)
    return index, segments


def test_large_ids_survive_parquet_exactly(store, tmp_path):
    decisions = {
        1: decide([1, 2], [0.9, 0.4], at_edge=False),
        0: decide([1, 2, 3], [0.1, 0.8, 0.0, 0.0, 0.0, 0.0], at_edge=True),
        2: Decision("no_segment"),
    }
    path = tmp_path / "assignments.parquet"
    assignments("avan", decisions, *store).to_parquet(path, index=False)
    table = pd.read_parquet(path)
    assert table["synapse_id"].tolist() == [12, 11, 13]
    assert table["pre_segment_id"].tolist() == [BIG + 1, BIG, 0]
    assert table["post_segment_id"].tolist() == [BIG, BIG + 2, 0]
    assert table["true_post_segment_id"].tolist() == [BIG + 1, BIG + 1, 0]
    assert {str(table[column].dtype) for column in table if column.endswith("segment_id")} == {"uint64"}
    assert table["outcome"].tolist() == ["assigned", "assigned_at_edge", "no_segment"]
    assert table["direction_right"].tolist()[:2] == [False, True]
    assert table["direction_right"].isna().tolist() == [False, False, True]
    assert table["confidence"].tolist()[:2] == [0.9, 0.8]
    assert np.isnan(table["margin"].iloc[2])
