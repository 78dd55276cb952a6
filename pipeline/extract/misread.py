"""Cubes cut with the units mistake of the prior work, for showing what it costs. For nothing else.

There, positions in voxels of 4x4x40 nm were taken for nanometres along Z, and the "40 nm" from slice to slice were 40
sections. Place in the section and middle slice are right, but every other slice lies a multiple of 40 sections away
from it: 32 slices spread over 51 um of minnie65, and a single one shows the synapse.

A volume may be thinner than that. Slices beyond it are then taken from other places of the same volume, drawn at
random: minnie65, many times deeper than a simulated volume, gives unrelated tissue there. Black slices, as the prior
work's notebook put in for those that failed, would be a fault of their own.
"""

import functools
from pathlib import Path

import numpy as np
import pandas as pd
from distributed import Client

from pipeline.config import Extract
from pipeline.extract import patches
from pipeline.extract.boxes import Grid, resampled
from pipeline.extract.volume import Volume
from pipeline.space import VoxelFrame

#: Synapses on which the fault is shown, at most: a whole cohort of hundreds of thousands would be downloaded once more,
#: slice by slice, for a mistake. The prior work's networks had 2,008 cubes to train on.
MOST = 2000

#: Sections from slice to slice: the 40 nm that sections lie apart, taken for a number of sections.
STEP = 40


def sample(synapses: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most about MOST of the `synapses` (with `split`, `label` and `pre_neuron_id`), in their order.

    Every class in every split has its share of them, two at least. They come from as many neurons as possible, which
    is what the precision of a score depends on: all neurons give one before any gives a second, drawn by `seed`.
    """
    if len(synapses) <= MOST:
        return synapses
    rows = synapses.sort_values("synapse_id")
    rows["lot"] = np.random.default_rng(seed).permutation(len(rows))
    rows["turn"] = rows.groupby("pre_neuron_id")["lot"].rank()
    rows = rows.sort_values(["turn", "lot"])
    groups = rows.groupby(["split", "label"])["lot"]
    share = (groups.transform("size") * MOST / len(rows)).round().clip(lower=2)
    return synapses[synapses["synapse_id"].isin(rows.loc[groups.cumcount() < share, "synapse_id"])]


def extract(
    synapses: pd.DataFrame, em_path: str, settings: Extract, out: Path, client: Client | None, seed: int
) -> None:
    """As `patches.extract`, but for the cubes; `seed` draws the places of slices that lie beyond the volume."""
    cut = functools.partial(cut_synapse, seed=seed)
    patches.extract(synapses, em_path, settings, out, client, cut)


def cut_synapse(center_nm: np.ndarray, settings: Extract, volume: Volume, seed: int) -> patches.Cut:
    """As `patches.cut_synapse`, with a misread cube."""
    patch, cube, quality = patches.cut_synapse(center_nm, settings, volume)
    places, _ = slice_centers(center_nm, settings, volume.frame, volume.bounds_vx, seed)
    shape = (1, *cube.shape[1:])
    slices = [resampled(volume, Grid.at(place, shape, volume, settings.voxel_nm)) for place in places]
    cube = np.concatenate([one.pixels for one in slices])
    quality |= patches.statistics("cube", cube)
    quality["cube_padded"] = float(np.mean([one.padded for one in slices]))
    quality["cube_blank_sections"] = int(sum(one.blank_sections.all() for one in slices))
    quality["n_chunks"] = len({low for one in slices for low, _ in volume.chunks(one.low_vx, one.high_vx)})
    return patch, cube, quality


def slice_centers(
    center_nm: np.ndarray, settings: Extract, frame: VoxelFrame, bounds_vx: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Centre of each slice of a misread cube (XYZ nm, `[Z, 3]`), and whether the mistake leads there `[Z]` bool.

    Where it leads beyond the volume (`frame`, `bounds_vx` [2, XYZ], upper excluded), the place is drawn from the
    whole volume, so far from its sides that the slice ends within it if it can; the draw depends on `seed` and the
    synapse's voxel alone.
    """
    depth, height, width = settings.cube_zyx
    places = np.tile(np.asarray(center_nm, float), (depth, 1))
    places[:, 2] += (np.arange(depth) - depth // 2) * STEP * settings.voxel_nm[2]
    low, high = np.asarray(bounds_vx)
    section = frame.to_vx(places)[:, 2]
    inside = (low[2] <= section) & (section < high[2])
    reach = np.ceil(np.array([width / 2, height / 2, 0]) * settings.voxel_nm / frame.resolution_nm).astype(np.int64)
    reach = np.minimum(reach, (high - low - 1) // 2)
    rng = np.random.default_rng([seed, *frame.to_vx(center_nm)])
    elsewhere = frame.to_nm(rng.integers(low + reach, high - reach, size=(depth, 3)))
    places[~inside] = elsewhere[~inside]
    return places, inside
