"""The simulated neuropil as files: EM, segmentation, clefts and structures in precomputed format, and their truth.

Sections are made in slabs of one chunk's depth, as Dask tasks. Every section has its own random stream, so the bytes
depend on the seed and the settings alone, not on how many workers there are or which of them does what.
"""

import functools
import logging
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import distributed
import joblib
import numpy as np
import pandas as pd
from cloudvolume import CloudVolume

from pipeline import artefacts, compute, config, space
from pipeline.simulate import camera, render, tissue
from pipeline.simulate.kernels import compiled_once
from pipeline.simulate.scene import Scene, build_scene

log = logging.getLogger("pipeline")

CHUNK = (128, 128, 16)  # XYZ voxels
BAND_PX = 4 * CHUNK[1]  # rows written at once, which bounds the memory of 64-bit ids
OFFSET_VX = (60_000, 52_000, 21_000)  # XYZ; not zero, so that a forgotten offset shows
JPEG_QUALITY = 90  # chosen: kasthuri_ac3 is stored at 92
FIRST_SYNAPSE_ID = 100_001
SCENE_PREFIX = "scene-"
MIN_CLEFT_VX = 30  # smaller junctions are grazed by the tissue around them and are not counted as synapses

VOLUMES = {
    "em": ("uint8", "jpeg"),
    "segmentation": ("uint64", "compressed_segmentation"),
    "clefts": ("uint32", "compressed_segmentation"),
    "structures": ("uint8", "raw"),  # gzipped: the format's other encodings are for wider labels
}

Slab = tuple[int, int]  # a range of sections


class Drawn(NamedTuple):
    """What every worker needs: it is written to a file once, and workers map it into memory."""

    scene: Scene
    root_ids: np.ndarray  # [cells] uint64
    flaws: camera.Flaws
    size_vx: tuple[int, int, int]  # XYZ


def generate(settings: config.Simulated, seed: int, out: Path, client: distributed.Client | None) -> None:
    """Write `em/`, `segmentation/`, `clefts/`, `structures/`, `truth/*.parquet` and, last, `manifest.json` into `out`.

    The manifest holds the volumes' digests, by which later steps know that what they read has changed.
    `structures/` names what each voxel shows by the labels of `render.STRUCTURES`, which the manifest repeats. Like
    the segmentation and the clefts it lies in the frame of the tissue, not of its misaligned sections. Raises
    SimulationError when the settings cannot be satisfied.
    """
    out = Path(out).resolve()
    x, y, z = (int(n) for n in space.EM.to_vx(np.asarray(settings.size_um) * 1000))
    size_vx = (x, y, z)
    if np.any(np.less(size_vx, CHUNK)):
        raise tissue.SimulationError(
            f"source: size_um {settings.size_um} is too small; at least 1.024 x 1.024 x 0.64 um is needed"
        )
    for name in (*VOLUMES, "truth"):
        shutil.rmtree(out / name, ignore_errors=True)
    for path in (out / "manifest.json", *out.glob(f"{SCENE_PREFIX}*")):  # a killed run leaves its scene behind
        path.unlink(missing_ok=True)

    with compiled_once("scene"):
        plan, scene = build_scene(settings, seed)
    log.info("simulate: %d cells, %d planned junctions", len(plan.cells), len(plan.junctions))
    drawn = Drawn(
        scene, plan.cells.root_id.to_numpy(np.uint64), camera.flaws(z, np.random.default_rng([seed, 1])), size_vx
    )
    for name, (dtype, encoding) in VOLUMES.items():
        _create(out / name, dtype, encoding, size_vx)
    slabs = [(first, min(first + CHUNK[2], z)) for first in range(0, z, CHUNK[2])]
    with tempfile.NamedTemporaryFile(dir=out, prefix=SCENE_PREFIX) as file:
        joblib.dump(drawn, file.name)
        with compiled_once("section"):
            render.section(_mapped(file.name).scene, 0, CHUNK[:2], np.random.SeedSequence(seed))
        write = functools.partial(_write_slab, out, seed, file.name)
        found = dict(compute.run(client, write, slabs, "sections"))
    voxels = np.concatenate([found[slab] for slab in slabs])
    synapses = _synapses(plan, scene, voxels)
    kept = np.zeros(len(plan.junctions), bool)
    kept[synapses.pop("junction")] = True
    clefts = voxels[(voxels[:, 4] == 0) & kept[voxels[:, 0]]]
    items = [(slab, clefts[(clefts[:, 3] >= slab[0]) & (clefts[:, 3] < slab[1])]) for slab in slabs]
    for _ in compute.run(client, functools.partial(_write_clefts, out, size_vx), items, "clefts"):
        pass

    neurons = plan.neurons.assign(presynaptic=plan.neurons.neuron_id.isin(synapses.pre_neuron_id))
    for table, points in ((neurons, ("soma",)), (synapses, ("center", "pre", "post"))):
        for point in points:
            for axis, shift in zip("xyz", space.EM.to_nm(OFFSET_VX), strict=True):
                table[f"{point}_{axis}_nm"] += shift
    artefacts.write_parquet(out / "truth" / "neurons.parquet", neurons)
    artefacts.write_parquet(out / "truth" / "synapses.parquet", synapses)
    per_neuron = synapses.groupby("pre_neuron_id").size()
    log.info("simulate: %d synapses of %d neurons (at least %d each)", len(synapses), len(per_neuron), per_neuron.min())
    artefacts.write_json(
        out / "manifest.json",
        {
            "settings": settings.model_dump(mode="json"),
            "seed": seed,
            "resolution_nm": list(space.EM.resolution_nm),
            "voxel_offset": list(OFFSET_VX),
            "size_vx": list(size_vx),
            "structures": render.STRUCTURES,
            "missing_section": OFFSET_VX[2] + drawn.flaws.missing,
            "folded_section": OFFSET_VX[2] + drawn.flaws.folded,
            "junctions_too_small": int(len(kept) - kept.sum()),
            "synapses": len(synapses),
            "presynaptic_neurons": len(per_neuron),
            "sha256": {name: artefacts.sha256(out / name) for name in VOLUMES},
        },
    )


def _create(folder: Path, dtype: str, encoding: str, size_vx: tuple[int, int, int]) -> None:
    info = CloudVolume.create_new_info(
        num_channels=1,
        layer_type="image" if encoding == "jpeg" else "segmentation",
        data_type=dtype,
        encoding=encoding,
        resolution=[int(r) for r in space.EM.resolution_nm],
        voxel_offset=OFFSET_VX,
        volume_size=list(size_vx),
        chunk_size=CHUNK,
        **({"encoding_level": JPEG_QUALITY} if encoding == "jpeg" else {}),
    )
    CloudVolume(f"file://{folder}", info=info).commit_info()


def _store(
    folder: Path, slab: Slab, image: np.ndarray, values: np.ndarray | None = None, compress: bool | str = False
) -> None:
    """Write a slab `[Z, Y, X]`, or the `values` that it indexes, in bands of rows that are whole chunks."""
    volume = CloudVolume(f"file://{folder}", compress=compress, progress=False)
    x, y, z = OFFSET_VX
    for row in range(0, image.shape[1], BAND_PX):
        band = image[:, row : row + BAND_PX].transpose(2, 1, 0)
        band = band if values is None else values[band]
        volume[x : x + band.shape[0], y + row : y + row + band.shape[1], z + slab[0] : z + slab[1]] = band[..., None]


@functools.lru_cache(maxsize=1)
def _mapped(path: str) -> Drawn:
    return joblib.load(path, mmap_mode="c")  # not "r": numba would compile everything again for read-only arrays


def _write_slab(out: Path, seed: int, drawn_path: str, slab: Slab) -> tuple[Slab, np.ndarray]:
    """Render and write sections `slab`; returns the slab and the voxels of its clefts and partners (`render`)."""
    scene, root_ids, flaws, size_vx = _mapped(drawn_path)
    shape = (size_vx[1], size_vx[0])
    em = np.zeros((slab[1] - slab[0], *shape), np.uint8)
    cells, structures = np.empty(em.shape, np.int32), np.zeros_like(em)
    voxels = []
    for row, index in enumerate(range(*slab)):
        drawing, photography = np.random.SeedSequence([seed, 2, index]).spawn(2)
        cells[row], grey, labels, found = render.section(scene, index, shape, drawing)
        if index == flaws.missing:  # lost in cutting: black, and without any visible cleft
            continue
        rng = np.random.default_rng(photography)
        if index == flaws.folded:
            camera.fold(grey, rng)
        grey = camera.displace(grey, flaws.shift[index])
        em[row] = camera.photograph(grey, rng, flaws.gain[index], flaws.offset[index])
        structures[row] = labels
        voxels.append(found)
    _store(out / "em", slab, em)
    _store(out / "segmentation", slab, cells, np.asarray(root_ids))
    _store(out / "structures", slab, structures, compress="gzip")
    return slab, _claimed_once(np.concatenate(voxels))


def _write_clefts(out: Path, size_vx: tuple[int, int, int], item: tuple[Slab, np.ndarray]) -> None:
    slab, voxels = item
    clefts = np.zeros((slab[1] - slab[0], size_vx[1], size_vx[0]), np.uint32)
    clefts[voxels[:, 3] - slab[0], voxels[:, 2], voxels[:, 1]] = FIRST_SYNAPSE_ID + voxels[:, 0]
    _store(out / "clefts", slab, clefts)


def _claimed_once(voxels: np.ndarray) -> np.ndarray:
    """`voxels` by z, y and x, without those of a cleft that a junction with a lower number claims too."""
    order = np.lexsort([voxels[:, i] for i in (0, 4, 1, 2, 3)])  # by z, y, x, part; the lowest junction first
    voxels = voxels[order]
    repeated = (voxels[1:, 1:] == voxels[:-1, 1:]).all(axis=1) & (voxels[1:, 4] == 0)
    return voxels[np.concatenate([[True], ~repeated])[: len(voxels)]]  # a slab may have none


def _synapses(plan: tissue.Tissue, scene: Scene, voxels: np.ndarray) -> pd.DataFrame:
    """The truth about every junction that can be seen: one row a synapse, points relative to the volume's corner.

    `voxels` `[N, 5]` lists junction, x, y, z and part (0 cleft, 1 presynaptic, 2 postsynaptic side), by z, y and x.
    """
    table = pd.DataFrame(voxels, columns=["junction", "x", "y", "z", "part"])
    points = {}
    cleft = table[table.part == 0]
    middle = cleft.groupby("junction")[["x", "y", "z"]].mean()
    points["center"] = _nearest(cleft, middle)
    for part, name in ((1, "pre"), (2, "post")):
        points[name] = _nearest(table[table.part == part], points["center"])
    size = cleft.groupby("junction").size()
    listed = size.index[size >= MIN_CLEFT_VX]
    for point in points.values():
        listed = listed.intersection(point.index)
    listed = listed.sort_values()
    planned = plan.junctions.loc[listed]
    neuron_of = plan.cells.neuron_id.to_numpy()
    return pd.DataFrame(
        {
            "junction": listed,
            "synapse_id": FIRST_SYNAPSE_ID + listed.to_numpy(np.int64),
            "pre_neuron_id": neuron_of[planned.pre],
            "post_neuron_id": neuron_of[planned.post],
            **{
                f"{name}_{axis}_nm": space.EM.to_nm(points[name].loc[listed].to_numpy())[:, i]
                for name in ("center", "pre", "post")
                for i, axis in enumerate("xyz")
            },
            "label": planned.label.to_numpy(),
            "on_spine": planned.on_spine.to_numpy(),
            "size": size.loc[listed].to_numpy(),
            "psd_thickness_nm": planned.psd_thickness_nm.to_numpy(),
            "psd_darkness": planned.psd_darkness.to_numpy(),
            "n_vesicles": np.bincount(scene.vesicles.junction, minlength=len(plan.junctions))[listed],
            "vesicle_diameter_nm": planned.vesicle_diameter_nm.to_numpy(),
            "vesicle_flatness": planned.vesicle_flatness.to_numpy(),
        }
    )


def _nearest(voxels: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """For each junction in both, the voxel nearest (in nm) to its target, the first of several: x, y, z by junction."""
    voxels = voxels[voxels.junction.isin(targets.index)]
    offset = (voxels[["x", "y", "z"]].to_numpy() - targets.loc[voxels.junction].to_numpy()) * space.EM.resolution_nm
    nearest = pd.Series((offset**2).sum(axis=1), voxels.index).groupby(voxels.junction).idxmin()
    return voxels.loc[nearest, ["x", "y", "z"]].set_axis(nearest.index)
