"""Work in blocks: planned, shared out, resumed after a kill with the same bytes, and published by a rename.

A block depends on its plan alone and writes stored chunks that no other block touches, so that it matters neither who
computes it nor how often. What is finished stands in journals, one line a block, which the process that shares out
the work writes when a block's result comes back: its chunks are stored by then. A line that a kill cut short counts
for nothing, and its block is computed again.

Several runs of one plan divide its blocks. The first leads: it holds the folder's lock, waits for the others' last
blocks and publishes. Each worker claims a block for its run before it computes it. Where a run dies, the others free
what it had claimed; where the leading one does, another leads.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import compute, locks
from pipeline.artefacts import read_json, write_json
from pipeline.journals import Journals

log = logging.getLogger("pipeline")

CONTENT = "content"
BEGINNING_S = 60.0  # for which a run that has just begun is waited for, to see what it plans
LOG_EVERY_S = 60.0
Region = tuple[slice, ...]  # of an array, one slice an axis
Sizes = Sequence[int] | np.ndarray


class Work:
    """The hidden folder beside `out` where its `content`, a file or a folder, grows until it is published.

    `plan`, as JSON holds it, names all that the result depends on. `with` locks the folder against other runs: raises
    locks.LockError. A folder that an interrupted run of the same plan left is continued; otherwise it is emptied, and
    `create(content)` makes the empty content; but nothing is begun where `is_published`. Raises OSError where nothing
    can be written.

    Where it `divides`, a run that finds another of the same plan at work helps it instead: its only `run` does what
    the other leaves, and as soon as the other has published, the body of the `with` ends there, without an error.
    """

    def __init__(self, out: Path, plan: dict[str, Any], create: Callable[[Path], object], divides: bool = False):
        self.out = Path(out).absolute()  # workers may have another working directory
        self.folder = _folder(self.out)
        self.content = self.folder / CONTENT
        self.plan_sha256 = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        self._create = create
        self._divides = divides
        self._leads = True
        self._id = ""  # of the run: what claims and the journal name
        self._next_log = 0.0
        self._open = contextlib.ExitStack()

    @property
    def is_published(self) -> bool:
        """Whether `out` is a folder whose manifest says that it was made from this plan."""
        try:
            return read_json(self.out / "manifest.json").get("plan_sha256") == self.plan_sha256
        except (OSError, ValueError):  # there is none, or it is damaged
            return False

    def __enter__(self) -> "Work":
        self._id = uuid.uuid4().hex
        with contextlib.ExitStack() as opening:
            with writing(self.folder):
                self._leads = self._locked(opening)
                if self._leads:
                    self._begin()
                if not self.is_published:
                    opening.enter_context(locks.locked(self._presence(self._id)))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._open.close()
        if kind is _PublishedByAnother:
            return True
        over = not self._leads and _planned(self.folder) != self.plan_sha256  # published, and removed under its hands
        return over and isinstance(error, Exception)

    def _locked(self, stack: contextlib.ExitStack) -> bool:
        """Whether this run leads; False where another run of the same plan does, and the work divides."""
        given_up = time.monotonic() + BEGINNING_S
        while True:
            try:
                stack.enter_context(locks.locked(self.folder))
                return True
            except locks.LockError:
                planned = _planned(self.folder)
                if self._divides and planned == self.plan_sha256:
                    log.warning("%s: another run works on it too; the blocks are divided", self.out)
                    return False
                if not self._divides or planned or time.monotonic() > given_up:
                    raise

    def _begin(self) -> None:
        if self.is_published:
            shutil.rmtree(self.folder, ignore_errors=True)  # a kill right after publishing leaves it
        elif not (self.content.exists() and _planned(self.folder) == self.plan_sha256):
            for lock in (self.folder / "runs").glob("*.lock"):  # of helpers of another plan, whose leading run died
                with locks.locked(lock.with_suffix("")):
                    pass
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            self._create(self.content)
            _plan(self.folder, self.plan_sha256)  # last: without it, the folder is unfinished

    def run(
        self,
        name: str,
        function: Callable[..., pd.DataFrame | None],
        items: Sequence,
        client: Client | None,
        unfinished: Callable[[pd.DataFrame], bool] = lambda table: False,
    ) -> list[pd.DataFrame]:
        """The tables that `function(item)` returns for every item, in their order.

        Items that an earlier run finished are not computed again, except those whose table is `unfinished`. What
        tables may hold, Journals says.
        """
        journals, claims = Journals(self.folder, name, self._id), self.folder / f"{name}.claims"
        done = {number: table for number, table in journals.of_others() if not unfinished(table)}
        if done:
            log.info("%s: %d of %d blocks are done already", name, len(done), len(items))
        with writing(claims):
            claims.mkdir(exist_ok=True)
        if self._leads:
            self._free(claims, done)
        task = functools.partial(_claimed, function, claims, self._id)
        while True:
            waiting = [item for item in enumerate(items) if item[0] not in done]
            with journals.adding() as add:
                for number, table in compute.run(client, task, waiting, name):
                    if table is not None:
                        done[number] = table
                        with writing(journals.own):
                            add(number, table)
            if not self._leads:
                self._follow()
            elif len(done) == len(items):
                return [done[number] for number in range(len(items))]
            done.update(journals.of_others())
            self._free(claims, done)

    def _follow(self) -> None:
        """Wait until the leading run has ended, and lead; _PublishedByAnother where nothing is left to do."""
        with contextlib.ExitStack() as leading:
            while not self._leads and _planned(self.folder) == self.plan_sha256:
                try:
                    leading.enter_context(locks.locked(self.folder))
                    self._leads = True
                except locks.LockError as error:
                    self._say_now_and_then(error)
            if not self.content.exists() or _planned(self.folder) != self.plan_sha256:
                raise _PublishedByAnother
            log.warning("%s: the run that led has ended early; going on without it", self.out)
            self._open.enter_context(leading.pop_all())

    def _free(self, claims: Path, done: Container[int]) -> None:
        """Remove the claims of dead runs to blocks that are not done."""
        lives = functools.cache(self._lives)
        for claim in claims.iterdir():
            if int(claim.name) not in done and not lives(os.readlink(claim)):
                claim.unlink()

    def _lives(self, run: str) -> bool:
        """Whether a run is at work, or may be: of one on another host, no one can tell."""
        try:
            with locks.locked(self._presence(run)):
                return False
        except locks.LockError as error:
            self._say_now_and_then(error)
            return True

    def _presence(self, run: str) -> Path:
        return self.folder / "runs" / run

    def _say_now_and_then(self, error: locks.LockError) -> None:
        if time.monotonic() > self._next_log:
            self._next_log = time.monotonic() + LOG_EVERY_S
            log.warning("waiting: %s", error)

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
        with Journals(folder, name, "before").adding() as add:
            for number, table in tables.items():
                add(number, table)
        _plan(folder, plan_sha256)
        os.replace(out, folder / CONTENT)


def _folder(out: Path) -> Path:
    return out.parent / f".{out.name}-work"


def _plan(folder: Path, plan_sha256: str) -> None:
    write_json(folder / "plan.json", {"plan_sha256": plan_sha256})


def _planned(folder: Path) -> str | None:
    try:
        return read_json(folder / "plan.json").get("plan_sha256")
    except FileNotFoundError:
        return None


class _PublishedByAnother(Exception):
    """The run that this one helped has published, and the folder is gone."""


def _claimed(function: Callable, claims: Path, run: str, item: tuple[int, Any]) -> tuple[int, pd.DataFrame | None]:
    """`function` of a block, or None where another run claimed it, or has published.

    A claim is a symbolic link to the name of its run: made in one step, which fails where there is one.
    """
    number, block = item
    try:
        os.symlink(run, claims / str(number))
    except FileExistsError:
        if os.readlink(claims / str(number)) != run:
            return number, None
    except FileNotFoundError:
        return number, None
    table = function(block)
    return number, pd.DataFrame() if table is None else table


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
