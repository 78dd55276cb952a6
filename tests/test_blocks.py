"""The block engine: order, resuming, torn journals, other plans, and exact results."""

import numpy as np
import pandas as pd
import pytest
import zarr

from pipeline import blocks

SHAPE, BLOCK = (5, 9, 8), (2, 4, 8)
BIG = 2**63


def start(out, plan="plan"):
    create = lambda path: blocks.create(path, SHAPE, "uint16", BLOCK, (16, 16, 40), (1, 2, 3))  # noqa: E731
    return blocks.Work(out, {"plan": plan}, create)


def fill(work, region, stop_at=None, calls=None):
    """Write the numbers of a block's voxels; the result has what JSON might round."""
    if calls is not None:
        calls.append(region)
    if stop_at is not None and len(calls) == stop_at:
        raise RuntimeError("killed")
    numbers = np.arange(np.prod(SHAPE)).reshape(SHAPE)[region]
    blocks.write(work.content, region, numbers)
    first = int(numbers.ravel()[0])
    return pd.DataFrame(
        {
            "id": np.array([BIG + first, BIG + first + 1], np.uint64),
            "share": [first / 3, np.nan],
            "sure": [True, False],
            "text": ["", "\u00e4"],
            "parts": [[BIG + 1], []],
        }
    )


def run(work, **options):
    return work.run("fill", lambda region: fill(work, region, **options), blocks.grid(SHAPE, BLOCK), None)


def test_blocks_cover_an_array_once_in_raster_order():
    counts, first = np.zeros(SHAPE, int), []
    for region in blocks.grid(SHAPE, BLOCK):
        counts[region] += 1
        first.append(np.ravel_multi_index([part.start for part in region], SHAPE))
    assert (counts == 1).all()
    assert first == sorted(first)


def test_an_interrupted_run_goes_on_with_exactly_the_same_tables(tmp_path):
    whole = start(tmp_path / "whole")
    expected = run(whole)
    whole.publish()
    calls = []
    with pytest.raises(RuntimeError):
        run(start(tmp_path / "out"), stop_at=4, calls=calls)
    work = start(tmp_path / "out")
    with (work.folder / "fill.jsonl").open("a") as journal:
        journal.write('{"number": 3, "colum')  # a kill in the middle of a line
    with pytest.raises(RuntimeError):
        run(start(tmp_path / "out"), stop_at=6, calls=calls)
    tables = run(start(tmp_path / "out"), calls=calls)
    assert len(calls) == len(expected) + 2, "finished blocks are not computed again"
    for table, other in zip(tables, expected, strict=True):
        pd.testing.assert_frame_equal(table, other)
        assert table["id"].tolist() == other["id"].tolist()
    work.publish()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out", "whole"]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out")[:].ravel(), np.arange(np.prod(SHAPE)))


def test_unfinished_blocks_are_tried_again(tmp_path):
    work, calls = start(tmp_path / "out"), []
    run(work)
    work.run(
        "fill",
        lambda region: fill(work, region, calls=calls),
        blocks.grid(SHAPE, BLOCK),
        None,
        unfinished=lambda table: table["id"][0] == BIG,
    )
    assert calls == blocks.grid(SHAPE, BLOCK)[:1]


def test_another_plan_starts_over_and_replaces_what_is_there(tmp_path):
    with pytest.raises(RuntimeError):
        run(start(tmp_path / "out", "old"), stop_at=4, calls=[])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "yesterday").touch()
    work, calls = start(tmp_path / "out", "new"), []
    run(work, calls=calls)
    assert len(calls) == len(blocks.grid(SHAPE, BLOCK))
    work.publish()
    assert not (tmp_path / "out" / "yesterday").exists()


def test_a_torn_chunk_and_its_leftovers_are_replaced(tmp_path):
    work = start(tmp_path / "out")
    chunk = work.content / "c" / "1" / "1" / "0"
    chunk.parent.mkdir(parents=True)
    chunk.write_bytes(b"half a chunk")
    chunk.with_suffix(".0123.partial").write_bytes(b"half a chunk")
    other = chunk.with_name("01.partial")  # no file of this chunk
    other.touch()
    run(work)
    assert sorted(path.name for path in chunk.parent.iterdir()) == ["0", "01.partial"]
    assert zarr.open_array(work.content)[3, 4, 0] == np.ravel_multi_index((3, 4, 0), SHAPE)
