"""Clefts and volumes to a sample store: for each cleft the EM, the mask of clefts and the segments around it.

The store is what `pipeline.partners` trains on and assigns partners in: a folder with

- `samples.zarr`: `em` uint8, `cleft` uint8 (1 this row's cleft, 2 any other) and `segments` uint16 (numbers local to
  the row), all [N, Z, Y, X], with the centre of the cleft in voxel `size // 2` of each axis; labels are 0 beyond the
  volume, where the EM is reflected;
- `segments.parquet`: `row, local, segment_id`, what the local numbers mean;
- `index.parquet`: a row each, see `cut`;
- `manifest.json`, with the hash of the plan: what was published from the same plan is kept, see `patches`.

The EM is resampled as `boxes` says; labels are those of the nearest voxel, in nanometres.
"""

import dataclasses
import functools
import hashlib
import logging
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import blocks, shards, stores
from pipeline.artefacts import write_json, write_parquet
from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.config import Partners
from pipeline.extract import rows
from pipeline.extract.sample import NoSample, Sample, Volumes, cut_sample
from pipeline.extract.volume import ExtractionError, cached_em, cached_labels

log = logging.getLogger("pipeline")

#: Columns of `index.parquet` after `row`.
INDEX = {
    "synapse_id": "int64",
    **dict.fromkeys(CENTER_NM, "float64"),
    "region": "object",
    **dict.fromkeys(PARTNER_SEGMENTS, "uint64"),
    "padded": "float64",
    "at_edge": "bool",
    "fault": "object",
    **{f"{name}_sha256": "object" for name in ("em", "cleft", "segments")},
}
LABELS = {"cleft": "uint8", "segments": "uint16"}  # compressed, which would save little of the EM
BLOCK_ROWS = 64  # rows that a task cuts, one shard
#: To be raised by whoever changes what is cut or how it is stored; a test fails where samples changed and this did not.
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """What every block task knows."""

    paths: Mapping[str, str | Path | None]
    settings: Partners
    training: bool  # regions follow from positions
    samples: Path  # the Zarr group
    run: str  # unique token of this run, the lifetime of the workers' chunk caches


def shape_zyx(settings: Partners) -> tuple[int, int, int]:
    """A sample's size: the networks' patch, and the margin around it in the plane."""
    z, y, x = settings.patch_zyx
    return z, y + 2 * settings.margin_vx, x + 2 * settings.margin_vx


def cut(
    clefts: pd.DataFrame,
    paths: Mapping[str, str | Path | None],
    settings: Partners,
    out: Path,
    client: Client | None = None,
    seed: int = 0,
) -> Path:
    """Write the sample store of `clefts` to the folder `out`, replacing it whole; returns `out`.

    `clefts` has `synapse_id` (positive) and `center_{x,y,z}_nm` (a point of the cleft, or beside it), and may have
    `pre_segment_id, post_segment_id` (integers; 0 or missing: unknown) and `region`. `paths` names the volumes `em`,
    `segmentation` and, where there is one, `clefts`: cloud-volume paths, labels also Zarr arrays (see
    `volume.open_labels`).

    A cleft is what the cleft volume labels with its `synapse_id` around the point, else the contact zone there; its
    sample is centred on its voxel nearest its centroid. `index.parquet` has `row, synapse_id, center_{x,y,z}_nm` (of
    that voxel's corner), `region`, the two partners, `padded` (fraction beyond the EM), `at_edge` (the cleft touches
    the outermost voxels of one of the volumes), `fault`, and digests of the row of each array.

    A `fault` other than "" says why a row holds no sample, only zeros. `empty_mask`: no voxel of its cleft lies around
    the point. `no_segment`, `one_segment`: where the cleft is to be derived, fewer than two are in contact there.
    `frame_mismatch`: the point is not in the EM, or the segmentation or the clefts are on a grid that is not the EM's
    (voxels no multiple or fraction of its own, or bounds beyond it).

    Where the table has no `region`, the tissue is for training: the last `val_fraction` of its X extent is `val`, the
    rest `train`, and `border` are clefts whose samples need voxels of both, which serve neither; and
    `background` samples a cleft at random places of `train` are added, with `synapse_id` 0, if there is a cleft volume.

    A store that was published from the same plan is kept as it is. An interrupted run continues from its finished
    blocks when called again with the same arguments, and ends with the same bytes; they depend on `seed`, not on
    workers. Raises ExtractionError for a table or volumes that cannot be used and for chunks that cannot be read.
    """
    training, run = "region" not in clefts, uuid.uuid4().hex
    volumes = _open(paths, settings, run)
    n_background = round(settings.background * len(clefts)) if training and volumes.clefts else 0
    em = cached_em(str(paths["em"]), settings.voxel_nm, run)
    planned = rows.planned(clefts, em, settings, shape_zyx(settings), n_background, seed)
    mismatch = volumes.mismatch()
    if mismatch:
        log.warning("clefts: frame_mismatch in every row: %s", mismatch)
    plan = {
        "format": FORMAT,
        "rows": hashlib.sha256(planned.to_csv(index=False).encode()).hexdigest(),
        "volumes": [volume.identity for volume in volumes],
        "settings": settings.model_dump(mode="json", include={"voxel_nm", "patch_zyx", "margin_vx", "val_fraction"}),
        "seed": seed,
    }
    create = lambda folder: _create(folder / "samples.zarr", len(planned), settings)  # noqa: E731
    with blocks.Work(out, plan, create, divides=True) as work:
        if work.is_published:
            log.info("clefts: %s has these samples already", out)
            return Path(out)
        task = functools.partial(_cut_block, Job(paths, settings, training, work.content / "samples.zarr", run))
        items = [(start, planned[start : start + BLOCK_ROWS]) for start in range(0, len(planned), BLOCK_ROWS)]
        index = pd.concat(work.run("samples", task, items, client), ignore_index=True)
        facts = {
            "plan_sha256": work.plan_sha256,
            "voxel_nm": list(settings.voxel_nm),
            "shape_zyx": list(shape_zyx(settings)),
            "seed": seed,
            "frame_mismatch": mismatch,
            "cleft_source": "volume" if paths.get("clefts") else "contact zone",
        }
        _describe(work.content, index, facts)
        work.publish()
    return Path(out)


def store(folder: Path) -> stores.Store:
    """A folder that `cut` published, as `verify` reads it."""

    def records() -> pd.DataFrame:
        segments = pd.read_parquet(folder / "segments.parquet").sort_values(["row", "local"])
        ids = {row: own.tolist() for row, own in segments.groupby("row")["segment_id"]}
        index = pd.read_parquet(folder / "index.parquet")
        return index.assign(segments=[ids.get(row, []) for row in index["row"]])

    return stores.Store(folder, folder / "samples.zarr", "samples", records)


def _open(paths: Mapping[str, str | Path | None], settings: Partners, run: str) -> Volumes:
    if missing := [name for name in ("em", "segmentation") if not paths.get(name)]:
        raise ExtractionError(f"partners need an EM volume and a segmentation; no path for {missing}")
    em = cached_em(str(paths["em"]), settings.voxel_nm, run)
    labels = [
        cached_labels(str(paths[name]), settings.voxel_nm, run)
        for name in ("segmentation", "clefts")
        if paths.get(name)
    ]
    return Volumes(em, *labels)


def _create(path: Path, n: int, settings: Partners) -> None:
    """An empty group of the store's arrays."""
    group, shape, axes = zarr.create_group(path), shape_zyx(settings), ("n", "z", "y", "x")
    shards.create(group, "em", (n, *shape), BLOCK_ROWS, axes)
    for name, dtype in LABELS.items():
        shards.create(group, name, (n, *shape), BLOCK_ROWS, axes, dtype, compressed=True)


def _cut_block(job: Job, block: tuple[int, pd.DataFrame]) -> pd.DataFrame:
    """Cut some rows and write their shards; returns the index with `segments`, the ids of each row's local numbers."""
    start, planned = block
    volumes, shape = _open(job.paths, job.settings, job.run), shape_zyx(job.settings)
    mismatch = volumes.mismatch()
    border = rows.border_nm(volumes.em.bounds_nm, job.settings.val_fraction)
    arrays = {name: np.zeros((len(planned), *shape), dtype) for name, dtype in {"em": "uint8", **LABELS}.items()}
    index = []
    for place, row in enumerate(planned.to_dict("records")):
        point_nm = np.array([row[name] for name in CENTER_NM], float)
        sample, fault, ids = None, "frame_mismatch", []
        try:
            if not mismatch and volumes.em.inside(point_nm):
                sample = cut_sample(row["synapse_id"], point_nm, volumes, shape, job.settings.voxel_nm)
                fault, ids = "", _fill(arrays, place, sample)
        except NoSample as error:
            fault = str(error)
        except ExtractionError as error:
            raise ExtractionError(f"synapse {row['synapse_id']}: {error}; fetch it again and restart") from None
        if job.training:
            first_nm, last_nm = sample.read_nm if sample else point_nm[[0, 0]]
            row["region"] = rows.region(first_nm, last_nm, border)
        row |= dict(zip(CENTER_NM, sample.center_nm if sample else point_nm, strict=True))
        row |= {"padded": sample.padded if sample else np.nan, "at_edge": bool(sample and sample.at_edge)}
        index.append(row | {"fault": fault, "segments": ids})
    for name, values in arrays.items():
        blocks.write(job.samples / name, (slice(start, start + len(planned)),), values)
        for row, image in zip(index, values, strict=True):
            row[f"{name}_sha256"] = shards.digest(image)
    return _table(index, INDEX | {"segments": "object"})


def _fill(arrays: dict[str, np.ndarray], place: int, sample: Sample) -> list[int]:
    """Put a sample in its place in the block; returns the ids of its segments."""
    local, ids = sample.numbered_segments
    if len(ids) > np.iinfo(np.uint16).max:
        raise ExtractionError(f"{len(ids)} segments are too many for one sample")
    for name, values in (("em", sample.em), ("cleft", sample.cleft), ("segments", local)):
        arrays[name][place] = values
    return ids


def segment_table(ids_of_rows: Iterable[list[int]]) -> pd.DataFrame:
    """What the local numbers of each row mean, from the ids that they number: `row, local, segment_id`."""
    numbered = [(row, *one) for row, ids in enumerate(ids_of_rows) for one in enumerate(ids, 1)]
    return _table(numbered, {"row": "int64", "local": "int64", "segment_id": "uint64"})


def _table(records: list, dtypes: dict[str, str]) -> pd.DataFrame:
    """A table of exact types; by way of objects, since pandas would guess floats for some 64-bit ids."""
    return pd.DataFrame(records, columns=list(dtypes), dtype=object).astype(dtypes)


def _describe(folder: Path, index: pd.DataFrame, facts: dict[str, Any]) -> None:
    """Write the tables and the manifest."""
    write_parquet(folder / "segments.parquet", segment_table(index.pop("segments")))
    index.insert(0, "row", np.arange(len(index)))
    write_parquet(folder / "index.parquet", index)
    faults = index["fault"][index["fault"] != ""].value_counts().sort_index()
    background = index["synapse_id"] == 0
    log.info("clefts: %d samples; faults: %s", len(index), faults.to_dict())
    write_json(
        folder / "manifest.json",
        facts
        | {
            "n": len(index),
            "n_background": int(background.sum()),
            "regions": index["region"][~background].value_counts().to_dict(),
            "faults": {name: int(n) for name, n in faults.items()},
            "sha256": stores.digests(folder, index),
        },
    )
