"""Cheap rules on a scene made by hand: three slabs side by side, the cleft between the first two."""

import numpy as np
import pytest

from pipeline.partners.assign import decide
from pipeline.partners.candidates import segments_near
from pipeline.partners.rules import RULES

VOXEL_NM = (16.0, 16.0, 40.0)


@pytest.fixture
def scene():
    """Slabs 4 | 7 | 9 along X; 7 is thin, 4 dark; the cleft covers the last voxel of 4 and the first two of 7."""
    segments = np.full((5, 20, 24), 9, np.uint16)
    segments[..., :10], segments[..., 10:14] = 4, 7
    em = np.full(segments.shape, 160, np.uint8)
    em[segments == 4] = 100
    cleft = np.zeros(segments.shape, bool)
    cleft[1:4, 6:14, 9:12] = True
    return em, cleft, segments


def decided(rule, scene, rng=None, dilation_nm=80.0):
    em, cleft, segments = scene
    numbers, overlaps = segments_near(segments, cleft, VOXEL_NM, dilation_nm)
    scores = RULES[rule](em, cleft, segments, numbers, overlaps, VOXEL_NM, rng)
    return decide(numbers, scores, at_edge=False), dict(zip(numbers.tolist(), overlaps.tolist(), strict=True))


def test_largest_overlap_takes_the_two_largest_and_the_larger_as_post(scene):
    decision, overlaps = decided("largest_overlap", scene, dilation_nm=60.0)
    largest = sorted(overlaps, key=overlaps.get)[-2:]
    assert len(overlaps) == 3
    assert [decision.pre, decision.post] == largest


def test_darker_side_is_pre_whatever_the_numbers(scene):
    em, cleft, segments = scene
    assert (decided("darker_is_pre", scene)[0].pre, decided("darker_is_pre", scene)[0].post) == (4, 7)
    inverted = (255 - em, cleft, segments)
    decision, overlaps = decided("darker_is_pre", inverted)
    assert (decision.pre, decision.post) == (7, 4)
    assert len(overlaps) == 3
    assert decision.margin == pytest.approx((160 - 100) / 255 / 2)  # grey levels apart, half of the score


def test_the_dark_bystander_is_not_taken(scene):
    em, cleft, segments = scene
    em[segments == 9] = 20
    decision, _ = decided("darker_is_pre", scene)
    assert {decision.pre, decision.post} == {4, 7}


def test_random_direction_is_seeded_and_fair(scene):
    def pair(seed):
        decision, _ = decided("random_direction", scene, np.random.default_rng((0, seed)))
        return decision.pre, decision.post

    pairs = [pair(seed) for seed in range(60)]
    assert pairs == [pair(seed) for seed in range(60)]
    assert set(pairs) == {(4, 7), (7, 4)}
    assert 18 <= pairs.count((4, 7)) <= 42  # a fair coin leaves this range once in 600 tries
