"""Profiles across a junction whose grey levels are known column by column."""

import numpy as np
import pandas as pd
import pytest
from cloudvolume import CloudVolume

from pipeline.extract import junction

PRE, POST = 2**53 + 1, 2**53 + 2  # ids that floats cannot tell apart


def _volume(folder, values_xyz, kind):
    info = CloudVolume.create_new_info(
        1, kind, str(values_xyz.dtype), "raw", (8, 8, 40), (0, 0, 0), values_xyz.shape, chunk_size=(64, 64, 4)
    )
    volume = CloudVolume(f"file://{folder}", info=info, compress=False, progress=False)
    volume.commit_info()
    volume[:] = values_xyz[..., None]
    return f"precomputed://file://{folder}"


@pytest.mark.parametrize("gap", [0, 4])
def test_the_profile_is_that_of_the_columns_whether_or_not_membranes_are_labelled(tmp_path, gap):
    """The plane between the partners lies at x = 64; a column's middle is (x + 0.5 - 64) * 8 nm from it."""
    size = (128, 128, 4)
    column = np.random.default_rng(0).integers(60, 200, size[0]).astype(np.uint8)
    em = np.broadcast_to(column[:, None, None], size).copy()
    x = np.broadcast_to(np.arange(size[0])[:, None, None], size)
    segments = np.select([x < 64 - gap // 2, x >= 64 + gap // 2], [np.uint64(PRE), np.uint64(POST)], np.uint64(0))
    paths = _volume(tmp_path / "em", em, "image"), _volume(tmp_path / "segments", segments, "segmentation")
    place = {"center_x_nm": [64 * 8.0], "center_y_nm": [64 * 8.0], "center_z_nm": [80.0]}
    table = pd.DataFrame(place).assign(pre_segment_id=PRE, post_segment_id=POST, label=1)
    outside = table.assign(center_x_nm=1e6)

    found = junction.profiles(pd.concat([table, outside]), *paths).set_index("distance_nm")["grey"]

    patch = column[64 - 40 : 64 + 40].astype(float)  # 80 pixels about the synapse, equal in all rows
    low, median, high = np.percentile(np.repeat(patch, 80), [1, 50, 99])
    for distance in (-84.0, -36.0, 36.0, 84.0):
        expected = (column[int(distance / 8 + 64 - 0.5)] - median) / (high - low)
        assert found[distance] == pytest.approx(expected), distance

    swapped = junction.profiles(
        table.rename(columns={"pre_segment_id": "post_segment_id", "post_segment_id": "pre_segment_id"}), *paths
    )
    mirrored = swapped.set_index("distance_nm")["grey"]
    assert mirrored[-84.0] == pytest.approx(found[84.0])


def test_partners_that_do_not_touch_have_no_profile(tmp_path):
    size = (128, 128, 4)
    em = np.random.default_rng(0).integers(60, 200, size).astype(np.uint8)
    segments = np.full(size, PRE, np.uint64)
    paths = _volume(tmp_path / "em", em, "image"), _volume(tmp_path / "segments", segments, "segmentation")
    table = pd.DataFrame({"center_x_nm": [512.0], "center_y_nm": [512.0], "center_z_nm": [80.0]})
    assert junction.profiles(table.assign(pre_segment_id=PRE, post_segment_id=POST, label=0), *paths).empty
