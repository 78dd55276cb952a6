"""Boxes around a point from volumes of different grids, against values computed from positions in nanometres."""

import numpy as np
import pytest

from pipeline.extract import surroundings
from pipeline.extract.volume import ArrayVolume, ExtractionError
from pipeline.space import VoxelFrame


def labelled(shape_zyx, voxel_nm, offset_vx):
    """A volume whose value tells the position of its own voxel: x + 1000 y + 1000000 z, in its grid."""
    z, y, x = (np.arange(size) + offset for size, offset in zip(shape_zyx, offset_vx[::-1], strict=True))
    labels = x[None, None] + 1000 * y[None, :, None] + 1_000_000 * z[:, None, None]
    return ArrayVolume(labels.astype(np.uint64), VoxelFrame(voxel_nm), np.array(offset_vx))


FINE = labelled((20, 60, 80), (8.0, 8.0, 40.0), (100, 200, 30))
COARSE = labelled((20, 30, 40), (16.0, 16.0, 40.0), (50, 100, 30))


def test_every_voxel_of_another_grid_is_the_one_that_holds_the_same_place():
    center_nm = (140.5 * 8, 230.5 * 8, 40.5 * 40)
    (fine, coarse), center = surroundings.around(FINE, [COARSE], center_nm, (160, 96, 200))
    assert fine.shape == coarse.shape == (2 * 2 + 1, 2 * 6 + 1, 2 * 10 + 1)
    assert fine[tuple(center)] == 140 + 1000 * 230 + 1_000_000 * 40
    x, y, z = fine % 1000, fine // 1000 % 1000, fine // 1_000_000
    np.testing.assert_array_equal(coarse, x // 2 + 1000 * (y // 2) + 1_000_000 * z)


def test_at_the_border_the_box_ends_and_the_centre_stays_the_point():
    (fine,), center = surroundings.around(FINE, [], (101 * 8.0, 201 * 8.0, 49 * 40.0), (160, 160, 400))
    assert fine.shape == (6, 12, 12)
    assert fine[tuple(center)] == 101 + 1000 * 201 + 1_000_000 * 49


def test_labels_end_where_their_volume_ends():
    short = labelled((20, 30, 20), (16.0, 16.0, 40.0), (50, 100, 30))
    (fine, coarse), _ = surroundings.around(FINE, [short], (140 * 8.0, 230 * 8.0, 40 * 40.0), (160, 96, 200))
    np.testing.assert_array_equal(coarse == 0, fine % 1000 >= 140)


def test_a_point_outside_is_an_error():
    with pytest.raises(ExtractionError, match="outside of the volume"):
        surroundings.around(FINE, [], (99 * 8.0, 230 * 8.0, 40 * 40.0), (80, 80, 80))
