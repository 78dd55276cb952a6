"""Clefts and volumes to a sample store: for each cleft the EM, the mask of clefts and the segments around it.

The store is what `pipeline.partners` trains on and assigns partners in: a folder with

- `samples.zarr`: `em` uint8, `cleft` uint8 (1 this row's cleft, 2 any other) and `segments` uint16 (numbers local to
  the row), all [N, Z, Y, X], with the centre of the cleft in voxel `size // 2` of each axis; labels are 0 beyond the
  volume, where the EM is reflected;
- `segments.parquet`: `row, local, segment_id`, what the local numbers mean;
- `index.parquet`: a row each, see `cut`;
- `manifest.json`.

The EM is resampled as `sampling` says; labels are those of the nearest voxel, in nanometres.
"""

import dataclasses
import functools
import itertools
import logging
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from tqdm import tqdm

from pipeline import compute
from pipeline.artefacts import atomic_folder, sha256, write_json, write_parquet
from pipeline.config import Partners
from pipeline.extract import contact, cutout, plan
from pipeline.extract.plan import CENTER
from pipeline.extract.volume import ArrayVolume, ExtractionError, Volume, open_labels
from pipeline.space import zyx

log = logging.getLogger("pipeline")

PARTNERS = ["pre_segment_id", "post_segment_id"]
#: Columns of `index.parquet` after `row`.
INDEX = {
    "synapse_id": "int64",
    **dict.fromkeys(CENTER, "float64"),
    "region": "object",
    **dict.fromkeys(PARTNERS, "uint64"),
    "padded": "float64",
    "at_edge": "bool",
    "fault": "object",
    "n_cleft_vx": "int64",
}
SEGMENTS = {"row": "int64", "local": "int64", "segment_id": "uint64"}
ARRAYS = {"em": "uint8", "cleft": "uint8", "segments": "uint16"}
BLOCK_ROWS = 64  # rows that a task cuts, one shard


def cut(clefts, volumes, settings, out, client=None, seed=0):
    """Write the sample store of `clefts` to the folder `out`, replacing it whole.

    `clefts` has `synapse_id` (positive) and `center_{x,y,z}_nm` (a point of the cleft, or beside it), and may have
    `pre_segment_id, post_segment_id` (integers; 0 or missing: unknown) and `region`. `volumes` names `em`,
    `segmentation` and, where there is one, `clefts`: cloud-volume paths, labels also Zarr arrays (see
    `volume.open_labels`). `settings` is a `config.Partners`; samples are its patches and the margin around them.
    `client` is a Dask client; without one, this process does the work.

    A cleft is what the cleft volume labels with its `synapse_id` around the point, else the contact zone there; its
    sample is centred on its voxel nearest its centroid. `index.parquet` has `row, synapse_id, center_{x,y,z}_nm` (of
    that voxel's corner), `region`, the two partners, `padded` (fraction beyond the EM), `at_edge` (the cleft touches
    the outermost voxels of one of the volumes), `fault` and `n_cleft_vx`.

    A `fault` other than "" says why a row holds no sample, only zeros. `empty_mask`: no voxel of its cleft lies around
    the point. `no_segment`, `one_segment`: where the cleft is to be derived, fewer than two are in contact there.
    `frame_mismatch`: the point is not in the EM, or the segmentation or the clefts are on a grid that is not the EM's
    (voxels no multiple or fraction of its own, or bounds beyond it).

    Where the table has no `region`, the tissue is for training: the last `val_fraction` of its X extent is `val`, the
    rest `train`, and `border` are clefts whose samples need voxels of both, which serve neither; and `n_background`
    samples at random places of `train` are added, with `synapse_id` 0, if there is a cleft volume.

    Raises ExtractionError for a table or volumes that cannot be used and for chunks that cannot be read. The
    result depends on `seed`, not on workers.
    """
    out = Path(out)
    job = Job(dict(volumes), settings, "region" not in clefts, uuid.uuid4().hex)
    em = _open(job).em
    rows = _rows(clefts)
    if job.training and job.volumes.get("clefts") and settings.n_background:
        rows = pd.concat([rows, _background(job, em, seed)], ignore_index=True)
    order, outside = _order(rows, em)
    rows = rows.iloc[order].reset_index(drop=True)
    mismatch = _mismatch(_open(job))
    if mismatch:
        log.warning("clefts: frame_mismatch in every row: %s", mismatch)
    elif len(outside):
        low_nm, high_nm = (corner.tolist() for corner in em.frame.to_nm(em.bounds_vx))
        log.warning(
            "clefts: %d points are outside of the EM, which spans %s to %s nm (XYZ): synapses %s",
            len(outside),
            low_nm,
            high_nm,
            outside[: plan.LISTED].tolist(),
        )
    with atomic_folder(out) as folder:
        blocks = [(folder / f"{start:09d}.npz", rows[start : start + BLOCK_ROWS]) for start in rows.index[::BLOCK_ROWS]]
        task = functools.partial(_cut_block, job)
        done = compute.run(client, task, blocks, "clefts") if client else _run_here(task, blocks)
        _publish(job, dict(done), mismatch, seed, folder)
    return out


@dataclasses.dataclass(frozen=True)
class Job:
    """What every block task knows."""

    volumes: dict
    settings: Partners
    training: bool  # regions follow from positions
    run: str  # unique token of this run, the lifetime of the workers' chunk caches

    @property
    def shape_zyx(self):
        z, y, x = self.settings.patch_zyx
        return z, y + 2 * self.settings.margin_vx, x + 2 * self.settings.margin_vx


@dataclasses.dataclass(frozen=True)
class Volumes:
    em: Volume
    segmentation: object
    clefts: object  # None: clefts are contact zones

    def __iter__(self):
        return (volume for volume in (self.em, self.segmentation, self.clefts) if volume is not None)

    @property
    def bounds_nm(self):
        """[2, XYZ] of what all volumes cover."""
        ends = np.array([volume.frame.to_nm(volume.bounds_vx) for volume in self])
        return np.array([ends[:, 0].max(axis=0), ends[:, 1].min(axis=0)])


def _open(job):
    return _open_once(tuple(sorted(job.volumes.items())), job.settings.voxel_nm, job.run)


@functools.lru_cache(maxsize=1)
def _open_once(paths, voxel_nm, run):
    """The worker's volumes of this `run`, so that their chunk caches last from block to block."""
    paths = dict(paths)
    if missing := [name for name in ("em", "segmentation") if not paths.get(name)]:
        raise ExtractionError(f"partners need an EM volume and a segmentation; no path for {missing}")
    labels = [open_labels(paths[name], voxel_nm) if paths.get(name) else None for name in ("segmentation", "clefts")]
    return Volumes(Volume(paths["em"], voxel_nm), *labels)


def _mismatch(volumes):
    """Why a label volume cannot be on the EM's grid, or "": its voxels, or where it lies."""
    em = volumes.em
    low_nm, high_nm = em.frame.to_nm(em.bounds_vx)
    for name in ("segmentation", "clefts"):
        volume = getattr(volumes, name)
        if volume is None:
            continue
        sizes = np.array([volume.frame.resolution_nm, em.frame.resolution_nm])
        ratio = sizes.max(axis=0) / sizes.min(axis=0)
        if np.abs(ratio - np.rint(ratio)).max() > 1e-3:
            return (
                f"the {name} has voxels of {sizes[0].tolist()} nm, no multiple or fraction of the EM's "
                f"{sizes[1].tolist()} nm (XYZ)"
            )
        low, high = volume.frame.to_nm(volume.bounds_vx)
        beyond = np.maximum(low_nm - low, high - high_nm) > sizes.max(axis=0)
        if beyond.any():
            return (
                f"the {name} lies in {low.tolist()} to {high.tolist()} nm, which is not within the EM's "
                f"{low_nm.tolist()} to {high_nm.tolist()} nm (XYZ)"
            )
    return ""


def _rows(clefts):
    """The table's columns as the store has them; ExtractionError for ids that are not exact integers."""
    plan.check_table(clefts)
    rows = clefts[["synapse_id", *CENTER]].reset_index(drop=True)
    for name in ("synapse_id", *PARTNERS):
        column = clefts[name] if name in clefts else pd.Series(0, index=clefts.index)
        if not pd.api.types.is_integer_dtype(column):
            raise ExtractionError(
                f"{name} holds {column.dtype}, which is not exact above 2^53; read it as (nullable) 64-bit integers"
            )
        column = column.fillna(0)
        wrong = column < 0 if name in PARTNERS else (column < 1) | (column > np.iinfo(np.int64).max)
        if wrong.any():
            raise ExtractionError(
                f"{name} {column[wrong].iloc[0]} (and {wrong.sum() - 1} more) is out of range: ids are positive "
                "64-bit integers (a partner's may be 0, unknown)"
            )
        rows[name] = column.to_numpy("uint64" if name in PARTNERS else "int64")
    if "region" in clefts:
        rows["region"] = clefts["region"].to_numpy()
        if unknown := set(rows["region"]) - {"train", "val", "test"}:
            raise ExtractionError(f"region is train, val or test, not {sorted(map(str, unknown))}")
    return rows


def border_nm(em, val_fraction):
    """Where `train` ends and `val` begins on the X axis of a volume, nm."""
    low, high = em.frame.to_nm(em.bounds_vx)[:, 0]
    return high - val_fraction * (high - low)


def _background(job, em, seed):
    """Random places whose samples lie in `train`, beyond the volume's other faces if need be."""
    low, high = em.frame.to_nm(em.bounds_vx)
    voxel = np.maximum(job.settings.voxel_nm, em.frame.resolution_nm)
    high[0] = (
        border_nm(em, job.settings.val_fraction) - (job.shape_zyx[2] // 2 + 3) * voxel[0]
    )  # the kernel reaches two voxels further
    if high[0] <= low[0]:
        raise ExtractionError(f"the volume is too narrow for samples of {job.shape_zyx[2]} voxels in its training part")
    places = np.random.default_rng(seed).uniform(low, high, size=(job.settings.n_background, 3))
    corners = em.frame.to_nm(em.frame.to_vx(places))
    return pd.DataFrame(corners, columns=CENTER).assign(
        synapse_id=0, **{name: np.zeros(len(corners), np.uint64) for name in PARTNERS}
    )


def _inside(points_nm, em):
    """Which points (XYZ nm) lie in the EM; NaN lies nowhere."""
    low, high = em.frame.to_nm(em.bounds_vx)
    return ((points_nm >= low) & (points_nm < high)).all(axis=1)


def _order(rows, em):
    """(row order along the stored chunks, with points outside last; the ids of those)."""
    inside = _inside(rows[CENTER].to_numpy(float), em)
    along = np.flatnonzero(inside)[plan.morton_order(rows[inside], em)]
    return np.concatenate([along, np.flatnonzero(~inside)]), rows["synapse_id"].to_numpy()[~inside]


def _run_here(task, items):
    return (task(item) for item in tqdm(items, desc="clefts", disable=None))


def _cut_block(job, block):
    """Cut some rows; write their arrays to a file, and return it with the tables of index and segments."""
    path, rows = block
    volumes = _open(job)
    mismatch = _mismatch(volumes)
    border = border_nm(volumes.em, job.settings.val_fraction)
    arrays = {name: np.zeros((len(rows), *job.shape_zyx), dtype) for name, dtype in ARRAYS.items()}
    index, segments = [], []
    for place, row in enumerate(rows.to_dict("records")):
        sample = None
        center = np.array([row[name] for name in CENTER], float)
        fault = "" if not mismatch and _inside(center[None], volumes.em)[0] else "frame_mismatch"
        if not fault:
            try:
                sample = cut_sample(row["synapse_id"], center, volumes, job.shape_zyx, job.settings.voxel_nm)
                center = sample.center_nm
            except Unusable as error:
                fault = str(error)
            except ExtractionError as error:
                raise ExtractionError(f"synapse {row['synapse_id']}: {error}; fetch it again and restart") from None
        if job.training:
            ends = sample.read_nm if sample else center[[0, 0]]
            row["region"] = "val" if ends[0] >= border else "train" if ends[1] <= border else "border"
        if sample:
            local, ids = pd.factorize(sample.segments.ravel(), sort=True)  # np.unique, without its sort of all voxels
            local = local.reshape(sample.segments.shape) + (ids[0] != 0)
            if len(ids) > np.iinfo(np.uint16).max:
                raise ExtractionError(f"synapse {row['synapse_id']}: {len(ids)} segments are too many for one row")
            for name, values in (("em", sample.em), ("cleft", sample.cleft), ("segments", local)):
                arrays[name][place] = values
            segments += [(place, number, segment_id) for number, segment_id in enumerate(ids[ids != 0].tolist(), 1)]
        index.append(
            {
                **{name: row[name] for name in ("synapse_id", "region", *PARTNERS)},
                **dict(zip(CENTER, center, strict=True)),
                "padded": sample.padded if sample else np.nan,
                "at_edge": bool(sample and sample.at_edge),
                "fault": fault,
                "n_cleft_vx": int((sample.cleft == 1).sum()) if sample else 0,
            }
        )
    np.savez(path, **arrays)
    return path, (_table(index, INDEX), _table(segments, SEGMENTS))


def _table(rows, dtypes):
    """A DataFrame of exact types; by way of objects, since pandas would guess floats for some 64-bit ids."""
    return pd.DataFrame(rows, columns=list(dtypes), dtype=object).astype(dtypes)


class Unusable(ValueError):
    """A cleft without a sample; its text is the `fault` of its row (see `cut`)."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What is stored of one cleft; arrays are [Z, Y, X]."""

    em: np.ndarray
    cleft: np.ndarray
    segments: np.ndarray  # ids as in the segmentation
    center_nm: np.ndarray  # XYZ, lower corner of the EM voxel in the middle
    read_nm: tuple  # first and last X of the EM that was read
    padded: float
    at_edge: bool


def cut_sample(synapse_id, point_nm, volumes, shape_zyx, voxel_nm):
    """The Sample of a cleft around a point (XYZ nm), or of a place without one (`synapse_id` 0).

    Raises Unusable where there is none, and ExtractionError for chunks that cannot be read.
    """
    em, clefts = volumes.em, volumes.clefts
    at_edge = False
    center_vx = em.frame.to_vx(point_nm)
    if synapse_id:
        middle_nm = em.frame.to_nm(center_vx + 0.5)
        if clefts is None:
            clefts = _contact(synapse_id, middle_nm, volumes.segmentation)
        own = _own_voxels(synapse_id, middle_nm, clefts, np.array(voxel_nm) * zyx(shape_zyx) / 2)
        resolution = np.array(clefts.frame.resolution_nm)
        off_center = ((own - own.mean(axis=0)) * resolution) ** 2
        center_vx = em.frame.to_vx(clefts.frame.to_nm(own[off_center.sum(axis=1).argmin()] + 0.5))
        low_nm, high_nm = volumes.bounds_nm
        at_edge = bool(((own * resolution <= low_nm) | ((own + 1) * resolution >= high_nm)).any())
    center_nm = em.frame.to_nm(center_vx)
    box = cutout.cut(center_nm, shape_zyx, em, voxel_nm)
    places = [
        em.frame.centers_nm(center_vx[axis], axis) + (np.arange(size) - size // 2) * voxel_nm[axis]
        for axis, size in zip((2, 1, 0), shape_zyx, strict=True)
    ]
    found = np.zeros(shape_zyx, np.uint8)
    if clefts is not None:
        labels = labels_at(places, clefts)
        found = np.where(labels == np.uint64(synapse_id), 1, 2).astype(np.uint8) * (labels != 0)
    return Sample(
        em=box.pixels,
        cleft=found,
        segments=labels_at(places, volumes.segmentation),
        center_nm=center_nm,
        read_nm=tuple(em.frame.to_nm([box.low_vx, box.high_vx])[:, 0]),
        padded=box.padded,
        at_edge=at_edge,
    )


def labels_at(places_nm, volume):
    """Labels [Z, Y, X] of the voxels that hold the positions of a grid (three arrays, Z, Y, X); 0 beyond the volume."""
    resolution, bounds = zyx(volume.frame.resolution_nm), zyx(volume.bounds_vx)
    index = [np.floor(p / nm + 1e-6).astype(np.int64) for p, nm in zip(places_nm, resolution, strict=True)]
    inside = [(low <= i) & (i < high) for i, low, high in zip(index, *bounds, strict=True)]
    if not all(axis.any() for axis in inside):
        return np.zeros([len(axis) for axis in index], np.uint64)
    index = [i[within] for i, within in zip(index, inside, strict=True)]
    stored, corner = volume.read(zyx([i.min() for i in index]), zyx([i.max() + 1 for i in index]))
    stored = np.asarray(stored)
    labels = np.zeros([len(axis) for axis in inside], stored.dtype)
    labels[np.ix_(*inside)] = stored[np.ix_(*(i - first for i, first in zip(index, zyx(corner), strict=True)))]
    return labels


def _around(point_nm, half_nm, volume):
    """The labels [Z, Y, X] of a volume in a box about a point, and its first voxel (XYZ)."""
    low = np.maximum(volume.frame.to_vx(point_nm - half_nm), volume.bounds_vx[0])
    high = np.minimum(volume.frame.to_vx(point_nm + half_nm) + 1, volume.bounds_vx[1])
    if (low >= high).any():
        return np.zeros((0, 0, 0), np.uint64), low
    labels, corner = volume.read(low, high)
    return np.asarray(labels), corner


def _own_voxels(synapse_id, point_nm, clefts, half_nm):
    """[n, 3] XYZ voxels of a cleft in a box about a point."""
    labels, corner = _around(point_nm, half_nm, clefts)
    own = np.argwhere(labels == np.uint64(synapse_id))
    if not len(own):
        raise Unusable("empty_mask")
    return zyx(own) + corner


def _contact(synapse_id, point_nm, segmentation):
    """The contact zone around a point, as a volume of this one cleft."""
    labels, corner = _around(point_nm, np.full(3, contact.FIELD_NM), segmentation)
    point_vx = segmentation.frame.to_vx(point_nm)
    if ((point_vx < segmentation.bounds_vx[0]) | (point_vx >= segmentation.bounds_vx[1])).any():
        raise Unusable("no_segment")
    here, voxel_nm = zyx(point_vx - corner), segmentation.frame.resolution_nm
    near = contact.nearest_segments(labels, here, voxel_nm)
    if not len(near):
        raise Unusable("no_segment")
    zone = contact.contact_zone(labels, here, voxel_nm)
    if not zone.any():
        raise Unusable("one_segment")
    return ArrayVolume(zone * np.uint64(synapse_id), segmentation.frame, corner)


def list_clefts(path, block_zyx=(32, 512, 512)):
    """Every cleft of a volume of clefts: `synapse_id, center_{x,y,z}_nm, size_vx`, by id.

    The centre is the corner of the cleft's voxel nearest its centroid (of those, the first in raster order), as `cut`
    wants it. `path` is as in `volume.open_labels`, of which the finest scale is read, twice, block by block.
    """
    volume = open_labels(path, (0.0, 0.0, 0.0))
    resolution = np.array(volume.frame.resolution_nm)
    sums = [table.assign(size_vx=1).groupby("synapse_id").sum() for table in _labelled_voxels(volume, block_zyx)]
    total = pd.concat([_NO_VOXELS.assign(size_vx=0).set_index("synapse_id"), *sums]).groupby("synapse_id").sum()
    centroid = total[list("xyz")].div(total["size_vx"], axis=0)
    nearest = [_NO_VOXELS.assign(distance=0.0)]
    for table in _labelled_voxels(volume, block_zyx):
        offset = (table[list("xyz")].to_numpy() - centroid.loc[table["synapse_id"]].to_numpy()) * resolution
        nearest.append(_first(table.assign(distance=(offset**2).sum(axis=1))))
    nearest = _first(pd.concat(nearest, ignore_index=True))
    listed = pd.DataFrame({"synapse_id": nearest["synapse_id"]})
    listed[CENTER] = volume.frame.to_nm(nearest[list("xyz")])
    return listed.assign(size_vx=total["size_vx"].to_numpy())


_NO_VOXELS = pd.DataFrame({"synapse_id": np.zeros(0, np.uint64), **{axis: np.zeros(0, np.int64) for axis in "xyz"}})


def _labelled_voxels(volume, block_zyx):
    """Yield `synapse_id, x, y, z` of the labelled voxels of each block of a volume."""
    low, high = volume.bounds_vx
    corners = list(
        itertools.product(*(range(a, b, step) for a, b, step in zip(low, high, zyx(block_zyx), strict=True)))
    )
    for corner in tqdm(corners, desc="list clefts", disable=None):
        labels, start = volume.read(corner, np.minimum(corner + zyx(block_zyx), high))
        labels = np.asarray(labels)
        places = np.nonzero(labels)
        x, y, z = (axis + first for axis, first in zip(places[::-1], start, strict=True))
        yield pd.DataFrame({"synapse_id": labels[places].astype(np.uint64), "x": x, "y": y, "z": z})


def _first(table):
    """Of each cleft the voxel with the least distance, then the first in raster order."""
    ordered = table.sort_values(["synapse_id", "distance", "z", "y", "x"])
    return ordered.drop_duplicates("synapse_id").reset_index(drop=True)


def _publish(job, done, mismatch, seed, folder):
    """Gather the blocks, {file of arrays: (index, segments)}, into the store; then the tables and the manifest."""
    paths = sorted(done)
    starts = np.cumsum([0] + [len(done[path][0]) for path in paths])
    group = zarr.create_group(folder / "samples.zarr")
    for name, dtype in ARRAYS.items():
        group.create_array(
            name,
            shape=(int(starts[-1]), *job.shape_zyx),
            dtype=dtype,
            chunks=(1, *job.shape_zyx),
            shards=(BLOCK_ROWS, *job.shape_zyx),
            compressors=None if name == "em" else "auto",  # it would save little of the EM
            dimension_names=("n", "z", "y", "x"),
        )
    segments = []
    for path, start, end in zip(paths, starts[:-1], starts[1:], strict=True):
        with np.load(path) as block:
            for name in ARRAYS:
                group[name][start:end] = block[name]
        path.unlink()
        segments.append(done[path][1].assign(row=done[path][1]["row"] + start))
    index = pd.concat([done[path][0] for path in paths], ignore_index=True)
    index.insert(0, "row", np.arange(len(index)))
    write_parquet(folder / "index.parquet", index)
    write_parquet(folder / "segments.parquet", pd.concat(segments, ignore_index=True))
    faults = index["fault"][index["fault"] != ""].value_counts().sort_index()
    background = index["synapse_id"] == 0
    log.info("clefts: %d samples; faults: %s", len(index), dict(faults))
    write_json(
        folder / "manifest.json",
        {
            "voxel_nm": list(job.settings.voxel_nm),
            "shape_zyx": list(job.shape_zyx),
            "seed": seed,
            "n": len(index),
            "n_background": int(background.sum()),
            "regions": index["region"][~background].value_counts().to_dict(),
            "faults": {name: int(n) for name, n in faults.items()},
            "frame_mismatch": mismatch,
            "cleft_source": "volume" if job.volumes.get("clefts") else "contact zone",
            "sha256": {name: sha256(folder / name) for name in ("samples.zarr", "index.parquet", "segments.parquet")},
        },
    )
