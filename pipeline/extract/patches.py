"""Synapse positions and a volume to the `patches/` folder: plan, cut in parallel, check, publish.

An extraction is its plan: the format, the synapses, the volume and the geometry, whose hash is in the manifest. What
was published from the same plan is kept, whatever else of the code or of the files around it changed, since cutting it
again could cost days of download. Another geometry, other synapses, another volume, or another FORMAT make it anew.

Rows are in the order of a Morton curve over the volume's stored chunks. A block of consecutive rows, one Zarr shard of
each array, is one task; it therefore reads neighbouring synapses, whose stored chunks the worker has mostly in memory.
"""

import dataclasses
import functools
import hashlib
import logging
import pickle
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import blocks, shards, stores
from pipeline.artefacts import read_json, write_json, write_parquet
from pipeline.columns import CENTER_NM
from pipeline.config import Extract
from pipeline.extract import plan
from pipeline.extract.boxes import resampled
from pipeline.extract.volume import ExtractionError, Volume, cached_em

log = logging.getLogger("pipeline")

AT_ONCE = 16  # synapses of a block whose chunks are on their way, so that the latency of a server is waited for once
ARRAYS = {"patch": ("n", "y", "x"), "cube": ("n", "z", "y", "x")}

Cut = tuple[np.ndarray, np.ndarray, dict[str, Any]]  # patch [Y, X], cube [Z, Y, X], columns of `quality.parquet`

#: To be raised by whoever changes what is cut or how it is stored; a test fails where pixels changed and this did not.
FORMAT = 1


def cut_synapse(center_nm: np.ndarray, settings: Extract, volume: Volume) -> Cut:
    """The patch and the cube of one synapse, and their quality.

    Raises ExtractionError for a chunk that cannot be read, for a blank patch (one grey value, or so the section that
    holds the synapse) and for a voxel at the centre index that is more than one voxel from the synapse.
    """
    boxes = {name: resampled(volume, grid) for name, grid in plan.grids(center_nm, settings, volume).items()}
    section = volume.frame.to_vx(center_nm)[2]
    for name, box in boxes.items():
        if box.pixels.min() == box.pixels.max():
            raise ExtractionError(f"blank {name}: every voxel is {box.pixels.flat[0]}")
        if box.blank_sections[section - box.low_vx[2]]:
            raise ExtractionError(
                f"blank {name}: section z = {section} of the volume, which holds the synapse, is empty"
            )
    flat, cube = boxes.values()
    offset = np.abs(np.stack([flat.center_nm, cube.center_nm]) - center_nm) / settings.voxel_nm
    if offset.max() > 1:
        raise ExtractionError(f"the centre of the patch or cube is {offset.max():.2f} voxels away from the synapse")
    chunks = {low for box in (flat, cube) for low, _ in volume.chunks(box.low_vx, box.high_vx)}
    quality = {
        "center_offset_vx": float(offset.max()),
        "patch_padded": flat.padded,
        "cube_padded": cube.padded,
        "cube_blank_sections": int(cube.blank_sections.sum()),
        "n_chunks": len(chunks),
        **statistics("patch", flat.pixels),
        **statistics("cube", cube.pixels),
    }
    return flat.pixels[0], cube.pixels, quality


def statistics(name: str, pixels: np.ndarray) -> dict[str, Any]:
    """Mean, standard deviation and digest of uint8 pixels, as `<name>_mean`, `<name>_std` and `<name>_sha256`."""
    return {
        f"{name}_mean": float(pixels.mean()),
        f"{name}_std": float(pixels.std(dtype=np.float32)),
        f"{name}_sha256": shards.digest(pixels),
    }


@dataclasses.dataclass(frozen=True)
class Job:
    """What every block task knows."""

    em_path: str
    settings: Extract
    images: Path  # the Zarr group
    cut: Callable[[np.ndarray, Extract, Volume], Cut]
    run: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)  # the lifetime of the workers' chunk caches


def extract(
    synapses: pd.DataFrame,
    em_path: str,
    settings: Extract,
    out: Path,
    client: Client | None,
    cut: Callable[[np.ndarray, Extract, Volume], Cut] = cut_synapse,
) -> None:
    """Write the patch and the cube of every synapse to the folder `out`, replacing it whole.

    `synapses` has `synapse_id` and `center_{x,y,z}_nm`; `em_path` is a cloud-volume path (`precomputed://file://...`,
    `precomputed://https://...`). The folder gets `images.zarr` (`patch` [N, Y, X] and `cube` [N, Z, Y, X], uint8),
    `index.parquet` (`synapse_id`, `row` of the arrays), `quality.parquet` (the same synapses), `manifest.json`, and the
    lists of what was left out, if the settings say so: `dropped.csv` (boxes beyond the volume) and `faults.csv`
    (unreadable or blank; their rows of the arrays are in no table). `cut` is what cuts one synapse.

    A folder that was published from the same plan is kept as it is. An interrupted run continues from its finished
    blocks when called again with the same input, and ends with the same bytes. Raises ExtractionError for centres
    outside the volume, and at the end of the run for all synapses whose pixels are missing, undecodable or blank,
    unless `settings.faults` is "list".
    """
    volume = Volume(em_path, settings.voxel_nm, transfer=settings.transfer)
    plan.check_table(synapses)
    synapses = synapses[["synapse_id", *CENTER_NM]].reset_index(drop=True)
    plan.check_inside(synapses, em_path, volume)
    kept, dropped = plan.apply_edge_policy(synapses, settings, volume)
    kept = kept.iloc[plan.morton_order(kept, volume)].reset_index(drop=True)
    wanted = {
        "format": FORMAT,
        "synapses": hashlib.sha256(synapses.sort_values("synapse_id").to_csv(index=False).encode()).hexdigest(),
        "volume": volume.identity,
        "settings": settings.model_dump(mode="json", exclude={"faults"}),
        "cut": hashlib.sha256(pickle.dumps(cut)).hexdigest(),
    }
    work = blocks.Work(out, wanted, lambda folder: _create(folder / "images.zarr", len(kept), settings), divides=True)
    if work.is_published and settings.faults == "raise" and read_json(out / "manifest.json")["n_faults"]:
        store(out).reopen()  # what was listed before is an error now, unless the volume was mended
    with work:
        if work.is_published:
            log.info("extract: %s has these images already", out)
            return
        log.info("extract: %d synapses at mip %d", len(kept), volume.mip)
        job = Job(em_path, settings, work.content / "images.zarr", cut)
        rows = _rows_per_shard(settings)
        items = [(start, kept[start : start + rows]) for start in range(0, len(kept), rows)]
        # a block with faults is tried again, since the volume may be mended
        tables = work.run(
            "extract", functools.partial(_cut_block, job), items, client, unfinished=lambda t: (t["fault"] != "").any()
        )
        records = pd.concat(tables, ignore_index=True)
        if retries := int(records.pop("retries").sum()):
            log.info("extract: %d requests were repeated", retries)
        faults = kept.assign(fault=records["fault"])[records["fault"] != ""]
        if len(faults) and (settings.faults == "raise" or len(faults) == len(kept)):
            raise ExtractionError(_fault_text(faults, len(kept), em_path))
        facts = {"plan_sha256": work.plan_sha256} | _facts(volume, settings, em_path)
        _describe(work.content, records, dropped, faults if settings.faults == "list" else None, facts)
        work.publish()


def _facts(volume: Volume, settings: Extract, em_path: str) -> dict[str, Any]:
    """What the manifest says of the geometry and of the volume."""
    return {
        "voxel_nm": list(settings.voxel_nm),
        "patch_px": settings.patch_px,
        "cube_zyx": list(settings.cube_zyx),
        "em_path": em_path,
        "source_mip": volume.mip,
        "source_resolution_nm": list(volume.frame.resolution_nm),
        "source_bounds_vx": volume.bounds_vx.tolist(),
    }


def _describe(
    folder: Path,
    records: pd.DataFrame,
    dropped: pd.DataFrame | None,
    faults: pd.DataFrame | None,
    facts: dict[str, Any],
) -> None:
    """Write the tables, the lists of what was left out, and the manifest."""
    for name, table in (("dropped", dropped), ("faults", faults)):
        (folder / f"{name}.csv").unlink(missing_ok=True)  # of the store that was reopened
        if table is not None:
            table.to_csv(folder / f"{name}.csv", index=False)
    usable = records["fault"] == ""
    quality = records[usable].drop(columns="fault").astype({"cube_blank_sections": "int64", "n_chunks": "int64"})
    write_parquet(folder / "index.parquet", quality[["synapse_id"]].assign(row=quality.index))
    write_parquet(folder / "quality.parquet", quality)
    counts = {
        "n": len(quality),
        "n_dropped": 0 if dropped is None else len(dropped),
        "n_faults": int((~usable).sum()),
    }
    write_json(folder / "manifest.json", facts | counts | {"sha256": stores.digests(folder, quality)})


def store(folder: Path) -> stores.Store:
    """A folder that `extract` published, as `verify` reads it."""

    def records() -> pd.DataFrame:
        quality = pd.read_parquet(folder / "quality.parquet")
        return quality.assign(fault="", retries=0, row=pd.read_parquet(folder / "index.parquet")["row"])

    return stores.Store(folder, folder / "images.zarr", "extract", records)


def _rows_per_shard(settings: Extract) -> int:
    return shards.rows_per_shard((settings.patch_px, settings.patch_px), settings.cube_zyx)


def _create(path: Path, n: int, settings: Extract) -> dict[str, zarr.Array]:
    """A group at `path` with the empty arrays `patch` [n, Y, X] and `cube` [n, Z, Y, X]."""
    group, rows = zarr.create_group(path, overwrite=True), _rows_per_shard(settings)
    shapes = {"patch": (settings.patch_px, settings.patch_px), "cube": settings.cube_zyx}
    return {name: shards.create(group, name, (n, *shape), rows, ARRAYS[name]) for name, shape in shapes.items()}


def _cut_block(job: Job, block: tuple[int, pd.DataFrame]) -> pd.DataFrame:
    """Cut the synapses of one block and write their shards.

    Returns their quality, `fault` ("" = none), and in the first row the block's `retries`: requests that were repeated.
    """
    start, synapses = block
    volume = cached_em(job.em_path, job.settings.voxel_nm, job.run, job.settings.transfer)
    retries_before = volume.retries
    patches = np.zeros((len(synapses), job.settings.patch_px, job.settings.patch_px), np.uint8)
    cubes = np.zeros((len(synapses), *job.settings.cube_zyx), np.uint8)

    def cut(row: int, synapse_id: int, *center_nm: float) -> dict[str, Any]:
        try:
            patches[row], cubes[row], quality = job.cut(np.array(center_nm, float), job.settings, volume)
        except ExtractionError as error:  # collected: the run ends with one error, or one list, of all of them
            return {"synapse_id": synapse_id, "fault": str(error)}
        return {"synapse_id": synapse_id, "fault": "", **quality}

    with ThreadPoolExecutor(AT_ONCE) as threads:
        records = list(threads.map(cut, range(len(synapses)), *(synapses[name] for name in synapses)))
    for name, pixels in zip(ARRAYS, (patches, cubes), strict=True):
        blocks.write(job.images / name, (slice(start, start + len(synapses)),), pixels)
    return pd.DataFrame(records).assign(retries=[volume.retries - retries_before, *[0] * (len(records) - 1)])


def _fault_text(faults: pd.DataFrame, n: int, em_path: str) -> str:
    lines = [f"  synapse {row.synapse_id}: {row.fault}" for row in faults.head(plan.LISTED).itertuples()]
    if len(faults) > plan.LISTED:
        lines.append(f"  and {len(faults) - plan.LISTED} more: {faults['synapse_id'].iloc[plan.LISTED :].tolist()}")
    return (
        f"{len(faults)} of {n} synapses have no usable pixels in {em_path}:\n"
        + "\n".join(lines)
        + "\nFetch missing or undecodable chunks again and restart (finished blocks are kept), "
        "or leave these synapses out: take them off your list, or set `extract: {faults: list}` in an edition, which "
        "lists them in patches/faults.csv."
    )
