"""The combined system: clefts detected in a tissue, given partners by AVAN, and compared with the true graph.

Wiring, as `pipeline/stages` is: blocks and decisions are those of `pipeline.partners`, voxels those of
`pipeline.extract`.
"""

import functools
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline.artefacts import read_json, sha256, write_json, write_parquet
from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.config import Partners
from pipeline.extract.boxes import Grid, bounds_on, nearest, resampled
from pipeline.extract.clefts import segment_table, shape_zyx
from pipeline.extract.rows import border_nm
from pipeline.extract.sample import Sample, Volumes, cut_sample
from pipeline.extract.volume import ArrayVolume, Volume, cached_em, open_labels
from pipeline.partners import assign, detections, graph, model, predict, stitch, tiles
from pipeline.partners.samples import Samples
from pipeline.space import VoxelFrame, zyx

#: Tiles of block-wise detection and their overlap on each side, and the blocks in which work is shared out (ZYX
#: voxels). Larger tiles waste less on overlaps; feature maps of this one still fit a processor's cache.
TILE, OVERLAP, BLOCK = (20, 160, 160), (2, 16, 16), (32, 256, 256)


class Region:
    """A tissue, or the part of `val` kept for validation, on the networks' voxels: bounds, true clefts, partners."""

    def __init__(self, name: str, paths: Mapping[str, str], truth: pd.DataFrame, settings: Partners):
        self.name, self.paths, self.settings = name, paths, settings
        self.frame = VoxelFrame(settings.voxel_nm)
        self.bounds_vx = bounds_on(self.frame, Volume(paths["em"], settings.voxel_nm))
        if name == "val":
            border = border_nm(self.frame.to_nm(self.bounds_vx), settings.val_fraction)
            self.bounds_vx[0, 0] = np.ceil(border / settings.voxel_nm[0])
        low, high = self.bounds_vx
        labels = open_labels(paths["clefts"], settings.voxel_nm)
        self.true = nearest(labels, Grid.of_voxels(low, high, self.frame))
        ids, sizes = np.unique(self.true[self.true != 0], return_counts=True)
        size_vx = pd.DataFrame({"synapse_id": ids.astype(np.int64), "size_vx": sizes})
        self.truth = truth[["synapse_id", *PARTNER_SEGMENTS]].merge(size_vx, on="synapse_id")

    @functools.cached_property
    def around(self) -> tuple[ArrayVolume, ArrayVolume]:
        """EM and segments of all that samples may show, read once for all detectors and thresholds.

        As in `extract.sample`, voxels are centred on the EM's voxels that hold their middles.
        """
        em = Volume(self.paths["em"], self.settings.voxel_nm)
        segmentation = open_labels(self.paths["segmentation"], self.settings.voxel_nm)
        reach = zyx(shape_zyx(self.settings)) // 2 + 1
        low, high = self.bounds_vx[0] - reach, self.bounds_vx[1] + reach
        grey, segments = (np.empty(zyx(high - low), dtype) for dtype in (np.uint8, np.uint64))
        for section, z in enumerate(range(low[2], high[2])):  # one by one, since resampling takes memory
            plane = Grid.of_voxels(np.array([*low[:2], z]), np.array([*high[:2], z + 1]), self.frame)
            plane = Grid.at(plane.center_nm, plane.shape_zyx, em, plane.voxel_nm)
            grey[section], segments[section] = resampled(em, plane).pixels[0], nearest(segmentation, plane)[0]
        return ArrayVolume(grey, self.frame, low), ArrayVolume(segments, self.frame, low)


class Detections(Samples):
    """Samples of the clefts in a volume of detections, which no store holds: they are cut when they are read."""

    def __init__(self, region: Region, found: pd.DataFrame, path: Path):
        self.folder, self.voxel_nm, self.shape_zyx = path, region.settings.voxel_nm, shape_zyx(region.settings)
        labels = np.asarray(zarr.open_array(path, mode="r")[:])  # in memory: chunks are decoded once, not once a cleft
        self._volumes = Volumes(*region.around, ArrayVolume(labels, region.frame, region.bounds_vx[0]))
        self._found = found
        cut = [(sample.at_edge, sample.numbered_segments[1]) for sample in map(self._cut, range(len(found)))]
        self.index = pd.DataFrame({"row": np.arange(len(found)), "synapse_id": found["cleft_id"], "fault": ""})
        self.index["at_edge"] = np.array([at_edge for at_edge, _ in cut], bool)
        self.index[PARTNER_SEGMENTS] = np.uint64(0)  # unknown, as are their local numbers
        self.index[["pre_local", "post_local"]] = 0
        self.segments = segment_table(ids for _, ids in cut)

    def _cut(self, row: int) -> Sample:
        cleft = self._found.iloc[row]
        center_nm = cleft[CENTER_NM].to_numpy(float)
        return cut_sample(int(cleft["cleft_id"]), center_nm, self._volumes, self.shape_zyx, self.voxel_nm)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        cut = [self._cut(row) for row in rows]
        arrays = zip(*((one.em, one.cleft, one.numbered_segments[0].astype(np.uint16)) for one in cut), strict=True)
        return tuple(np.stack(array) for array in arrays)


class System:
    """Detectors, AVAN and the proximity pruner (`files`, {network: model file}) on two tissues.

    `work` is a folder for volumes of scores and clefts, from which an interrupted measurement continues.
    """

    def __init__(self, files: Mapping[str, Path], settings: Partners, work: Path, client: Client | None):
        self.files = {name: Path(file).absolute() for name, file in files.items()}  # workers may be in another folder
        self.settings, self.work, self.client = settings, Path(work).absolute(), client
        self.models = {name: model.load(files[name]) for name in ("avan", "proximity_pruner")}
        voxel_nm3 = np.prod(settings.voxel_nm)
        self.min_sizes_vx = [max(1, round(size / voxel_nm3)) for size in detections.MIN_SIZES_NM3]
        self._pairs: dict[tuple[str, Path], pd.DataFrame] = {}

    def measure(
        self, volumes: Mapping[str, Mapping[str, str]], truth: Mapping[str, pd.DataFrame]
    ) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
        """(rows of `detections.parquet`; rows of `volume.parquet`, and the volume of their clefts, as best on `val`).

        `volumes` and `truth` are `{region: ...}` for `val`, of whose tissue the part kept for validation is used, and
        `test`: the paths of its volumes, and its clefts with their segments.
        """
        self._open(truth)
        regions = {name: Region(name, volumes[name], truth[name], self.settings) for name in volumes}
        known = {name: region.truth for name, region in regions.items()}
        searched = [
            graph.grid_search(
                name, functools.partial(self._detect, regions, name), known, thresholds, self.min_sizes_vx
            )
            for name, thresholds in detections.THRESHOLDS.items()
            if f"detect_{name}" in self.files
        ]
        table = pd.concat(searched, ignore_index=True)
        chosen = table[table["chosen"] & (table["region"] == "val")]
        best = chosen.sort_values("edge_f1", kind="stable").iloc[-1]
        predicted, shared = self._detect(regions, best["representation"], "test", best["threshold"])
        predicted, shared = graph.join_pieces(predicted[predicted["size_vx"] >= best["min_size_vx"]], shared)
        found, path = self._clefts(regions["test"], best["representation"], best["threshold"])
        return table, self._both_methods(regions["test"], predicted, shared, found, path), path

    def _open(self, truth: Mapping[str, pd.DataFrame]) -> None:
        """Make the folder ready: what other networks, or the same ones on other tissues, left there is removed."""
        wanted = {
            "networks": {name: sha256(file) for name, file in self.files.items()},
            "settings": self.settings.model_dump(mode="json"),
            "truth": {name: int(pd.util.hash_pandas_object(table).sum()) for name, table in truth.items()},
        }
        record = self.work / "system.json"
        if not record.is_file() or read_json(record) != wanted:
            shutil.rmtree(self.work, ignore_errors=True)
            write_json(record, wanted)

    def _detect(
        self, regions: Mapping[str, Region], representation: str, name: str, threshold: float
    ) -> graph.Detected:
        """`graph.grid_search`'s detector: clefts with AVAN's pairs, and the voxels that they share with true ones."""
        region = regions[name]
        found, path = self._clefts(region, representation, threshold)
        pairs = self._assigned("avan", region, found, path)[["cleft_id", *PARTNER_SEGMENTS]]
        predicted = found[["cleft_id", "size_vx", *CENTER_NM]].merge(pairs, on="cleft_id", validate="one_to_one")
        return predicted, detections.overlaps(np.asarray(zarr.open_array(path, mode="r")[:]), region.true)

    def _both_methods(
        self, region: Region, predicted: pd.DataFrame, shared: pd.DataFrame, found: pd.DataFrame, path: Path
    ) -> pd.DataFrame:
        """Rows of `volume.parquet`: detected clefts, the pairs of AVAN and the proximity pruner, and the true ones."""
        rows = predicted.rename(columns={f"center_{axis}_nm": f"{axis}_nm" for axis in "xyz"})
        rows = rows[["cleft_id", "x_nm", "y_nm", "z_nm", "size_vx"]]
        for method, short in (("avan", "avan"), ("proximity_pruner", "pruner")):
            pairs = self._assigned(method, region, found, path)
            pairs = pairs[["cleft_id", *PARTNER_SEGMENTS, "confidence", "margin"]]
            names = [f"{short}_{name}" for name in ("pre", "post", "confidence", "margin")]
            rows = rows.merge(pairs.set_axis(["cleft_id", *names], axis=1), on="cleft_id", validate="one_to_one")
        matched = graph.matched(predicted, shared, region.truth).query("partners")[["cleft_id", "synapse_id"]]
        true = matched.merge(region.truth[["synapse_id", *PARTNER_SEGMENTS]], on="synapse_id")
        true = true.set_axis(["cleft_id", "true_synapse_id", "true_pre", "true_post"], axis=1).set_index("cleft_id")
        true = true.astype("uint64").reindex(rows["cleft_id"], fill_value=0)  # exact: nothing is filled with NaN
        return rows.join(true.astype({"true_synapse_id": "int64"}), on="cleft_id")

    def _clefts(self, region: Region, representation: str, threshold: float) -> tuple[pd.DataFrame, Path]:
        """(table of the components of a score volume at a threshold, path of their volume), found once."""
        path = self.work / region.name / f"{representation}-{threshold}.zarr"
        table = path.with_suffix(".parquet")
        if not table.is_file():
            scores = self._scores(region, representation)
            found = stitch.components(scores, threshold, min(self.min_sizes_vx), BLOCK, path, self.client)
            write_parquet(table, found)
        return pd.read_parquet(table), path

    def _scores(self, region: Region, representation: str) -> Path:
        """A detector's scores of a whole region, block by block."""
        out = self.work / region.name / f"{representation}.zarr"
        if not out.exists():
            file, voxel_nm = self.files[f"detect_{representation}"], self.settings.voxel_nm
            read = functools.partial(_read, region.paths["em"], voxel_nm, uuid.uuid4().hex)
            detect = functools.partial(_tile_scores, file)
            shared = (out, voxel_nm, sha256(file), self.client)
            tiles.infer(read, region.bounds_vx, detect, TILE, OVERLAP, BLOCK, *shared)
        return out

    def _assigned(self, method: str, region: Region, found: pd.DataFrame, path: Path) -> pd.DataFrame:
        """A method's pairs of all clefts of a volume of detections."""
        if (method, path) not in self._pairs:
            samples = Detections(region, found, path)
            network, card = self.models[method]
            decisions = predict.decisions(network, card, samples, samples.index["row"].to_numpy())
            table = assign.assignments(method, decisions, samples.index, samples.segments)
            table = table.rename(columns={"synapse_id": "cleft_id"})
            self._pairs[method, path] = table.astype({"confidence": float, "margin": float})
        return self._pairs[method, path]


def _read(
    em_path: str, voxel_nm: tuple[float, float, float], run: str, low_vx: np.ndarray, high_vx: np.ndarray
) -> np.ndarray:
    grid = Grid.of_voxels(low_vx, high_vx, VoxelFrame(voxel_nm))
    return resampled(cached_em(em_path, voxel_nm, run), grid).pixels


@functools.lru_cache(maxsize=1)
def _network(file: Path) -> tuple:
    """A worker's detector."""
    from pipeline.learn import device

    device.prepare(threads=1)
    return model.load(file)


def _tile_scores(file: Path, tile: np.ndarray) -> np.ndarray:
    """Scores `[Z, Y, X]` of a tile of EM: high where there is a cleft, whatever the representation."""
    network, card = _network(file)
    values = predict.dense(network, card, tile)
    return detections.cleft_scores(values, card.network.removeprefix("detect_"), card.voxel_nm)
