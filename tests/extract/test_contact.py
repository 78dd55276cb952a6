"""The contact zone beside a point: planes whose distance is known, and the true partners of real synapses."""

import numpy as np
import pandas as pd
import pytest

from pipeline.extract import contact
from pipeline.extract.volume import Volume

VOXEL = (8, 8, 40)  # XYZ nm
LEFT, RIGHT = 2**63 + 1, 2**63 + 2  # ids that no float tells apart


def slabs(membrane_vx=0, shape=(21, 120, 120)):
    """Two halves along X, `membrane_vx` voxels of 0 between them from X = 60 on."""
    x = np.indices(shape)[2]
    return np.where(x < 60, np.uint64(LEFT), np.where(x < 60 + membrane_vx, np.uint64(0), np.uint64(RIGHT)))


@pytest.mark.parametrize("membrane_vx", [0, 2, 4])
def test_two_halves_meet_in_a_disc_of_known_place_thickness_and_radius(membrane_vx):
    segments = slabs(membrane_vx)
    point = (10, 60, 56)
    zone = contact.contact_zone(segments, point, VOXEL)
    z, y, x = np.nonzero(zone)
    first, last = 60 - 1, 60 + membrane_vx  # the two faces; a voxel at x is (x - first) * 8 nm from the left half
    expected = [here for here in range(120) if max(here - first, 0) * 8 <= contact.REACH_NM >= max(last - here, 0) * 8]
    assert sorted(set(x)) == expected, "all voxels near both halves"
    distance = np.linalg.norm(np.stack([z - 10, y - 60, x - x.min()]) * np.array([40, 8, 8])[:, None], axis=0)
    assert 200 < distance.max() <= contact.RADIUS_NM
    disc = zone[:, :, expected[0]].sum() * 40 * 8
    assert disc == pytest.approx(np.pi * contact.RADIUS_NM**2, rel=0.1)


def test_ids_above_2_53_stay_apart():
    assert contact.nearest_segments(slabs(), (10, 60, 57), VOXEL).tolist() == [LEFT, RIGHT]
    assert contact.nearest_segments(slabs(), (10, 60, 62), VOXEL).tolist() == [RIGHT, LEFT]


def test_the_zone_is_of_the_nearest_pair_only():
    """A third segment behind the right half touches it, but not beside the point."""
    segments = slabs()
    segments[:, :, 70:] = 5
    zone = contact.contact_zone(segments, (10, 60, 58), VOXEL)
    assert zone.any()
    assert not zone[segments == 5].any()


def test_a_second_contact_of_the_same_pair_is_not_part_of_the_zone():
    """The same pair meets again 96 nm away, with a process of another cell between: another zone, another synapse."""
    segments = np.full((21, 120, 120), np.uint64(LEFT))
    segments[:, 50:66, 60:] = RIGHT
    segments[:, 66:78, 60:] = 7
    segments[:, 78:94, 60:] = RIGHT
    segments[:, :, 90:] = 7
    zone = contact.contact_zone(segments, (10, 58, 58), VOXEL)
    assert zone[10, 50:66, 58].any()
    assert not zone[10, 72:].any()


@pytest.mark.parametrize("point", [(10, 60, 20), (10, 60, 100)])
def test_a_point_deep_inside_a_segment_has_no_zone(point):
    assert not contact.contact_zone(slabs(), point, VOXEL).any()


def test_halves_too_far_apart_do_not_touch():
    assert not contact.contact_zone(slabs(membrane_vx=18), (10, 60, 69), VOXEL).any()


def test_voxels_coarser_than_a_cleft_still_give_a_zone():
    segments = slabs(shape=(20, 20, 120))[:, :, 50:70]
    zone = contact.contact_zone(segments, (10, 10, 8), (64, 64, 64))
    assert sorted(set(np.nonzero(zone)[2])) == [9, 10]


def test_real_points_find_their_true_partners(real_data):
    """Kasthuri AC3, whose membranes are labelled 0: the pair beside each of the 71 points is the true one."""
    folder = real_data / "kasthuri_ac3"
    segmentation = Volume(f"precomputed://file://{folder.resolve()}/segmentation", (0.0,) * 3, ("uint32", "uint64"))
    synapses = pd.read_csv(folder / "synapses.csv")
    reach = np.ceil(contact.NEAR_NM / np.array(segmentation.frame.resolution_nm)).astype(int)
    low, high = segmentation.bounds_vx
    for row in synapses.itertuples():
        point = np.array([row.x_vx, row.y_vx, row.z_vx])
        labels, corner = segmentation.read(np.maximum(point - reach, low), np.minimum(point + reach + 1, high))
        pair = contact.nearest_segments(np.asarray(labels), (point - corner)[::-1], segmentation.frame.resolution_nm)
        assert set(pair) == {row.pre_segment_id, row.post_segment_id}, row.synapse_id
