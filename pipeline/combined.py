"""The combined system: clefts detected in a tissue, given partners by AVAN, and compared with the true graph.

Wiring, as `pipeline/stages.py` is: blocks and decisions are those of `pipeline.partners`, voxels those of
`pipeline.extract`.
"""

import functools
import shutil
import uuid

import numpy as np
import pandas as pd
import zarr

from pipeline.artefacts import read_json, sha256, write_json, write_parquet
from pipeline.extract import clefts
from pipeline.extract.volume import ModelVoxels, open_labels, open_model_voxels
from pipeline.partners import assign, blocks, detections, graph, model, predict, stitch
from pipeline.partners.samples import Samples

#: Tiles of block-wise detection and their overlap on each side, and the blocks in which work is shared out (ZYX
#: voxels). Larger tiles waste less on overlaps; feature maps of this one still fit a processor's cache.
TILE, OVERLAP, BLOCK = (20, 160, 160), (2, 16, 16), (32, 256, 256)

CENTER = [f"center_{axis}_nm" for axis in "xyz"]
SEGMENTS = ["pre_segment_id", "post_segment_id"]

#: The pairs of no clefts at all.
NOTHING = pd.DataFrame(
    {"synapse_id": np.int64([]), **dict.fromkeys(SEGMENTS, np.uint64([])), "confidence": 0.0, "margin": 0.0}
)


class System:
    """Detectors, AVAN and the proximity pruner (`files`, {network: model file}) on two tissues.

    `settings` is a `config.Partners`, `work` a folder for volumes of scores and clefts, from which an interrupted
    measurement goes on, `client` a Dask client or None.
    """

    def __init__(self, files, settings, work, client):
        self.files, self.settings, self.work, self.client = files, settings, work, client
        self.models = {name: model.load(files[name]) for name in ("avan", "proximity_pruner")}
        voxel_nm3 = np.prod(settings.voxel_nm)
        self.min_sizes_vx = [max(1, round(size / voxel_nm3)) for size in detections.MIN_SIZES_NM3]
        self._pairs = {}

    def measure(self, volumes, truth):
        """(rows of `detections.parquet`; rows of `volume.parquet`, and the volume of their clefts, as best on `val`).

        `volumes` and `truth` are `{region: ...}` for `val`, of whose tissue the part kept for validation is used, and
        `test`: the paths of its volumes, and its clefts with their segments.
        """
        self._open(truth)
        regions = {name: Region(name, volumes[name], truth[name], self.settings) for name in volumes}
        tables = []
        for representation in detections.REPRESENTATIONS:
            found, _ = graph.grid_search(
                representation,
                lambda region, threshold, of=representation: self._detect(regions[region], of, threshold),
                {name: region.truth for name, region in regions.items()},
                detections.THRESHOLDS[representation],
                self.min_sizes_vx,
            )
            tables.append(found)
        table = pd.concat(tables, ignore_index=True)
        chosen = table[table["chosen"] & (table["region"] == "val")]
        best = chosen.sort_values("edge_f1", kind="stable").iloc[-1]
        setting = regions["test"], best["representation"], best["threshold"]
        return table, self._both_methods(*setting, best["min_size_vx"]), self._clefts(*setting)[1]

    def _open(self, truth):
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

    def _detect(self, region, representation, threshold):
        """`graph.grid_search`'s detector: clefts with AVAN's pairs, and the voxels that they share with true ones."""
        found, path = self._clefts(region, representation, threshold)
        pairs = self._assigned("avan", path)[["cleft_id", *SEGMENTS]]
        predicted = found[["cleft_id", "size_vx", *CENTER]].merge(pairs, on="cleft_id", validate="one_to_one")
        return predicted, detections.overlaps(zarr.open_array(path, mode="r")[:], region.true)

    def _both_methods(self, region, representation, threshold, min_size_vx):
        """Rows of `volume.parquet`: detected clefts, the pairs of AVAN and the proximity pruner, and the true ones."""
        predicted, shared = self._detect(region, representation, threshold)
        predicted, shared = graph.join_pieces(predicted[predicted["size_vx"] >= min_size_vx], shared)
        _, path = self._clefts(region, representation, threshold)
        rows = predicted.rename(columns={f"center_{axis}_nm": f"{axis}_nm" for axis in "xyz"})
        rows = rows[["cleft_id", "x_nm", "y_nm", "z_nm", "size_vx"]]
        for method, short in (("avan", "avan"), ("proximity_pruner", "pruner")):
            pairs = self._assigned(method, path)[["cleft_id", *SEGMENTS, "confidence", "margin"]]
            names = [f"{short}_{name}" for name in ("pre", "post", "confidence", "margin")]
            rows = rows.merge(pairs.set_axis(["cleft_id", *names], axis=1), on="cleft_id", validate="one_to_one")
        sizes = [
            dict(zip(table[key], table["size_vx"], strict=True))
            for table, key in ((predicted, "cleft_id"), (region.truth, "synapse_id"))
        ]
        matched = detections.matches(shared, *sizes).query("partners")[["cleft_id", "synapse_id"]]
        true = matched.merge(region.truth[["synapse_id", *SEGMENTS]], on="synapse_id")
        true = true.set_axis(["cleft_id", "true_synapse_id", "true_pre", "true_post"], axis=1).set_index("cleft_id")
        true = true.astype("uint64").reindex(rows["cleft_id"], fill_value=0)  # exact: nothing is filled with NaN
        return rows.join(true.astype({"true_synapse_id": "int64"}), on="cleft_id")

    def _clefts(self, region, representation, threshold):
        """(table of the components of a score volume at a threshold, path of their volume), found once."""
        path = self.work / region.name / f"{representation}-{threshold}.zarr"
        table = path.with_suffix(".parquet")
        if not table.is_file():
            scores = self._scores(region, representation)
            found = stitch.components(scores, threshold, min(self.min_sizes_vx), BLOCK, path, self.client)
            if len(found):  # a detector may find nothing at all
                around = found.rename(columns={"cleft_id": "synapse_id"}).assign(region=region.name)
                clefts.cut(around, region.volumes | {"clefts": path}, self.settings, path.with_suffix(""), self.client)
            write_parquet(table, found)
        return pd.read_parquet(table), path

    def _scores(self, region, representation):
        """A detector's scores of a whole region, block by block."""
        out = self.work / region.name / f"{representation}.zarr"
        if not out.exists():
            file, voxel_nm = self.files[f"detect_{representation}"], self.settings.voxel_nm
            read = functools.partial(_read, region.volumes["em"], voxel_nm, uuid.uuid4().hex)
            detect = functools.partial(_tile_scores, file)
            shared = (out, voxel_nm, sha256(file), self.client)
            blocks.infer(read, region.bounds_vx, detect, TILE, OVERLAP, BLOCK, *shared)
        return out

    def _assigned(self, method, path):
        """A method's pairs of all clefts of a volume of detections."""
        if (method, path) not in self._pairs:
            folder = path.with_suffix("")
            if folder.is_dir():
                samples = Samples(folder)
                decisions = predict.decisions(*self.models[method], samples, np.arange(len(samples)))
                table = assign.assignments(method, decisions, samples.index, samples.segments)
            else:
                table = NOTHING
            self._pairs[method, path] = table.rename(columns={"synapse_id": "cleft_id"})
        return self._pairs[method, path]


class Region:
    """A tissue, or of `val` the part kept for validation: its volumes, bounds, true clefts and their partners."""

    def __init__(self, name, volumes, truth, settings):
        self.name, self.volumes = name, volumes
        em = ModelVoxels(volumes["em"], settings.voxel_nm)
        self.bounds_vx = em.bounds_vx.copy()
        if name == "val":
            self.bounds_vx[0, 0] = np.ceil(clefts.border_nm(em, settings.val_fraction) / settings.voxel_nm[0])
        grid = [em.frame.centers_nm(np.arange(*self.bounds_vx[:, axis]), axis) for axis in (2, 1, 0)]
        self.true = clefts.labels_at(grid, open_labels(volumes["clefts"], settings.voxel_nm))
        ids, sizes = np.unique(self.true[self.true != 0], return_counts=True)
        sizes = pd.DataFrame({"synapse_id": ids.astype(np.int64), "size_vx": sizes})
        self.truth = truth[["synapse_id", *SEGMENTS]].merge(sizes, on="synapse_id")


def _read(em_path, voxel_nm, run, low_vx, high_vx):
    return open_model_voxels(em_path, voxel_nm, run).read(low_vx, high_vx)[0]


@functools.lru_cache(maxsize=1)
def _network(file):
    """A worker's detector."""
    from pipeline.learn import device

    device.prepare(threads=1)
    return model.load(file)


def _tile_scores(file, tile):
    """Scores `[Z, Y, X]` of a tile of EM: high where there is a cleft, whatever the representation."""
    network, card = _network(file)
    values = predict.dense(network, card, tile)
    return detections.cleft_scores(values, card.network.removeprefix("detect_"), card.voxel_nm)
