"""Where clefts are predicted, and which true ones they are: against thresholds and voxels taken one at a time."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from pipeline.partners.candidates import grown
from pipeline.partners.detections import REACH_NM, SHARED, cleft_scores, matches, overlaps

VOXEL_NM = (16.0, 16.0, 40.0)
BIG = 2**63 + 1


def sheet(axis, shape=(9, 24, 24)):
    """Signed proximity of a cleft across the middle of an axis: +1 before, -1 behind, falling off over 60 nm."""
    place_nm = (np.indices(shape)[axis] - shape[axis] // 2 + 0.5) * VOXEL_NM[::-1][axis]
    return -np.sign(place_nm) * np.exp(-abs(place_nm) / 60)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_proximity_finds_the_sheet_between_its_sides(axis):
    values = sheet(axis)
    found = cleft_scores(values, "proximity", VOXEL_NM) >= 0.5
    place = np.unique(np.nonzero(found)[axis])
    middle = values.shape[axis] // 2
    assert place.min() <= middle - 1
    assert middle <= place.max()  # both sides of the zero crossing
    assert np.ptp(place) * VOXEL_NM[::-1][axis] <= 80
    assert ndimage.label(found, np.ones((3, 3, 3)))[1] == 1


@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (12.0, 12.0, 30.0), (30.0, 8.0, 50.0)])
def test_a_proximity_score_is_the_threshold_up_to_which_both_sides_are_near(voxel_nm):
    """For each threshold by itself, both sides are grown as `candidates` grows clefts, by the same ball."""
    values = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(6, 16, 14)), 1)
    scores = cleft_scores(values, "proximity", voxel_nm)
    for threshold in (0.05, 0.1, 0.2):
        near = [grown(side, voxel_nm, REACH_NM) for side in (values >= threshold, values <= -threshold)]
        np.testing.assert_array_equal(scores >= threshold, near[0] & near[1])


def test_a_side_without_the_other_is_no_cleft():
    values = sheet(2)
    assert cleft_scores(np.maximum(values, 0), "proximity", VOXEL_NM).max() <= 0
    assert cleft_scores(np.minimum(values, 0), "proximity", VOXEL_NM).max() <= 0


@pytest.mark.parametrize("representation", ["mask", "stdt"])
def test_mask_and_stdt_are_their_own_scores(representation):
    values = np.array([[[-0.5, 0.0, 0.2, 0.9]]])
    np.testing.assert_array_equal(cleft_scores(values, representation, VOXEL_NM), values)


def test_input_that_means_nothing_is_refused():
    with pytest.raises(ValueError, match="no representation 'cleft'"):
        cleft_scores(np.zeros((1, 1, 1)), "cleft", VOXEL_NM)
    with pytest.raises(ValueError, match="two grids"):
        overlaps(np.zeros((1, 2, 2), np.uint16), np.zeros((1, 2, 3), np.uint64))


def test_overlaps_equal_a_count_voxel_by_voxel_and_keep_64_bits():
    rng = np.random.default_rng(8)
    predicted = rng.integers(0, 4, (4, 9, 9)).astype(np.uint16)
    true = rng.choice(np.array([0, 7, BIG, BIG + 1], np.uint64), predicted.shape)
    counts = {}
    for pair in zip(predicted.ravel().tolist(), true.ravel().tolist(), strict=True):
        if all(pair):
            counts[pair] = counts.get(pair, 0) + 1
    table = overlaps(predicted, true)
    assert {(c, t): n for c, t, n in table.itertuples(index=False)} == counts
    assert table["synapse_id"].dtype == np.uint64


def line(*lengths):
    """A row of runs: `(number, voxels)`, as a volume of one line."""
    return np.concatenate([np.full(n, number, np.uint64) for number, n in lengths])[None, None]


def matched(predicted, true):
    sizes = [
        dict(zip(*(part.tolist() for part in np.unique(v, return_counts=True)), strict=True)) for v in (predicted, true)
    ]
    table = matches(overlaps(predicted, true), *({k: n for k, n in size.items() if k} for size in sizes))
    return [tuple(row) for row in table[["cleft_id", "synapse_id", "partners"]].itertuples(index=False)]


def test_pieces_and_mergers_leave_one_partner_each():
    pieces = matched(line((1, 30), (0, 5), (2, 20)), line((BIG, 55)))
    assert pieces == [(1, BIG, True), (2, BIG, False)]
    merger = matched(line((1, 70)), line((BIG, 20), (0, 10), (BIG + 1, 40)))
    assert merger == [(1, BIG + 1, True), (1, BIG, False)]


def test_a_touch_is_no_match():
    few = int(SHARED * 100) - 1
    assert matched(line((0, 100 - few), (1, 100)), line((5, 100), (0, 100 - few))) == []
    enough = few + 1
    assert matched(line((0, 100 - enough), (1, 100)), line((5, 100), (0, 100 - enough))) == [(1, 5, True)]


def test_partners_are_one_to_one_and_none_is_left_that_could_pair():
    rng = np.random.default_rng(2)
    predicted, true = (rng.integers(0, 6, (6, 12, 12)).astype(np.uint64) for _ in range(2))
    table = matched(predicted, true)
    assert len(table) > 10
    pairs = [(c, s) for c, s, partners in table if partners]
    assert all(a[side] != b[side] for a, b in itertools.combinations(pairs, 2) for side in (0, 1))
    assert all(any(c == a or s == b for a, b in pairs) for c, s, _ in table)
