"""Reading of sample stores: rows in any order, exact 64-bit ids, and errors for stores that contradict themselves."""

import numpy as np
import pandas as pd
import pytest
import toy_store as toy
import zarr

from pipeline.artefacts import read_json, write_json
from pipeline.partners.samples import Samples, SamplesError


@pytest.fixture
def store(tmp_path):
    return toy.write(tmp_path / "samples", n_train=6, n_val=3, n_background=2)


def test_rows_are_read_in_any_order(store):
    group = zarr.open_group(store / "samples.zarr", mode="r")
    rows = np.array([7, 2, 2, 10, 0])
    for name, found in zip(("em", "cleft", "segments"), Samples(store).read(rows), strict=True):
        np.testing.assert_array_equal(found, group[name][:][rows])
        assert found.dtype == group[name].dtype


def test_partners_have_the_local_numbers_of_their_exact_ids(store):
    """Two ids that are one float64: only integers tell them apart."""
    segments = pd.read_parquet(store / "segments.parquet")
    index = pd.read_parquet(store / "index.parquet")
    twins = np.array([2**63 + 1, 2**63 + 2], np.uint64)
    assert float(twins[0]) == float(twins[1])
    segments.loc[segments["row"] == 0, "segment_id"] = np.array([*twins, 5], np.uint64)
    segments.loc[segments["row"] == 0, "local"] = [2, 3, 1]
    index.loc[0, ["pre_segment_id", "post_segment_id"]] = twins[::-1]
    index.loc[1, "post_segment_id"] = np.uint64(17)  # not in the sample
    index = index.astype({"pre_segment_id": np.uint64, "post_segment_id": np.uint64})
    index.to_parquet(store / "index.parquet")
    segments.to_parquet(store / "segments.parquet")
    found = Samples(store).index
    assert found.loc[0, ["pre_local", "post_local"]].tolist() == [3, 2]
    assert found.loc[1, "post_local"] == 0
    assert (found.loc[6:7, ["pre_local", "post_local"]] == 0).all(axis=None)  # background
    truth = segments.set_index(["row", "local"])["segment_id"]
    for row in range(2, 6):
        assert truth[row, found["pre_local"][row]] == index["pre_segment_id"][row]


def test_rows_of_a_region_are_those_that_can_be_used(store):
    index = pd.read_parquet(store / "index.parquet")
    index.loc[2, "fault"] = "frame_mismatch"
    index.loc[3, "pre_segment_id"] = np.uint64(0)
    index.astype({"pre_segment_id": np.uint64}).to_parquet(store / "index.parquet")
    found = Samples(store)
    assert found.rows("train").tolist() == [0, 1, 3, 4, 5]
    assert found.rows("train", partners=True).tolist() == [0, 1, 4, 5]
    assert found.rows("train", background=True).tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert found.rows("train", partners=True, background=True).tolist() == [0, 1, 4, 5, 6, 7]
    assert found.rows("val").tolist() == [8, 9, 10]
    with pytest.raises(SamplesError, match=r"no clefts with both true partners without fault in region 'test'"):
        found.rows("test", partners=True)


def test_a_folder_without_manifest_is_no_store(tmp_path):
    with pytest.raises(SamplesError, match=r"no finished sample store \(no manifest.json\)"):
        Samples(tmp_path)


def _floats(store):
    frame = pd.read_parquet(store / "index.parquet")
    frame.astype({"pre_segment_id": float}).to_parquet(store / "index.parquet")


def _a_row_less(store):
    pd.read_parquet(store / "index.parquet")[:-1].to_parquet(store / "index.parquet")


def _renumbered(store):
    pd.read_parquet(store / "index.parquet")[::-1].to_parquet(store / "index.parquet")


def _twice(store):
    frame = pd.read_parquet(store / "segments.parquet")
    pd.concat([frame, frame[:1]]).to_parquet(store / "segments.parquet")


def _other_shape(store):
    write_json(store / "manifest.json", read_json(store / "manifest.json") | {"shape_zyx": [6, 32, 40]})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_floats, r"index.parquet: \['pre_segment_id'\] must be uint64"),
        (_a_row_less, r"em is uint8 \(11, 6, 32, 32\), .* say uint8 \(10, 6, 32, 32\)"),
        (_renumbered, r"`row` must count from 0"),
        (_twice, r"row 0 lists a segment twice"),
        (_other_shape, r"say uint8 \(11, 6, 32, 40\); cut the samples again"),
    ],
)
def test_a_store_that_contradicts_itself_is_refused(store, damage, message):
    damage(store)
    with pytest.raises(SamplesError, match=message):
        Samples(store)
