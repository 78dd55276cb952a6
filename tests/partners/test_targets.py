"""Targets against distances found by brute force over all pairs of voxels, and the published formulas."""

import numpy as np
import pytest

from pipeline.partners import targets

VOXEL_NM = (16.0, 12.0, 40.0)  # XYZ, all different
SHAPE = (4, 9, 10)


@pytest.fixture
def labels():
    """(cleft, segments): an own cleft 1 in the middle, another one 2 in a corner; segments 1, 2 on either side."""
    cleft = np.zeros(SHAPE, np.uint8)
    cleft[1:3, 3:6, 4:6] = 1
    cleft[0, 8, 9] = 2
    segments = np.ones(SHAPE, int)
    segments[:, :, 5:] = 2
    segments[:, 0] = 7
    segments[3, 8, 0] = 0
    return cleft, segments


def brute(mask):
    """Distance in nm of each voxel's centre to the nearest voxel of the mask."""
    scale = np.array(VOXEL_NM[::-1])
    places, goals = np.indices(SHAPE).reshape(3, -1).T * scale, np.argwhere(mask) * scale
    return np.linalg.norm(places[:, None] - goals[None], axis=2).min(axis=1).reshape(SHAPE)


def test_stdt_is_the_tanh_of_the_distance_to_the_border_over_50_nm(labels):
    inside = labels[0] > 0
    expected = np.where(inside, np.tanh(brute(~inside) / 50), -np.tanh(brute(inside) / 50))
    np.testing.assert_allclose(targets.stdt(inside, VOXEL_NM), expected, rtol=1e-12)


def test_signed_proximity_is_the_published_one(labels):
    """exp(-d^2 / 2 sigma^2) (2 / (1 + exp(-5 d)) - 1) with sigma 50 nm and d positive on the presynaptic side."""
    cleft, segments = labels
    near = targets.nearness(cleft == 1, VOXEL_NM)
    found = targets.signed_proximity(near, segments == 1, segments == 2)
    d = brute(cleft == 1) * ((segments == 1).astype(int) - (segments == 2))
    expected = np.exp(-(d**2) / (2 * 50**2)) * (2 / (1 + np.exp(-5 * d)) - 1)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(targets.signed_proximity(near, segments == 2, segments == 1), -found)


def test_far_from_every_cleft_targets_are_at_their_floor():
    empty, voxels = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert (targets.stdt(empty, VOXEL_NM) == -1).all()
    assert (targets.stdt(voxels, VOXEL_NM) == 1).all()
    assert (targets.signed_proximity(targets.nearness(empty, VOXEL_NM), voxels, empty) == 0).all()


def test_detectors_are_taught_all_clefts_where_labels_are_known(labels):
    cleft, segments = labels
    for representation, expected in (("mask", cleft > 0), ("stdt", targets.stdt(cleft > 0, VOXEL_NM))):
        target, known = targets.detection(representation, cleft, segments, 1, 2, VOXEL_NM)
        np.testing.assert_array_equal(target, expected)
        np.testing.assert_array_equal(known, segments > 0)
    segments[cleft > 0] = 0  # clefts between segments
    assert targets.detection("mask", cleft, segments, 1, 2, VOXEL_NM)[1][cleft > 0].all()


def test_the_sides_of_another_cleft_are_unknown_within_its_reach(labels):
    cleft, segments = labels
    target, known = targets.detection("proximity", cleft, segments, 1, 2, VOXEL_NM)
    own, other = brute(cleft == 1), brute(cleft == 2)
    np.testing.assert_array_equal(known, (segments > 0) & ((other > 150) | (own < other)))
    assert 0 < known.sum() < known.size - 1
    assert (target[segments == 7] == 0).all()
    assert target[1, 4, 3] > 0 > target[1, 4, 6]
    background, known = targets.detection("proximity", np.where(cleft == 1, 0, cleft), segments, 0, 0, VOXEL_NM)
    assert (background == 0).all()
    np.testing.assert_array_equal(known, (segments > 0) & (other > 150))
