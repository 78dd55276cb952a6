"""Units: the facts of MICrONS, and conversions that survive floating point."""

import numpy as np
import pytest

from pipeline import space


def test_published_position_is_the_expected_em_voxel():
    """minnie65: an annotation at 4x4x40 nm lies at half its x and y in the 8x8x40 nm image, z unchanged."""
    voxel = space.EM.to_vx(space.ANNOTATION.to_nm((240640, 207872, 21360)))
    assert voxel.tolist() == [120320, 103936, 21360]
    assert space.ANNOTATION.to_nm((240640, 207872, 21360)).tolist() == [962560.0, 831488.0, 854400.0]


def test_taking_voxels_for_nanometres_lands_elsewhere():
    """The units fault of the prior work: 4x4x40 voxels read as nm put 32 sections 40 sections apart."""
    position = np.array([240640, 207872, 21360])
    right = space.EM.to_vx(space.ANNOTATION.to_nm(position))
    assert np.all(np.abs(space.EM.to_vx(position) - right) > 10_000)


@pytest.mark.parametrize("resolution", [(8.0, 8.0, 40.0), (6.0, 6.0, 30.0), (3.7, 3.7, 29.3), (0.1, 0.3, 0.7)])
def test_voxels_survive_the_round_trip_through_nanometres(resolution):
    frame = space.VoxelFrame(resolution)
    voxels = np.random.default_rng(0).integers(-(10**6), 10**6, size=(1000, 3))
    np.testing.assert_array_equal(frame.to_vx(frame.to_nm(voxels)), voxels)


def test_a_position_belongs_to_the_voxel_that_covers_it():
    frame = space.VoxelFrame((8.0, 8.0, 40.0))
    assert frame.to_vx([15.99, 16.0, 79.9]).tolist() == [1, 2, 1]
    assert frame.to_vx([-0.5, 0.0, -40.0]).tolist() == [-1, 0, -1]


@pytest.mark.parametrize("resolution", [(8, 8), (8, 8, 0), (8, -8, 40)])
def test_a_frame_needs_three_positive_sizes(resolution):
    with pytest.raises(ValueError, match="three positive sizes in nm"):
        space.VoxelFrame(resolution)
