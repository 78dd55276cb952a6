"""AVAN's mask on a classifier's cube: each voxel where it belongs, in nanometres and on the image."""

import numpy as np
import pandas as pd
import pytest
import torch
import toy_store as toy
import zarr
from partner_volumes import OFFSET, write_volume
from scipy import ndimage

from pipeline import config
from pipeline.artefacts import read_json
from pipeline.columns import CENTER_NM
from pipeline.extract import clefts
from pipeline.extract.boxes import Grid, resampled
from pipeline.extract.volume import Volume
from pipeline.partners import masks, model, predict
from pipeline.partners.samples import Samples, SamplesError
from pipeline.space import zyx

CARD = model.card("avan", 4, toy.VOXEL_NM, (6, 24, 24), 80.0)
CUBE = config.Extract(patch_px=48, cube_zyx=(8, 40, 56), voxel_nm=(8.0, 8.0, 40.0))


@pytest.fixture
def store(tmp_path):
    return Samples(toy.write(tmp_path / "samples", n_train=18, n_val=2, n_background=3))


def synapses_of(samples, rows, shift_nm=(0, 0, 0)):
    return samples.index.loc[rows, ["synapse_id", *CENTER_NM]].reset_index(drop=True) + [0, *shift_nm]


def write(samples, synapses, out, settings=CUBE, network=None):
    masks.write(network, CARD, samples, synapses, settings, out)
    return zarr.open_group(out / "images.zarr", mode="r")["cube"][:]


@pytest.fixture
def pattern(monkeypatch):
    """In place of AVAN: a mask of its own for every row of the store, all voxels different."""
    values = np.random.default_rng(0).random((23, *CARD.shape_zyx)).astype(np.float32)
    monkeypatch.setattr(predict, "presynaptic_masks", lambda network, card, samples, rows: values[rows])
    return values


@pytest.mark.parametrize("shift_nm", [(0, 0, 0), (16, -48, 40), (8, -24, 0), (400, 0, 0)])
@pytest.mark.parametrize("voxel_nm", [(8.0, 8.0, 40.0), (16.0, 16.0, 40.0), (32.0, 32.0, 40.0)])
def test_every_voxel_takes_the_value_of_the_place_it_lies_at(store, pattern, shift_nm, voxel_nm, tmp_path):
    """Voxel by voxel in whole nanometres, for cubes whose centre is not the sample's; rows in an order of their own."""
    settings = CUBE.model_copy(update={"voxel_nm": voxel_nm})
    rows = [22, 3, 0, *range(4, 18)]  # more than a batch
    found = write(store, synapses_of(store, rows, shift_nm), tmp_path / "masks", settings)
    assert found.shape == (17, 8, 40, 56)
    assert found.dtype == np.uint8
    for n in (0, 1, 16):
        expected = np.zeros(settings.cube_zyx, np.uint8)
        for voxel in np.ndindex(*settings.cube_zyx):
            place = []
            for axis in range(3):
                from_center = (voxel[axis] - settings.cube_zyx[axis] // 2) * int(voxel_nm[2 - axis]) + shift_nm[
                    2 - axis
                ]
                size = int(CARD.voxel_nm[2 - axis])
                place.append((from_center + size // 2) // size + CARD.shape_zyx[axis] // 2)
            if all(0 <= p < n_vx for p, n_vx in zip(place, CARD.shape_zyx, strict=True)):
                expected[voxel] = round(255 * float(pattern[rows[n]][tuple(place)]))
        np.testing.assert_allclose(found[n].astype(int), expected, atol=1)  # ties of rounding


def test_the_folder_is_read_as_patches_are(store, pattern, tmp_path):
    synapses = synapses_of(store, [22, 3])
    write(store, synapses, tmp_path / "masks")
    index = pd.read_parquet(tmp_path / "masks" / "index.parquet")
    assert index["synapse_id"].tolist() == synapses["synapse_id"].tolist()
    assert read_json(tmp_path / "masks" / "manifest.json")["voxel_nm"] == [8.0, 8.0, 40.0]


class Bright(torch.nn.Module):
    """Takes every bright voxel for presynaptic; images are normalised, so that 0 is their mean."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(100.0))

    def forward(self, images):
        return torch.stack([images[:, 0], -images[:, 0]], dim=1) * self.scale


def test_masks_lie_on_what_the_cubes_show(tmp_path):
    """Samples of 16 nm around clefts and cubes of 8 nm around annotated points, cut from one volume of 8 nm."""
    rng = np.random.default_rng(2)
    shape = (20, 160, 160)
    em = np.where(ndimage.gaussian_filter(rng.standard_normal(shape), (0.5, 6, 6)) > 0, 200, 60).astype(np.uint8)
    marks = np.zeros(shape, np.uint32)
    synapses = pd.DataFrame({"synapse_id": [1, 2]})
    points = np.array([(9, 70, 81), (11, 90, 72)])  # ZYX, beside the centroids of their clefts
    for n, (z, y, x) in enumerate(points):
        marks[z - 1 : z + 2, y : y + 9, x - 6 : x + 1] = n + 1
    for name, array, kind in (
        ("em", em, "image"),
        ("clefts", marks, "segmentation"),
        ("segmentation", np.ones(shape, np.uint64), "segmentation"),
    ):
        write_volume(tmp_path / name, array, kind, (8, 8, 40))
    synapses[CENTER_NM] = (zyx(points) + OFFSET) * [8.0, 8.0, 40.0]
    paths = {name: f"precomputed://file://{tmp_path / name}" for name in ("em", "segmentation", "clefts")}
    settings = config.Partners(voxel_nm=CARD.voxel_nm, patch_zyx=CARD.shape_zyx, margin_vx=0)
    samples = Samples(clefts.cut(synapses.assign(region="test"), paths, settings, tmp_path / "samples"))
    cube = CUBE.model_copy(update={"cube_zyx": (4, 24, 24)})  # all of it within the sample
    found = write(samples, synapses, tmp_path / "masks", cube, Bright()) > 127
    volume = Volume(paths["em"], cube.voxel_nm)
    for n, center in enumerate(synapses[CENTER_NM].to_numpy()):
        shown = resampled(volume, Grid.at(center, cube.cube_zyx, volume, cube.voxel_nm)).pixels > 130

        def agreement(shift, n=n, shown=shown):
            return (np.roll(found[n], shift, (0, 1, 2)) == shown)[1:-1, 3:-3, 3:-3].mean()

        here = agreement((0, 0, 0))
        assert here > 0.95
        for axis in range(3):
            for step in (-2, 2):
                assert agreement(np.eye(3, dtype=int)[axis] * step) < here


def test_synapses_without_a_sample_are_refused(store, pattern, tmp_path):
    synapses = synapses_of(store, [0, 1, 2])
    synapses.loc[1, "synapse_id"] = 4711
    with pytest.raises(SamplesError, match=r"1 synapses have no cleft .* in .*: \[4711\].*leave them out"):
        write(store, synapses, tmp_path / "masks")
    background = synapses_of(store, [19])
    assert background["synapse_id"].tolist() == [0]
    with pytest.raises(SamplesError, match=r"no cleft .* in .*: \[0\]"):
        write(store, background, tmp_path / "masks")
    store.index.loc[2, "fault"] = "empty_mask"
    with pytest.raises(SamplesError, match=r"no cleft .* in .*: \[3\]"):
        write(store, synapses_of(store, [0, 2]), tmp_path / "masks")
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]
