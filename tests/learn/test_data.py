"""Reading in any order, balanced sampling, the checks of a cohort, and synapses without an image."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from pipeline import config
from pipeline.learn import data


def test_rows_come_in_the_order_asked_for(cohort):
    stores, path = cohort
    ids = pd.read_parquet(path)["synapse_id"].to_numpy()
    stored = zarr.open_group(stores["em"] / "images.zarr", mode="r")["cube"][:]
    place = pd.read_parquet(stores["em"] / "index.parquet")["synapse_id"].tolist()
    rows = np.array([5, 0, 17, 5])
    expected = stored[[place.index(ids[row]) for row in rows]]
    found = data.Images(stores, "cube", ids).read(rows)
    np.testing.assert_array_equal(found, expected[:, None])


@pytest.mark.parametrize("shape_zyx", [(6, 40, 40), (4, 24, 33), (1, 40, 7)])
def test_only_the_middle_is_read_where_only_it_is_wanted(cohort, shape_zyx):
    ids = pd.read_parquet(cohort[1])["synapse_id"]
    rows = np.array([5, 0, 17, 5])
    cubes = data.Images(cohort[0], "cube", ids)
    np.testing.assert_array_equal(cubes.read(rows, shape_zyx), data.centre(cubes.read(rows), shape_zyx))
    patches, plane = data.Images(cohort[0], "patch", ids), (1, *shape_zyx[1:])
    np.testing.assert_array_equal(patches.read(rows, plane), data.centre(patches.read(rows), plane))


def test_a_patch_is_the_central_section_of_one_cube_format(cohort):
    stores, path = cohort
    ids = pd.read_parquet(path)["synapse_id"].to_numpy()
    assert data.Images(stores, "patch", ids).shape_zyx == (1, 40, 40)


def test_sampling_balances_classes_and_reins_in_large_neurons():
    neuron = np.repeat([0, 1, 2, 3], [100, 1, 25, 4])
    label = np.repeat([1, 1, 0, 0], [100, 1, 25, 4])
    rows = data.balanced_rows(label, neuron, 4000, np.random.default_rng(0))
    count = np.bincount(neuron[rows])
    assert label[rows].mean() == 0.5
    # expected shares: sqrt(100) : sqrt(1) and sqrt(25) : sqrt(4)
    np.testing.assert_allclose(count / 2000, [10 / 11, 1 / 11, 5 / 7, 2 / 7], atol=0.02)
    per_synapse = np.bincount(rows, minlength=len(neuron))[neuron == 0]
    assert np.ptp(per_synapse) <= 1  # systematic: equal synapses appear equally often


def test_sampling_repeats_with_its_seed_only():
    label, neuron = np.tile([0, 1], 50), np.arange(100) // 4
    first, again, other = (data.balanced_rows(label, neuron, 32, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_normalisation_ignores_brightness_and_contrast():
    images = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(data.normalise(images * 0.5 + 0.2), data.normalise(images), rtol=0.05, atol=0.05)
    assert data.normalise(torch.full((1, 1, 8, 8), 0.7)).abs().max() < 1e-4


def _synapses(**changes):
    frame = pd.DataFrame(
        [(split, label, neuron) for split in data.SPLITS for label in (0, 1) for neuron in (0, 1)],
        columns=["split", "label", "pre_neuron_id"],
    )
    frame["pre_neuron_id"] += frame["label"] * 10 + frame["split"].map({"train": 0, "val": 100, "test": 200})
    return frame.assign(**changes)


def test_cohort_that_cannot_be_split_is_refused():
    whole = _synapses()
    data.check_splits(whole)
    with pytest.raises(data.DataError, match="'val' has 1 inhibitory presynaptic neurons, at least 2"):
        data.check_splits(whole[whole["pre_neuron_id"] != 101])
    with pytest.raises(data.DataError, match="'test' has 0 excitatory presynaptic neurons, at least 2"):
        data.check_splits(whole[(whole["split"] != "test") | (whole["label"] == 0)])
    shared = pd.concat([whole, whole[whole["pre_neuron_id"] == 110].assign(split="test")])
    with pytest.raises(data.DataError, match=r"more than one split: \[110\]"):
        data.check_splits(shared)
    with pytest.raises(data.DataError, match="labels 0 or 1"):
        data.check_splits(_synapses(label=2))


def test_synapse_without_image_is_an_error_unless_extraction_lists_it(cohort, tmp_path, caplog):
    patches = shutil.copytree(cohort[0]["em"], tmp_path / "patches")
    synapses = pd.read_parquet(cohort[1])
    more = pd.concat([synapses, synapses.iloc[:1].assign(synapse_id=77)], ignore_index=True)
    with pytest.raises(data.DataError, match=r"1 synapses have no patch.*\[77\]"):
        data.Images({"em": patches}, "patch", data.with_images(more, patches)["synapse_id"])
    pd.DataFrame({"synapse_id": [77]}).to_csv(patches / "dropped.csv", index=False)
    pd.testing.assert_frame_equal(data.with_images(more, patches), synapses)
    assert "1 of 193 synapses have no image" in caplog.text


@pytest.mark.parametrize("stored", [16, 17])
@pytest.mark.parametrize("wanted", [8, 9])
def test_centre_keeps_the_voxel_that_extraction_puts_the_synapse_in(stored, wanted):
    images = torch.zeros(1, stored, stored, stored)
    images[0, stored // 2, stored // 2, stored // 2] = 1
    cropped = data.centre(images, (wanted, wanted, wanted))
    assert torch.argwhere(cropped).tolist() == [[0, wanted // 2, wanted // 2, wanted // 2]]


def test_crop_beyond_the_stored_size_is_refused(cohort):
    ids = pd.read_parquet(cohort[1])["synapse_id"]
    cubes, patches = (data.Images(cohort[0], kind, ids) for kind in ("cube", "patch"))
    assert cubes.input_zyx(config.Model(name="m", network="unet3d")) == (6, 40, 40)
    assert cubes.input_zyx(config.Model(name="m", network="cnn", sections=3)) == (3, 40, 40)
    assert patches.input_zyx(config.Model(name="m", network="cnn", crop=(32, 24))) == (1, 32, 24)
    with pytest.raises(data.DataError, match=r"\(8, 32, 32\) does not fit into the stored cubes \(6, 40, 40\)"):
        cubes.input_zyx(config.Model(name="m", network="unet3d", crop=(8, 32, 32)))
    with pytest.raises(data.DataError, match=r"\(7, 40, 40\) does not fit"):
        cubes.input_zyx(config.Model(name="m", network="cnn", sections=7))


def test_uniform_sampling_takes_every_synapse_once(cohort):
    label, neuron = np.tile([0, 1], 25), np.arange(50) // 4
    batches = data.epoch_rows(label, neuron, 4, 16, "uniform", np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(range(50))
    assert max(map(len, batches)) <= 16


def test_unfinished_extraction_is_refused(tmp_path):
    with pytest.raises(data.DataError, match="no finished extraction"):
        data.Images({"em": tmp_path}, "patch", [1])


def test_a_share_of_the_training_neurons_is_of_each_class_and_within_the_larger_share(cohort):
    synapses = pd.read_parquet(cohort[1])
    shares = {share: data.share_of_neurons(synapses, share, seed=3) for share in (0.25, 0.5, 1)}
    assert shares[1].equals(synapses)
    trained = {}
    for share, rows in shares.items():
        train = rows[rows["split"] == "train"]
        trained[share] = set(train["pre_neuron_id"])
        whole = synapses[synapses["split"] == "train"].groupby("label")["pre_neuron_id"].nunique()
        assert (train.groupby("label")["pre_neuron_id"].nunique() == (share * whole).round()).all()
        others = synapses["split"] != "train"
        assert rows.loc[others, "split"].equals(synapses.loc[others, "split"])
        assert (rows.groupby("pre_neuron_id")["split"].nunique() == 1).all()
    assert trained[0.25] < trained[0.5] < trained[1]
    data.check_splits(shares[0.5])
    assert not data.share_of_neurons(synapses, 0.5, seed=4)["split"].equals(shares[0.5]["split"])
