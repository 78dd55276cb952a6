"""Work in blocks: planned, shared out, resumed after a kill with the same bytes, and published by a rename.

A block depends on its plan alone and writes stored chunks that no other block touches, so that it matters neither who
computes it nor how often. What is finished stands in a journal, one line a block, which the process that shares out
the work writes when a block's result comes back: its chunks are stored by then. A line that a kill cut short is
removed, and its block computed again.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import compute, locks
from pipeline.artefacts import read_json, write_json

log = logging.getLogger("pipeline")

CONTENT = "content"
Region = tuple[slice, ...]  # of an array, one slice an axis
Sizes = Sequence[int] | np.ndarray


class Work:
    """The hidden folder beside `out` where its `content`, a file or a folder, grows until it is published.

    `plan`, as JSON holds it, names all that the result depends on. `with` locks the folder against other runs: raises
    locks.LockError. A folder that an interrupted run of the same plan left is continued; otherwise it is emptied, and
    `create(content)` makes the empty content; but nothing is begun where `is_published`. Raises OSError where nothing
    can be written.
    """

    def __init__(self, out: Path, plan: dict[str, Any], create: Callable[[Path], object]):
        self.out = Path(out).absolute()  # workers may have another working directory
        self.folder = _folder(self.out)
        self.content = self.folder / CONTENT
        self.plan_sha256 = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        self._create = create
        self._open = contextlib.ExitStack()

    @property
    def is_published(self) -> bool:
        """Whether `out` is a folder whose manifest says that it was made from this plan."""
        try:
            return read_json(self.out / "manifest.json").get("plan_sha256") == self.plan_sha256
        except (OSError, ValueError):  # there is none, or it is damaged
            return False

    def __enter__(self) -> "Work":
        with contextlib.ExitStack() as opening:
            with writing(self.folder):
                opening.enter_context(locks.locked(self.folder))
                if self.is_published:
                    shutil.rmtree(self.folder, ignore_errors=True)  # a kill right after publishing leaves it
                elif not (self.content.exists() and _planned(self.folder) == self.plan_sha256):
                    shutil.rmtree(self.folder, ignore_errors=True)
                    self.folder.mkdir(parents=True)
                    self._create(self.content)
                    _plan(self.folder, self.plan_sha256)  # last: without it, the folder is unfinished
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def run(
        self,
        name: str,
        function: Callable[..., pd.DataFrame | None],
        items: Sequence,
        client: Client | None,
        unfinished: Callable[[pd.DataFrame], bool] = lambda table: False,
    ) -> list[pd.DataFrame]:
        """The tables that `function(item)` returns for every item, in their order.

        Items that an earlier run finished are not computed again, except those whose table is `unfinished`. Columns
        hold numbers, booleans, texts, or lists of integers.
        """
        journal = self.folder / f"{name}.jsonl"
        done = {number: table for number, table in _finished(journal) if not unfinished(table)}
        waiting = [item for item in enumerate(items) if item[0] not in done]
        if done:
            log.info("%s: %d of %d blocks are done already", name, len(done), len(items))
        with journal.open("a", encoding="utf-8") as file:
            for number, table in compute.run(client, functools.partial(_numbered, function), waiting, name):
                done[number] = pd.DataFrame() if table is None else table
                with writing(journal):
                    file.write(_line(number, done[number]))
                    file.flush()
        return [done[number] for number in range(len(items))]

    def publish(self) -> None:
        """Put the content in the place of `out`, without what killed writers left of files, and remove the folder."""
        for left in self.content.rglob("*.partial"):
            left.unlink()
        if self.out.exists():
            replaced = self.folder / "replaced"
            shutil.rmtree(replaced, ignore_errors=True)
            os.replace(self.out, replaced)
        os.replace(self.content, self.out)
        shutil.rmtree(self.folder)


def reopen(out: Path, plan_sha256: str, name: str, tables: Mapping[int, pd.DataFrame]) -> None:
    """Make of the published folder `out` an interrupted run of its plan, which finished the blocks of `tables` alone.

    `tables` are what the function of `Work.run` returned for them under this `name`. A kill on the way leaves `out`
    either as it was or reopened.
    """
    folder = _folder(out)
    with writing(folder), locks.locked(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lines = (_line(number, table) for number, table in tables.items())
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        _plan(folder, plan_sha256)
        os.replace(out, folder / CONTENT)


def _folder(out: Path) -> Path:
    return out.parent / f".{out.name}-work"


def _plan(folder: Path, plan_sha256: str) -> None:
    write_json(folder / "plan.json", {"plan_sha256": plan_sha256})


def _planned(folder: Path) -> str | None:
    record = folder / "plan.json"
    return read_json(record).get("plan_sha256") if record.is_file() else None


def _numbered(function: Callable, item: tuple[int, Any]) -> tuple[int, pd.DataFrame | None]:
    return item[0], function(item[1])


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

    It is whole in the axes that `region` does not name. Zarr writes a file beside it and renames that, so that a file
    is whole or absent; it is written even where all values are 0, so that an absent one was lost.
    """
    array = zarr.open_array(path, mode="r+").with_config({"write_empty_chunks": True})
    sizes = array.shards or array.chunks
    first = [part.start // size for part, size in zip(region, sizes, strict=False)]
    number = (*first, *[0] * (len(sizes) - len(first)))
    with writing(path):
        Path(path).joinpath(array.metadata.encode_chunk_key(number)).unlink(missing_ok=True)
        array[region] = values
