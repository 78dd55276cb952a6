"""Work in blocks: planned, shared out, resumed after a kill with the same bytes, and published by a rename.

A block depends on its plan alone and writes stored chunks that no other block touches, so that it matters neither who
computes it nor how often. What is finished stands in a journal, one line a block, which the process that shares out
the work writes when a block's result comes back: its chunks are stored by then. A line that a kill cut short is
removed, and its block computed again.
"""

import contextlib
import functools
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import compute
from pipeline.artefacts import read_json, write_json

log = logging.getLogger("pipeline")

Region = tuple[slice, ...]  # of an array, one slice an axis
Sizes = Sequence[int] | np.ndarray


class Work:
    """The hidden folder beside `out` where its `content`, a file or a folder, grows until it is published.

    `plan`, as JSON holds it, names all that the result depends on. A folder that an interrupted run of the same plan
    left is continued; otherwise it is emptied, and `create(content)` makes the empty content. Raises OSError where
    nothing can be written.
    """

    def __init__(self, out: Path, plan: dict[str, Any], create: Callable[[Path], object]):
        self.out = Path(out)
        self.folder = self.out.parent / f".{self.out.name}-work"
        self.content = self.folder / "content"
        record, plan = self.folder / "plan.json", json.loads(json.dumps(plan))
        if self.content.exists() and record.is_file() and read_json(record) == plan:
            return
        with writing(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            create(self.content)
            write_json(record, plan)  # last: without it, the folder is unfinished

    def run(
        self,
        name: str,
        function: Callable[..., pd.DataFrame | None],
        items: Sequence,
        client: Client | None,
        *shared: Any,
        unfinished: Callable[[pd.DataFrame], bool] = lambda table: False,
    ) -> list[pd.DataFrame]:
        """The tables that `function(item, *shared)` returns for every item, in their order.

        Items that an earlier run finished are not computed again, except those whose table is `unfinished`. Columns
        hold numbers, booleans, texts, or lists of integers.
        """
        journal = self.folder / f"{name}.jsonl"
        done = {number: table for number, table in _finished(journal) if not unfinished(table)}
        waiting = [item for item in enumerate(items) if item[0] not in done]
        if done:
            log.info("%s: %d of %d blocks are done already", name, len(done), len(items))
        with journal.open("a", encoding="utf-8") as file:
            for number, table in compute.run(client, functools.partial(_numbered, function), waiting, name, *shared):
                done[number] = pd.DataFrame() if table is None else table
                with writing(journal):
                    file.write(_line(number, done[number]))
                    file.flush()
        return [done[number] for number in range(len(items))]

    def publish(self, content: Path | None = None) -> None:
        """Put the content (or another path in the folder) in the place of `out`, and remove the folder."""
        if self.out.exists():
            replaced = self.folder / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(self.out, replaced)
        os.replace(content or self.content, self.out)
        shutil.rmtree(self.folder)


def _numbered(function: Callable, item: tuple[int, Any], *shared: Any) -> tuple[int, pd.DataFrame | None]:
    return item[0], function(item[1], *shared)


def _line(number: int, table: pd.DataFrame) -> str:
    columns = {name: [str(table[name].dtype), table[name].tolist()] for name in table}
    return json.dumps({"number": number, "columns": columns}) + "\n"  # floats and 64-bit integers stay exact


def _finished(journal: Path) -> Iterator[tuple[int, pd.DataFrame]]:
    """(number, table) of each block in a journal, from which a last line that was cut short is removed."""
    if not journal.is_file():
        return
    lines = journal.read_bytes().splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n"):
        os.truncate(journal, sum(map(len, lines[:-1])))
        lines.pop()
    for line in lines:
        block = json.loads(line)
        yield (
            block["number"],
            pd.DataFrame({k: pd.Series(v, dtype=dtype) for k, (dtype, v) in block["columns"].items()}),
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make an OSError say what could not be written, and that starting again goes on."""
    try:
        yield
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}; finished blocks are kept, start again to go on"
        raise type(error)(error.errno, text) from None


def grid(shape: Sizes, block: Sizes) -> list[Region]:
    """The blocks of an array in raster order; those at the far faces are smaller."""
    ranges = (range(0, int(size), int(step)) for size, step in zip(shape, block, strict=True))
    return [
        tuple(slice(low, int(min(low + step, size))) for low, step, size in zip(corner, block, shape, strict=True))
        for corner in itertools.product(*ranges)
    ]


def create(
    path: Path,
    shape: Sizes,
    dtype: str,
    block_zyx: Sizes,
    voxel_nm: Sequence[float],
    offset_vx: Sizes,
) -> zarr.Array:
    """An empty Zarr array `[Z, Y, X]` with a chunk a block, which says where it lies (attributes in XYZ order)."""
    return zarr.create_array(
        path,
        shape=tuple(int(n) for n in shape),
        dtype=dtype,
        chunks=tuple(int(min(step, n)) for step, n in zip(block_zyx, shape, strict=True)),
        dimension_names=("z", "y", "x"),
        attributes={"resolution_nm": [float(nm) for nm in voxel_nm], "offset_vx": [int(vx) for vx in offset_vx]},
    )


def read(path: Path, region: Region) -> np.ndarray:
    return np.asarray(zarr.open_array(path, mode="r")[region])


def write(path: Path, region: Region, values: np.ndarray) -> None:
    """Write one stored chunk or shard of a Zarr array, over whatever a killed writer left in its place.

    It is whole in the axes that `region` does not name.
    """
    array = zarr.open_array(path, mode="r+")
    sizes = array.shards or array.chunks
    first = [part.start // size for part, size in zip(region, sizes, strict=False)]
    file = Path(path).joinpath("c", *map(str, first), *["0"] * (len(sizes) - len(first)))
    with writing(path):
        for left in (file, *file.parent.glob(f"{file.name}.*.partial")):
            left.unlink(missing_ok=True)
        array[region] = values
