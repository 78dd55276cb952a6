"""Rows of sharded arrays against Zarr's own reading, and what a damaged store says."""

import numpy as np
import pytest
import zarr

from pipeline import shards


@pytest.fixture(params=["uint8", "uint16"])
def store(request, tmp_path):
    """150 images in three shards; labels, which are compressed, are uint16."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (150, 3, 8, 8)).astype(request.param)
    pixels[70] = 0
    group, axes = zarr.create_group(tmp_path / "images.zarr"), ("n", "z", "y", "x")
    shards.create(group, "cube", pixels.shape, 64, axes, request.param, request.param == "uint16")[:] = pixels
    return tmp_path / "images.zarr" / "cube"


def change(file, place):
    """Flip one bit."""
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_rows_are_those_that_zarr_reads(store):
    rows = np.random.default_rng(1).integers(0, 150, 400)
    rows[:3] = 149, 70, 0
    found, expected = shards.Rows(store)[rows], zarr.open_array(store)[:][rows]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_a_box_of_each_row_is_cut_from_it(store):
    rows = [149, 70, 0, 70]
    expected = zarr.open_array(store)[:][rows]
    box = (slice(1, 3), slice(0, 5), slice(2, 8))
    np.testing.assert_array_equal(shards.Rows(store).read(rows, box), expected[(slice(None), *box)])
    np.testing.assert_array_equal(shards.Rows(store).read(rows, box[:1]), expected[:, 1:3])


def test_damage_outside_the_box_that_is_read_is_found_too(store):
    change(store / "c.0.0.0.0", 20)  # in the first of its sections, or of its compressed bytes
    with pytest.raises(shards.ShardError, match="damaged in row 0: its checksum differs"):
        shards.Rows(store).read([0], (slice(2, 3),))


def test_a_shard_is_one_file_and_no_folder(store):
    assert sorted(path.name for path in store.iterdir()) == [*(f"c.{n}.0.0.0" for n in range(3)), "zarr.json"]


def test_a_missing_shard_is_an_error_not_black_rows(store):
    (store / "c.1.0.0.0").unlink()
    cubes = shards.Rows(store)
    assert len(cubes[[0, 149]]) == 2
    with pytest.raises(shards.ShardError, match=r"c\.1\.0\.0\.0 is missing; mend it with .*verify --repair"):
        cubes[[64]]


@pytest.mark.parametrize("read_before", [False, True])
@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_a_shard_cut_short_is_an_error(store, kept, read_before):
    file, cubes = store / "c.0.0.0.0", shards.Rows(store)
    if read_before:
        cubes[[63]]
    content = file.read_bytes()
    file.write_bytes(content[: kept if kept != 0.5 else len(content) // 2])
    with pytest.raises(shards.ShardError, match=r"c\.0\.0\.0\.0 is cut short"):
        cubes[[63]]


def test_any_changed_bit_is_an_error_of_its_row_alone(store):
    file, cubes = store / "c.0.0.0.0", shards.Rows(store)
    offset, size = (int(n) for n in cubes._index(file.open("rb", buffering=0), file, 0)[5])
    rng = np.random.default_rng(2)
    for place in [offset, offset + size - 1, *rng.integers(offset, offset + size, 10)]:  # the checksum is its end
        change(file, place)
        assert len(cubes[[4, 6, 70]]) == 3
        with pytest.raises(shards.ShardError, match=r"c\.0\.0\.0\.0 is damaged in row 5: its checksum differs"):
            cubes[[4, 5]]
        change(file, place)
    cubes[[5]]


def test_a_changed_bit_in_the_index_is_an_error(store):
    change(store / "c.2.0.0.0", -20)
    with pytest.raises(shards.ShardError, match="damaged in its index"):
        shards.Rows(store)[[128]]


def test_a_row_that_was_never_written_is_an_error(tmp_path):
    shards.create(zarr.create_group(tmp_path / "g"), "cube", (8, 4, 4), 4, ("n", "y", "x"))
    pixels = zarr.open_array(tmp_path / "g" / "cube", mode="r+")
    pixels[1] = 7
    with pytest.raises(shards.ShardError, match="lacks row 0"):
        shards.Rows(tmp_path / "g" / "cube")[[0]]


def test_zarr_itself_finds_a_changed_bit(store):
    change(store / "c.0.0.0.0", 10)
    with pytest.raises(ValueError, match="checksum do not match"):
        zarr.open_array(store)[0]


def test_rows_outside_of_the_array_are_refused(store):
    with pytest.raises(IndexError):
        shards.Rows(store)[[150]]


def test_what_is_no_array_of_rows_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(4, 8), chunks=(1, 8), shards=(4, 8), dtype="uint8")
    with pytest.raises(shards.ShardError, match="no array of shards with a checksum a row"):
        shards.Rows(tmp_path / "a")
    with pytest.raises(shards.ShardError, match="cannot be opened"):
        shards.Rows(tmp_path / "b")
    (tmp_path / "a" / "zarr.json").write_text("{")
    with pytest.raises(shards.ShardError, match="cannot be opened"):
        shards.Rows(tmp_path / "a")
