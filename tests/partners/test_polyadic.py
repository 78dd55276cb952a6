"""Divided synapses: what must not change, what must face the cleft; and the choice of partners against sklearn."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

from pipeline.partners.candidates import segments_near
from pipeline.partners.polyadic import (
    FACING_NM,
    FACING_SHARE,
    Undividable,
    best_f1_threshold,
    choose,
    divide,
    precision_recall,
    scored,
)

VOXEL_NM = (16.0, 16.0, 40.0)
BIG = 2**63
PRE, POST, LEFT, RIGHT = 1, 2, 3, 4


@pytest.fixture
def sample():
    """A bouton above a spine, a neurite on each side; dark borders in noise; the cleft 400 nm wide in 5 sections."""
    segments = np.empty((9, 48, 48), np.uint16)
    segments[:, :24], segments[:, 24:] = PRE, POST
    segments[:, :, :8], segments[:, :, 40:] = LEFT, RIGHT
    em = np.random.default_rng(0).normal(170, 8, segments.shape)
    for z, y, x in zip(*np.nonzero(ndimage.morphological_gradient(segments, (1, 3, 3))), strict=True):
        em[z, y, x] -= 80
    cleft = np.zeros(segments.shape, bool)
    cleft[2:7, 23:25, 12:37] = True
    return np.clip(em, 0, 255).astype(np.uint8), cleft, segments


def divided(sample, seed):
    return divide(*sample, POST, VOXEL_NM, np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(8))
def test_only_the_postsynaptic_profile_is_divided_and_every_part_faces_the_cleft(sample, seed):
    em, cleft, segments = sample
    _, parts, posts = divided(sample, seed)
    assert 2 <= len(posts) <= 4
    assert posts[0] == POST
    assert min(posts[1:]) > segments.max()
    assert (parts[segments != POST] == segments[segments != POST]).all()
    assert set(np.unique(parts[segments == POST])) == set(posts)
    numbers, overlaps = segments_near(parts, cleft, VOXEL_NM, FACING_NM)
    of_post = {n: k for n, k in zip(numbers.tolist(), overlaps.tolist(), strict=True) if n in posts}
    assert set(of_post) == set(posts)
    assert min(of_post.values()) >= FACING_SHARE * sum(of_post.values())


def test_all_numbers_of_partners_occur_and_the_seed_decides(sample):
    assert {len(divided(sample, seed)[2]) for seed in range(20)} == {2, 3, 4}
    for a, b in zip(divided(sample, 3), divided(sample, 3), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(4))
def test_new_borders_are_as_dark_as_old_ones_and_the_rest_is_untouched(sample, seed):
    em, _, segments = sample
    drawn, parts, _ = divided(sample, seed)
    assert drawn.dtype == np.uint8
    before, after = (ndimage.morphological_gradient(numbers, (1, 3, 3)) > 0 for numbers in (segments, parts))
    inside = after & ~ndimage.binary_dilation(before, iterations=3)
    cross = ndimage.generate_binary_structure(2, 1)[None]
    touching = inside & (
        ndimage.minimum_filter(parts, footprint=cross) != ndimage.maximum_filter(parts, footprint=cross)
    )
    assert drawn[touching].mean() == pytest.approx(em[before].mean(), abs=15)
    assert (drawn <= em).all()
    far = ndimage.distance_transform_edt(~after, sampling=VOXEL_NM[::-1]) > 60
    np.testing.assert_array_equal(drawn[far], em[far])


def test_the_original_is_left_as_it_was(sample):
    copies = [part.copy() for part in sample]
    divided(sample, 0)
    for part, copy in zip(sample, copies, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_a_branch_away_from_the_cleft_keeps_its_number(sample):
    em, cleft, segments = sample
    segments[:, 2:5, 42:46] = POST
    _, parts, _ = divided(sample, 1)
    assert (parts[:, 2:5, 42:46] == POST).all()


def test_a_synapse_that_cannot_be_divided_is_refused(sample):
    em, cleft, segments = sample
    speck = np.zeros_like(cleft)
    speck[4, 23, 20] = True
    with pytest.raises(Undividable):
        divide(em, speck, segments, POST, VOXEL_NM, np.random.default_rng(0))
    with pytest.raises(Undividable, match="does not reach"):
        divide(em, cleft, np.where(segments == POST, PRE, segments), POST, VOXEL_NM, np.random.default_rng(0))


def test_rows_of_a_cleft_hold_every_true_partner_once():
    means = np.array([[0.1, 0.9, 0.2, 0.1], [0.8, 0.7, 0.1, 0.6]])  # the second is the presynaptic one
    rows = scored(7, "test", [BIG + 1, BIG + 2, BIG + 3, BIG + 4], means, [BIG + 1, BIG + 2, BIG + 9])
    assert rows["segment_id"].dtype == np.uint64
    assert rows["segment_id"].tolist() == [BIG + 1, BIG + 3, BIG + 4, BIG + 2, BIG + 9]
    assert rows["is_post"].tolist() == [True, False, False, True, True]
    assert rows["score"].tolist()[:3] == [0.8, 0.1, 0.6]
    assert rows["score"].isna().tolist() == [False, False, False, True, True]
    assert scored(7, "test", [], np.zeros((2, 0)), [BIG])["is_post"].tolist() == [True]


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_has_the_best_f1_of_all(seed):
    rng = np.random.default_rng(seed)
    is_post = rng.random(200) < 0.4
    score = np.round(np.clip(rng.normal(0.4 + 0.25 * is_post, 0.2), 0, 1), 2)
    precision, recall, _ = precision_recall_curve(is_post, score)
    best = (2 * precision * recall / (precision + recall)).max()
    chosen = score >= best_f1_threshold(score, is_post)
    p, r = precision_score(is_post, chosen), recall_score(is_post, chosen)
    assert 2 * p * r / (p + r) == pytest.approx(best)


def test_missed_candidates_lower_recall_and_the_test_region_has_no_say():
    val = scored(1, "val", [1, 2, 3, 4], np.array([[0.9, 0, 0, 0], [0, 0.8, 0.6, 0.2]]), [2, 3])
    test = scored(2, "test", [5, 6, 7], np.array([[0.9, 0, 0], [0, 0.5, 0.3]]), [6, 7, 8])
    table = choose(pd.concat([val, test], ignore_index=True))
    assert table["chosen"].tolist() == (table["score"] > 0.4).tolist()
    measured = precision_recall(table).set_index("region")
    assert measured.loc["val", ["precision", "recall", "f1"]].tolist() == [1, 1, 1]
    assert measured.loc["test", ["n_true", "n_chosen", "n_right"]].tolist() == [3, 1, 1]
    assert measured.loc["test", "recall"] == pytest.approx(1 / 3)


def test_no_true_partner_no_threshold():
    with pytest.raises(ValueError, match="needs scores"):
        best_f1_threshold([0.5, np.nan], [False, True])
