"""The Zarr store of patches and cubes, and its check.

One inner chunk holds one synapse, so that training reads single rows at random; a shard holds up to 64 of them in one
file, so that 100,000 cubes make some 1,600 files. A shard is always written whole, by one task. Nothing is compressed:
on electron microscopy it would save a tenth of the space and cost a third of the reading speed.
"""

import hashlib
import shutil

import pandas as pd
import zarr

from pipeline.artefacts import read_json, sha256
from pipeline.extract.volume import ExtractionError

ARRAYS = {"patch": ("n", "y", "x"), "cube": ("n", "z", "y", "x")}
SHARD_BYTES = 32 << 20
MAX_SHARD_ROWS = 64


def shard_rows(settings):
    """Synapses per shard, the same for patches and cubes."""
    z, y, x = settings.cube_zyx
    return min(MAX_SHARD_ROWS, max(1, SHARD_BYTES // max(z * y * x, settings.patch_px**2)))


def create(path, n, settings):
    """An empty group at `path` with `patch` [n, Y, X] and `cube` [n, Z, Y, X], uint8."""
    group = zarr.create_group(path, overwrite=True)
    shapes = {"patch": (settings.patch_px, settings.patch_px), "cube": settings.cube_zyx}
    rows = shard_rows(settings)
    for name, shape in shapes.items():
        group.create_array(
            name,
            shape=(n, *shape),
            dtype="uint8",
            chunks=(1, *shape),
            shards=(rows, *shape),
            compressors=None,
            dimension_names=ARRAYS[name],
        )
    return group


def write_block(path, number, patches, cubes):
    """Write shard `number` of both arrays of the group at `path`, over whatever a killed writer left there."""
    group = zarr.open_group(path, mode="r+")
    for name, pixels in (("patch", patches), ("cube", cubes)):
        shutil.rmtree(path / name / "c" / str(number), ignore_errors=True)
        start = number * group[name].shards[0]
        group[name][start : start + len(pixels)] = pixels


def copy_rows(source, target, rows):
    """Fill `target`, a group of `len(rows)` rows, with the given rows of group `source`, shard by shard."""
    for name in ARRAYS:
        step = target[name].shards[0]
        for start in range(0, len(rows), step):
            target[name][start : start + step] = source[name].oindex[rows[start : start + step]]


def content_sha256(row_digests):
    """Digest of an array from its rows' hex digests: the SHA-256 of their concatenated bytes."""
    return hashlib.sha256(bytes.fromhex("".join(row_digests))).hexdigest()


def verify(patches):
    """Check a `patches/` folder against its manifest, pixel by pixel; ExtractionError names what differs."""
    manifest = read_json(patches / "manifest.json")
    quality = pd.read_parquet(patches / "quality.parquet")
    wrong = [
        f"{name}.parquet"
        for name in ("index", "quality")
        if sha256(patches / f"{name}.parquet") != manifest["sha256"][name]
    ]
    images = zarr.open_group(patches / "images.zarr", mode="r")
    for name in ARRAYS:
        recorded = quality[f"{name}_sha256"]
        if content_sha256(recorded) != manifest["sha256"][name]:
            wrong.append(f"{name} digests in quality.parquet")
        for row, synapse_id in enumerate(quality["synapse_id"]):
            if hashlib.sha256(images[name][row]).hexdigest() != recorded[row]:
                wrong.append(f"{name} of synapse {synapse_id}")
    if wrong:
        raise ExtractionError(f"{patches} is not what was extracted: {', '.join(wrong)} differ; extract again")
