"""Synapse positions and a volume to the `patches/` folder: plan, cut in parallel, check, publish.

Rows are in the order of a Morton curve over the volume's stored chunks. A block of consecutive rows, one Zarr shard of
each array, is one task; it therefore reads neighbouring synapses, whose stored chunks the worker has mostly in memory.
"""

import dataclasses
import functools
import hashlib
import logging
import pickle
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from distributed import Client

from pipeline import blocks, shards
from pipeline.artefacts import sha256, write_json, write_parquet
from pipeline.columns import CENTER_NM
from pipeline.config import Extract
from pipeline.extract import plan
from pipeline.extract.boxes import resampled
from pipeline.extract.volume import ExtractionError, Volume, cached_em

log = logging.getLogger("pipeline")

AT_ONCE = 16  # synapses of a block whose chunks are on their way, so that the latency of a server is waited for once
ARRAYS = {"patch": ("n", "y", "x"), "cube": ("n", "z", "y", "x")}

Cut = tuple[np.ndarray, np.ndarray, dict[str, Any]]  # patch [Y, X], cube [Z, Y, X], columns of `quality.parquet`


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
    chunks = {tuple(low) for box in (flat, cube) for low, _ in volume.chunks(box.low_vx, box.high_vx)}
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
        f"{name}_sha256": hashlib.sha256(pixels.data).hexdigest(),
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
    `index.parquet` (`synapse_id` in row order), `quality.parquet` (one row each), `manifest.json`, and the lists of
    what was left out, if the settings say so: `dropped.csv` (boxes beyond the volume) and `faults.csv` (unreadable or
    blank). `cut` is what cuts one synapse.

    An interrupted run continues from its finished blocks when called again with the same input, and ends with the same
    bytes. Raises ExtractionError for centres outside the volume, and at the end of the run for all synapses whose
    pixels are missing, undecodable or blank, unless `settings.faults` is "list".
    """
    volume = Volume(em_path, settings.voxel_nm, transfer=settings.transfer)
    plan.check_table(synapses)
    synapses = synapses[["synapse_id", *CENTER_NM]].reset_index(drop=True)
    plan.check_inside(synapses, em_path, volume)
    kept, dropped = plan.apply_edge_policy(synapses, settings, volume)
    kept = kept.iloc[plan.morton_order(kept, volume)].reset_index(drop=True)
    wanted = {
        "synapses": hashlib.sha256(kept.to_csv(index=False).encode()).hexdigest(),
        "volume": volume.identity,
        "settings": settings.model_dump(mode="json", exclude={"faults"}),
        "cut": hashlib.sha256(pickle.dumps(cut)).hexdigest(),
    }
    work = blocks.Work(out, wanted, lambda folder: _create(folder / "images.zarr", len(kept), settings))
    job = Job(em_path, settings, work.content / "images.zarr", cut)
    log.info("extract: %d synapses at mip %d", len(kept), volume.mip)
    rows = _rows_per_shard(settings)
    items = [(start, kept[start : start + rows]) for start in range(0, len(kept), rows)]
    # a block with faults is tried again, since the volume may be mended
    tables = work.run(
        "extract", functools.partial(_cut_block, job), items, client, unfinished=lambda t: (t["fault"] != "").any()
    )
    records = pd.concat(tables, ignore_index=True)
    faulty = records["fault"] != ""
    if faulty.any() and (settings.faults == "raise" or faulty.all()):
        raise ExtractionError(_fault_text(records[faulty], kept, em_path))
    final = work.content
    if faulty.any():
        final = work.folder / "kept"
        _copy(job.images, final / "images.zarr", np.flatnonzero(~faulty), settings)
    if dropped is not None:
        dropped.to_csv(final / "dropped.csv", index=False)
    if settings.faults == "list":
        kept[faulty].assign(fault=records["fault"][faulty]).to_csv(final / "faults.csv", index=False)
    quality = records[~faulty].drop(columns="fault").astype({"cube_blank_sections": "int64", "n_chunks": "int64"})
    write_parquet(final / "index.parquet", quality[["synapse_id"]])
    write_parquet(final / "quality.parquet", quality)
    digests = {name: _content_sha256(quality[f"{name}_sha256"]) for name in ARRAYS}
    digests |= {name: sha256(final / f"{name}.parquet") for name in ("index", "quality")}
    write_json(
        final / "manifest.json",
        {
            "n": len(quality),
            "n_dropped": 0 if dropped is None else len(dropped),
            "n_faults": int(faulty.sum()),
            "voxel_nm": list(settings.voxel_nm),
            "patch_px": settings.patch_px,
            "cube_zyx": list(settings.cube_zyx),
            "em_path": em_path,
            "source_mip": volume.mip,
            "source_resolution_nm": list(volume.frame.resolution_nm),
            "source_bounds_vx": volume.bounds_vx.tolist(),
            "sha256": digests,
        },
    )
    work.publish(final)


def _rows_per_shard(settings: Extract) -> int:
    return shards.rows_per_shard((settings.patch_px, settings.patch_px), settings.cube_zyx)


def _create(path: Path, n: int, settings: Extract) -> dict[str, zarr.Array]:
    """A group at `path` with the empty arrays `patch` [n, Y, X] and `cube` [n, Z, Y, X]."""
    group, rows = zarr.create_group(path, overwrite=True), _rows_per_shard(settings)
    shapes = {"patch": (settings.patch_px, settings.patch_px), "cube": settings.cube_zyx}
    return {name: shards.create(group, name, (n, *shape), rows, ARRAYS[name]) for name, shape in shapes.items()}


def _cut_block(job: Job, block: tuple[int, pd.DataFrame]) -> pd.DataFrame:
    """Cut the synapses of one block and write their shards; returns their quality, and `fault` ("" = none)."""
    start, synapses = block
    volume = cached_em(job.em_path, job.settings.voxel_nm, job.run, job.settings.transfer)
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
    return pd.DataFrame(records)


def _fault_text(faults: pd.DataFrame, kept: pd.DataFrame, em_path: str) -> str:
    lines = [f"  synapse {row.synapse_id}: {row.fault}" for row in faults.head(plan.LISTED).itertuples()]
    if len(faults) > plan.LISTED:
        lines.append(f"  and {len(faults) - plan.LISTED} more: {faults['synapse_id'].iloc[plan.LISTED :].tolist()}")
    return (
        f"{len(faults)} of {len(kept)} synapses have no usable pixels in {em_path}:\n"
        + "\n".join(lines)
        + "\nFetch missing or undecodable chunks again and restart (finished blocks are kept), "
        "or set `extract: {faults: list}` to leave these synapses out and list them in patches/faults.csv."
    )


def _copy(source: Path, target: Path, rows: np.ndarray, settings: Extract) -> None:
    """Write a group of the given rows of another one, shard by shard."""
    shutil.rmtree(target, ignore_errors=True)
    for name, array in _create(target, len(rows), settings).items():
        stored, step = shards.Rows(source / name), _rows_per_shard(settings)
        for start in range(0, len(rows), step):
            array[start : start + step] = stored[rows[start : start + step]]


def _content_sha256(row_digests: pd.Series) -> str:
    """Digest of an array from its rows' hex digests: the SHA-256 of their concatenated bytes."""
    return hashlib.sha256(bytes.fromhex("".join(row_digests))).hexdigest()
