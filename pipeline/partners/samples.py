"""Reading of a sample store: the EM, the clefts and the segments around each cleft.

The store is a folder with `samples.zarr` (`em`, `cleft` and `segments`, all `[N, Z, Y, X]`, voxel `size // 2` of each
axis at the cleft's centroid), `segments.parquet`, `index.parquet` and `manifest.json`; a row is a cleft, or background.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import shards
from pipeline.artefacts import read_json
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.errors import PipelineError

DTYPES = {"em": np.uint8, "cleft": np.uint8, "segments": np.uint16}
OWN = 1  # value of a row's own cleft in `cleft`; that of all others is 2


class SamplesError(PipelineError):
    """A sample store that cannot be used, or not for what was asked."""


def manifest(folder: Path) -> Path:
    """Path of a store's manifest; SamplesError where the folder is no finished store."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise SamplesError(f"{folder} holds no finished sample store (no manifest.json); cut the samples first")
    return path


class Samples:
    """The rows of the store in `folder`, read when asked for.

    `index` is the store's table with two columns more: `pre_local` and `post_local`, the numbers that the true partners
    have in the row's `segments`, 0 where a partner is unknown or not in the sample. `voxel_nm` is XYZ, `shape_zyx` the
    size of a sample. SamplesError for a folder that is no finished store or contradicts itself.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        facts = read_json(manifest(folder))
        self.voxel_nm = tuple(facts["voxel_nm"])
        self.shape_zyx = tuple(facts["shape_zyx"])
        self.index = pd.read_parquet(self.folder / "index.parquet")
        self.segments = pd.read_parquet(self.folder / "segments.parquet")
        self._arrays = {name: shards.Rows(self.folder / "samples.zarr" / name) for name in DTYPES}
        self._check()
        for side in ("pre", "post"):
            self.index[f"{side}_local"] = self._local_numbers(f"{side}_segment_id")

    def __len__(self) -> int:
        return len(self.index)

    def _check(self) -> None:
        wanted = (len(self.index), *self.shape_zyx)
        for name, array in self._arrays.items():
            if array.shape != wanted or array.dtype != DTYPES[name]:
                raise SamplesError(
                    f"{self.folder}: {name} is {array.dtype} {array.shape}, but the index and the manifest say "
                    f"{np.dtype(DTYPES[name])} {wanted}; cut the samples again"
                )
        if not (self.index["row"] == np.arange(len(self.index))).all():
            raise SamplesError(f"{self.folder}/index.parquet: `row` must count from 0; cut the samples again")
        ids = {
            "index.parquet": self.index[PARTNER_SEGMENTS],
            "segments.parquet": self.segments[["segment_id"]],
        }
        for name, columns in ids.items():
            if inexact := [column for column in columns if columns[column].dtype != np.uint64]:
                raise SamplesError(f"{self.folder}/{name}: {inexact} must be uint64: large ids would be rounded")
        if (twice := self.segments.duplicated(["row", "segment_id"])).any():
            row = self.segments["row"][twice].iloc[0]
            raise SamplesError(f"{self.folder}/segments.parquet: row {row} lists a segment twice")

    def _local_numbers(self, column: str) -> np.ndarray:
        """Local number of each row's segment `column`, 0 where it has none."""
        keys = self.index[["row", column]].rename(columns={column: "segment_id"})
        found = keys.merge(self.segments, on=["row", "segment_id"], how="left", validate="one_to_one")
        return found["local"].fillna(0).to_numpy(np.int64)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """(em uint8, cleft uint8, segments uint16), each `[N, Z, Y, X]`, of the store's `rows` in their order."""
        return tuple(array[rows] for array in self._arrays.values())

    def rows(self, region: str, partners: bool = False, background: bool = False) -> np.ndarray:
        """Usable rows of a `region` (train, val, test): clefts, those with both true `partners`, with `background`.

        SamplesError where there is none.
        """
        index = self.index
        cleft = index["synapse_id"] != 0
        if partners:
            cleft &= (index["pre_local"] > 0) & (index["post_local"] > 0)
        chosen = (cleft | (index["synapse_id"] == 0)) if background else cleft
        rows = np.flatnonzero(chosen & (index["region"] == region) & (index["fault"] == ""))
        if not len(rows):
            what = "clefts with both true partners" if partners else "clefts"
            raise SamplesError(f"{self.folder} has no {what} without fault in region {region!r}: cut samples of some")
        return rows
