"""Synapse positions and a volume to the `patches/` folder: plan, cut in parallel, check, publish.

Rows are in the order of a Morton curve over the volume's stored chunks. A block of consecutive rows, one Zarr shard of
each array, is one task; it therefore reads neighbouring synapses, whose stored chunks the worker has mostly in memory.
"""

import dataclasses
import functools
import hashlib
import logging
import os
import pickle
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import zarr

from pipeline import compute
from pipeline.artefacts import read_json, sha256, write_json, write_parquet
from pipeline.config import Extract
from pipeline.extract import plan, store
from pipeline.extract.cutout import cut_synapse
from pipeline.extract.plan import CENTER, LISTED
from pipeline.extract.volume import ExtractionError, Volume, open_cached

log = logging.getLogger("pipeline")


def extract(synapses, em_path, settings, out, client, cut=cut_synapse):
    """Write the patch and the cube of every synapse to the folder `out`, replacing it whole.

    `synapses` has `synapse_id` and `center_{x,y,z}_nm`; `em_path` is a cloud-volume path (`precomputed://file://...`,
    `precomputed://https://...`); `settings` is a `config.Extract`; `client` a Dask client. The folder gets
    `images.zarr` (`patch` [N, Y, X] and `cube` [N, Z, Y, X], uint8), `index.parquet` (`synapse_id` in row order),
    `quality.parquet` (one row each), `manifest.json`, and the lists of what was left out, if the settings say so:
    `dropped.csv` (boxes beyond the volume) and `faults.csv` (unreadable or blank). `cut` is what cuts one synapse.

    Interrupted, it goes on from the finished blocks when called again with the same input, and ends with the same
    bytes. Raises ExtractionError for centres outside the volume, and at the end of the run for all synapses whose
    pixels are missing, undecodable or blank, unless `settings.faults` is "list".
    """
    out = Path(out)
    volume = Volume(em_path, settings.voxel_nm)
    plan.check_table(synapses)
    synapses = synapses[["synapse_id", *CENTER]].reset_index(drop=True)
    plan.check_inside(synapses, em_path, volume)
    kept, dropped = plan.apply_edge_policy(synapses, settings, volume)
    kept = kept.iloc[plan.morton_order(kept, volume)].reset_index(drop=True)
    job = _prepare(out, kept, em_path, settings, volume, cut)
    rows = store.shard_rows(settings)
    blocks = [(start // rows, kept.iloc[start : start + rows]) for start in range(0, len(kept), rows)]
    waiting = [block for block in blocks if not _finished(job.mark(block[0]))]
    log.info("extract: %d synapses at mip %d; %d of %d blocks to do", len(kept), volume.mip, len(waiting), len(blocks))
    for _ in compute.run(client, functools.partial(_extract_block, job), waiting, "extract"):
        pass
    records = pd.concat([pd.read_parquet(job.mark(number)) for number, _ in blocks], ignore_index=True)
    faulty = records["fault"] != ""
    if faulty.any() and (settings.faults == "raise" or faulty.all()):
        raise ExtractionError(_fault_text(records[faulty], kept, em_path))
    _publish(job, kept, records, dropped, volume, out)


@dataclasses.dataclass(frozen=True)
class Job:
    """What every block task knows. The work folder holds a finished-block table per block beside the growing store."""

    em_path: str
    settings: Extract
    work: Path
    run: str  # unique token of this run, the lifetime of the workers' chunk caches
    cut: Callable  # `cutout.cut_synapse` or another with its signature

    @property
    def patches(self):
        return self.work / "patches"

    def mark(self, number):
        return self.work / "blocks" / f"{number:06d}.parquet"


def _prepare(out, kept, em_path, settings, volume, cut):
    """The Job of this run, in a hidden work folder beside `out`; emptied if another plan was begun there."""
    work = out.parent / f".{out.name}-work"
    job = Job(em_path, settings, work, uuid.uuid4().hex, cut)
    wanted = {
        "synapses": hashlib.sha256(kept.to_csv(index=False).encode()).hexdigest(),
        "em_path": em_path,
        "volume": volume.info,
        "written": _written(em_path),
        "settings": settings.model_dump(mode="json", exclude={"faults"}),
        "cut": hashlib.sha256(pickle.dumps(cut)).hexdigest(),
    }
    begun = work / "plan.json"
    if begun.exists() and read_json(begun) == wanted and (job.patches / "images.zarr").exists():
        return job
    try:
        shutil.rmtree(work, ignore_errors=True)
        job.mark(0).parent.mkdir(parents=True)
        store.create(job.patches / "images.zarr", len(kept), settings)
        write_json(begun, wanted)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {work}: {error.strerror}") from None
    return job


def _written(em_path):
    """When a local volume's `info` was written: a volume made anew must not be mixed with one half extracted."""
    _, local, folder = em_path.partition("file://")
    return os.stat(Path(folder) / "info").st_mtime_ns if local else None


def _finished(mark):
    """Whether a block is done without faults; one with faults is tried again, since the volume may be mended."""
    return mark.exists() and (pd.read_parquet(mark, columns=["fault"])["fault"] == "").all()


def _extract_block(job, block):
    """Cut the synapses of one block, write its shards, then its table, whose presence says that the block is done."""
    number, synapses = block
    volume = open_cached(job.em_path, job.settings.voxel_nm, job.run)
    patches = np.zeros((len(synapses), job.settings.patch_px, job.settings.patch_px), np.uint8)
    cubes = np.zeros((len(synapses), *job.settings.cube_zyx), np.uint8)
    records = []
    for row, (synapse_id, *center_nm) in enumerate(synapses.itertuples(index=False)):
        try:
            patches[row], cubes[row], quality = job.cut(np.array(center_nm, float), job.settings, volume)
            records.append({"synapse_id": synapse_id, "fault": "", **quality})
        except ExtractionError as error:  # collected: the run ends with one error, or one list, of all of them
            records.append({"synapse_id": synapse_id, "fault": str(error)})
    try:
        store.write_block(job.patches / "images.zarr", number, patches, cubes)
    except OSError as error:
        text = f"cannot write {job.patches}: {error.strerror}; finished blocks are kept, start again to go on"
        raise type(error)(error.errno, text) from None
    write_parquet(job.mark(number), pd.DataFrame(records))


def _fault_text(faults, kept, em_path):
    lines = [f"  synapse {row.synapse_id}: {row.fault}" for row in faults.head(LISTED).itertuples()]
    if len(faults) > LISTED:
        lines.append(f"  and {len(faults) - LISTED} more: {faults['synapse_id'].iloc[LISTED:].tolist()}")
    return (
        f"{len(faults)} of {len(kept)} synapses have no usable pixels in {em_path}:\n"
        + "\n".join(lines)
        + "\nFetch missing or undecodable chunks again and restart (finished blocks are kept), "
        "or set `extract: {faults: list}` to leave these synapses out and list them in patches/faults.csv."
    )


def _publish(job, kept, records, dropped, volume, out):
    """Complete the folder in the work folder, then put it in the place of `out`."""
    fine = (records["fault"] == "").to_numpy()
    final = job.patches
    if not fine.all():
        final = job.work / "kept"
        shutil.rmtree(final, ignore_errors=True)
        target = store.create(final / "images.zarr", int(fine.sum()), job.settings)
        store.copy_rows(zarr.open_group(job.patches / "images.zarr", mode="r"), target, np.flatnonzero(fine))
    if dropped is not None:
        dropped.to_csv(final / "dropped.csv", index=False)
    if job.settings.faults == "list":
        faults = kept[~fine].assign(fault=records["fault"][~fine])
        faults.to_csv(final / "faults.csv", index=False)
    quality = records[fine].drop(columns="fault").astype({"cube_blank_sections": "int64", "n_chunks": "int64"})
    write_parquet(final / "index.parquet", quality[["synapse_id"]])
    write_parquet(final / "quality.parquet", quality)
    digests = {name: store.content_sha256(quality[f"{name}_sha256"]) for name in store.ARRAYS}
    digests |= {name: sha256(final / f"{name}.parquet") for name in ("index", "quality")}
    write_json(
        final / "manifest.json",
        {
            "n": len(quality),
            "n_dropped": 0 if dropped is None else len(dropped),
            "n_faults": int((~fine).sum()),
            "voxel_nm": list(job.settings.voxel_nm),
            "patch_px": job.settings.patch_px,
            "cube_zyx": list(job.settings.cube_zyx),
            "em_path": job.em_path,
            "source_mip": volume.mip,
            "source_resolution_nm": list(volume.frame.resolution_nm),
            "source_bounds_vx": volume.bounds_vx.tolist(),
            "sha256": digests,
        },
    )
    if out.exists():
        replaced = job.work / "replaced"
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(out, replaced)
    os.replace(final, out)
    shutil.rmtree(job.work)
