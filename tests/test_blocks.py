"""The block engine: order, resuming, torn journals, other plans, and exact results."""

import numpy as np
import pandas as pd
import pytest
import zarr

from pipeline import artefacts, blocks, locks

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


def run(work, publish=False, **options):
    with work:
        tables = work.run("fill", lambda region: fill(work, region, **options), blocks.grid(SHAPE, BLOCK), None)
        if publish:
            work.publish()
    return tables


def test_blocks_cover_an_array_once_in_raster_order():
    counts, first = np.zeros(SHAPE, int), []
    for region in blocks.grid(SHAPE, BLOCK):
        counts[region] += 1
        first.append(np.ravel_multi_index([part.start for part in region], SHAPE))
    assert (counts == 1).all()
    assert first == sorted(first)


def test_an_interrupted_run_goes_on_with_exactly_the_same_tables(tmp_path):
    expected = run(start(tmp_path / "whole"), publish=True)
    calls = []
    with pytest.raises(RuntimeError):
        run(start(tmp_path / "out"), stop_at=4, calls=calls)
    work = start(tmp_path / "out")
    (interrupted,) = work.folder.glob("fill.*.jsonl")
    with interrupted.open("a") as journal:
        journal.write('{"number": 3, "colum')  # a kill in the middle of a line
    with pytest.raises(RuntimeError):
        run(start(tmp_path / "out"), stop_at=6, calls=calls)
    tables = run(start(tmp_path / "out"), calls=calls, publish=True)
    assert len(calls) == len(expected) + 2, "finished blocks are not computed again"
    for table, other in zip(tables, expected, strict=True):
        pd.testing.assert_frame_equal(table, other)
        assert table["id"].tolist() == other["id"].tolist()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out", "whole"]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "out")[:].ravel(), np.arange(np.prod(SHAPE)))


def test_unfinished_blocks_are_tried_again(tmp_path):
    work, calls = start(tmp_path / "out"), []
    run(work)
    with work:
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
    calls = []
    run(start(tmp_path / "out", "new"), calls=calls, publish=True)
    assert len(calls) == len(blocks.grid(SHAPE, BLOCK))
    assert not (tmp_path / "out" / "yesterday").exists()


def test_a_torn_chunk_and_its_leftovers_are_replaced(tmp_path):
    work = start(tmp_path / "out")
    with work:
        chunk = work.content / "c" / "1" / "1" / "0"
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(b"half a chunk")
        chunk.with_suffix(".0123.partial").write_bytes(b"half a chunk")
    run(work, publish=True)
    assert [path.name for path in (tmp_path / "out" / "c" / "1" / "1").iterdir()] == ["0"]
    assert zarr.open_array(tmp_path / "out")[3, 4, 0] == np.ravel_multi_index((3, 4, 0), SHAPE)


def test_every_chunk_is_a_file_even_where_all_is_zero(tmp_path):
    blocks.create(tmp_path / "zeros", SHAPE, "uint16", BLOCK, (16, 16, 40), (1, 2, 3))
    regions = blocks.grid(SHAPE, BLOCK)
    for region in regions:
        blocks.write(tmp_path / "zeros", region, np.zeros(SHAPE, np.uint16)[region])
    files = [path for path in (tmp_path / "zeros" / "c").rglob("*") if path.is_file()]
    assert len(files) == len(regions)


def test_two_runs_do_not_share_a_folder(tmp_path):
    with start(tmp_path / "out") as first:
        first.run("fill", lambda region: fill(first, region), blocks.grid(SHAPE, BLOCK)[:2], None)
        with pytest.raises(locks.LockError, match=r"another run works in .*\.out-work: process \d+ on "):
            run(start(tmp_path / "out"))
        with pytest.raises(locks.LockError):
            run(start(tmp_path / "out", "another plan"))
        (journal,) = first.folder.glob("fill.*.jsonl")
        assert len(journal.read_text().splitlines()) == 2, "nothing of the first run is lost"
    run(start(tmp_path / "out"), publish=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_published_from_the_same_plan_is_known(tmp_path):
    def published(plan):
        work = blocks.Work(tmp_path / "out", plan, lambda content: content.mkdir())
        with work:
            before = work.is_published
            if not before:
                artefacts.write_json(work.content / "manifest.json", {"plan_sha256": work.plan_sha256})
                work.publish()
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        return before

    assert [published({"b": 1, "a": [2]}), published({"a": (2,), "b": 1}), published({"a": [2], "b": 2})] == [
        False,
        True,
        False,
    ]
    (tmp_path / "out" / "manifest.json").write_text("{")
    assert not published({"a": [2], "b": 2})


@pytest.mark.parametrize("finished", [[], [0, 5, 7]])
def test_a_reopened_folder_has_the_other_blocks_to_do(tmp_path, finished):
    plan = start(tmp_path / "out").plan_sha256
    expected = run(start(tmp_path / "out"), publish=True)
    before = artefacts.sha256(tmp_path / "out")
    blocks.reopen(tmp_path / "out", plan, "fill", {number: expected[number] for number in finished})
    assert not (tmp_path / "out").exists()
    calls = []
    tables = run(start(tmp_path / "out"), calls=calls, publish=True)
    assert calls == [region for number, region in enumerate(blocks.grid(SHAPE, BLOCK)) if number not in finished]
    for table, other in zip(tables, expected, strict=True):
        pd.testing.assert_frame_equal(table, other)
    assert artefacts.sha256(tmp_path / "out") == before
