"""Published stores of images: which rows are not as they were written, and how the blocks that hold them are redone.

A store is a folder that `blocks.Work` published: a Zarr group of arrays `[N, ...]` with an image a row, tables, and a
manifest, in which `sha256` has a digest of each array and table.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from pipeline import blocks
from pipeline.artefacts import read_json, sha256
from pipeline.shards import Rows, ShardError, digest

TABLE = -1  # as `row` of a damage: no row alone, but a file that all of them need


def digests(folder: Path, records: pd.DataFrame) -> dict[str, str]:
    """`sha256` of a manifest: of each array of `records`, from its rows' digests in their order; and of each table."""
    arrays = {name: hashlib.sha256(bytes.fromhex("".join(records[f"{name}_sha256"]))) for name in _arrays(records)}
    tables = {path.name: sha256(path) for path in sorted(folder.glob("*.parquet"))}
    return {name: found.hexdigest() for name, found in arrays.items()} | tables


def _arrays(records: pd.DataFrame) -> list[str]:
    """Arrays of which a table has a digest a row."""
    return [name.removesuffix("_sha256") for name in records if name.endswith("_sha256")]


@dataclasses.dataclass(frozen=True)
class Store:
    """A published store, row by row.

    `images` is the Zarr group; `task` is the name of the blocks, which are a shard each, in `Work.run`; `records()`
    reads from the tables what these returned, with `row`: `synapse_id`, `<array>_sha256`, and whatever else. Rows of
    the arrays that are not among the records hold no image that counts.
    """

    folder: Path
    images: Path
    task: str
    records: Callable[[], pd.DataFrame]

    def damage(self) -> pd.DataFrame:
        """`file, row, synapse_id, problem` of each stored image that is not as it was written, or of each such table.

        Damaged tables come alone (`row` is TABLE): they say which image belongs in which row.
        """
        found = list(self._damaged_tables()) or list(self._damaged_rows())
        return pd.DataFrame(found, columns=["file", "row", "synapse_id", "problem"])

    def _damaged_tables(self) -> Iterator[tuple]:
        manifest = self.folder / "manifest.json"
        try:
            facts = read_json(manifest)
            tables = {name: digest for name, digest in facts["sha256"].items() if name.endswith(".parquet")}
            facts["plan_sha256"]
        except (OSError, ValueError, KeyError):
            yield manifest, TABLE, 0, "is missing, or no manifest of this format"
            return
        for name, wanted in tables.items():
            if not (self.folder / name).is_file() or sha256(self.folder / name) != wanted:
                yield self.folder / name, TABLE, 0, "is missing, or not as the manifest says"

    def _damaged_rows(self) -> Iterator[tuple]:
        records = self.records()
        for name in _arrays(records):
            try:
                images = Rows(self.images / name)
            except ShardError as error:
                yield self.images / name, TABLE, 0, error.problem
                continue
            wanted = records[["row", "synapse_id", f"{name}_sha256"]]
            synapse_of = dict(zip(wanted[f"{name}_sha256"], wanted["synapse_id"], strict=True))
            rows = tqdm(wanted.itertuples(index=False, name=None), f"verify {name}", len(wanted), disable=None)
            for row, synapse_id, expected in rows:
                if problem := _problem(images, row, expected, synapse_of):
                    yield images.file(row // images.rows_per_shard), row, synapse_id, problem

    @property
    def n_left_out(self) -> int:
        """Rows of the arrays without an image that counts: what the settings let the run list as faults."""
        records = self.records()
        return len(Rows(self.images / _arrays(records)[0])) - len(records)

    def reopen(self, damaged: Collection[int] = ()) -> None:
        """Make of the store an interrupted run, which has yet to do the blocks with `damaged` rows or rows left out.

        The stage that made the store then goes on with it. Where a table is damaged (TABLE), nothing of the store can
        be told to be right, and it is removed.
        """
        if TABLE in damaged:
            shutil.rmtree(self.folder)
            return
        records = self.records()
        images = Rows(self.images / _arrays(records)[0])
        size = images.rows_per_shard
        redone = {row // size for row in damaged}
        finished = {
            number: table.drop(columns="row")
            for number, table in records.groupby(records["row"] // size)
            if number not in redone and len(table) == min(size, len(images) - number * size)
        }
        blocks.reopen(self.folder, read_json(self.folder / "manifest.json")["plan_sha256"], self.task, finished)


def _problem(images: Rows, row: int, expected: str, synapse_of: dict[str, int]) -> str:
    """What is wrong with a stored image, or ""."""
    try:
        found = digest(images[[row]])
    except ShardError as error:
        return error.problem
    if found == expected:
        return ""
    if found in synapse_of:
        return f"holds the image of synapse {synapse_of[found]}"
    return "holds another image than was cut"
