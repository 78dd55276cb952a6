"""Segments beside a cleft, against a brute-force count of distances."""

import numpy as np
import pytest

from pipeline.partners.candidates import grown, segments_near

VOXEL_NM = (16.0, 16.0, 40.0)


def brute_force(segments, cleft, voxel_nm, dilation_nm):
    """Every voxel against every cleft voxel, one pair at a time."""
    cleft_vx = np.argwhere(cleft)
    counts = {}
    for voxel in np.argwhere(segments != 0):
        offsets = cleft_vx - voxel
        offsets = offsets[abs(offsets[:, 0]) <= 1]
        distances = np.sqrt((offsets**2 * np.square(voxel_nm[::-1])).sum(1))
        if (distances <= dilation_nm).any():
            number = segments[tuple(voxel)]
            counts[number] = counts.get(number, 0) + 1
    return counts


@pytest.mark.parametrize("voxel_nm", [VOXEL_NM, (12.0, 12.0, 30.0), (8.0, 10.0, 100.0)])
@pytest.mark.parametrize("dilation_nm", [20.0, 50.0, 80.0])
def test_equals_brute_force(voxel_nm, dilation_nm):
    rng = np.random.default_rng(3)
    segments = rng.integers(0, 9, (6, 24, 22)).astype(np.uint16)
    cleft = np.zeros(segments.shape, bool)
    cleft[2:4, 9:12, 5:8] = rng.random((2, 3, 3)) < 0.6
    numbers, counts = segments_near(segments, cleft, voxel_nm, dilation_nm)
    assert dict(zip(numbers, counts, strict=True)) == brute_force(segments, cleft, voxel_nm, dilation_nm)
    assert list(numbers) == sorted(numbers)
    assert 0 not in numbers


def test_grows_by_one_section_at_most_and_not_into_thick_ones():
    cleft = np.zeros((7, 9, 9), bool)
    cleft[3, 4, 4] = True
    assert list(np.flatnonzero(grown(cleft, VOXEL_NM, 500.0).any((1, 2)))) == [2, 3, 4]
    assert list(np.flatnonzero(grown(cleft, (16.0, 16.0, 90.0), 80.0).any((1, 2)))) == [3]


def test_nothing_is_near_an_empty_mask_or_in_the_background():
    segments = np.ones((3, 5, 5), np.uint16)
    cleft = np.zeros(segments.shape, bool)
    assert [len(part) for part in segments_near(segments, cleft, VOXEL_NM, 80.0)] == [0, 0]
    cleft[1, 2, 2] = True
    assert [len(part) for part in segments_near(0 * segments, cleft, VOXEL_NM, 80.0)] == [0, 0]


def test_arrays_on_two_grids_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        segments_near(np.ones((3, 5, 5), np.uint16), np.ones((3, 5, 6), bool), VOXEL_NM, 80.0)
