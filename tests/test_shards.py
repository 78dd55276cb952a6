"""Rows of sharded arrays against Zarr's own reading, and what a damaged store says."""

import numpy as np
import pytest
import zarr

from pipeline import shards


@pytest.fixture
def store(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (150, 3, 8, 8), np.uint8)
    pixels[70] = 0  # a row that Zarr does not write
    group = zarr.create_group(tmp_path / "images.zarr")
    shards.create(group, "cube", pixels.shape, 64, ("n", "z", "y", "x"))[:] = pixels
    return tmp_path / "images.zarr" / "cube"


def test_rows_are_those_that_zarr_reads(store):
    rows = np.random.default_rng(1).integers(0, 150, 400)
    rows[:3] = 149, 70, 0
    np.testing.assert_array_equal(shards.Rows(store)[rows], zarr.open_array(store)[:][rows])


def test_a_missing_shard_is_an_error_not_black_rows(store):
    (store / "c" / "1" / "0" / "0" / "0").unlink()
    cubes = shards.Rows(store)
    assert len(cubes[[0, 149]]) == 2
    with pytest.raises(shards.ShardError, match=r"c/1/0/0/0 is missing"):
        cubes[[64]]


def test_a_shard_cut_short_is_an_error(store):
    file = store / "c" / "0" / "0" / "0" / "0"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(shards.ShardError, match="cut short"):
        shards.Rows(store)[[0]]


def test_rows_outside_of_the_array_are_refused(store):
    with pytest.raises(IndexError):
        shards.Rows(store)[[150]]


def test_a_compressed_array_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(4, 8), chunks=(1, 8), shards=(4, 8), dtype="uint8")
    with pytest.raises(shards.ShardError, match="no uncompressed"):
        shards.Rows(tmp_path / "a")
