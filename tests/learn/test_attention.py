"""AVAN's mask beside the image: of the right synapse, changed with the image, asked for where it is lacking."""

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from blobs import SHAPE, blobs, write_cohort
from sklearn.metrics import roc_auc_score

from pipeline import artefacts, config
from pipeline.learn import checkpoint, data, run
from pipeline.learn.augment import Augment


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """(patches, synapses, masks): images that say nothing of the label, and masks that say all of it."""
    folder = tmp_path_factory.mktemp("attention")
    patches, synapses = write_cohort(folder, shuffled=True, seed=3)
    rng = np.random.default_rng(0)
    rows = pd.read_parquet(synapses).sample(frac=1, random_state=1)  # an order of their own
    shown = np.stack([blobs(label, 200, 230, rng) for label in rows["label"]])
    masks = folder / "masks"
    masks.mkdir()
    zarr.create_group(masks / "images.zarr").create_array("cube", data=np.where(shown < 128, 255, 0).astype(np.uint8))
    rows[["synapse_id"]].to_parquet(masks / "index.parquet")
    artefacts.write_json(masks / "manifest.json", {"voxel_nm": [8.0, 8.0, 40.0]})
    return patches, synapses, masks


def _model(network, **settings):
    recipe = {"warmup_epochs": 1}
    epochs = 16 if network == "unet3d" else 6
    return config.Model(name=network, network=network, epochs=epochs, batch_size=16, recipe=recipe, **settings)


def _auc(cohort, model, folder):
    patches, synapses, masks = cohort
    run.train(patches, synapses, model, folder, folder.parent / "p.parquet", 5, masks if model.attention else None)
    test = pd.read_parquet(folder.parent / "p.parquet").query("split == 'test'")
    return roc_auc_score(test["label"], test["p_excitatory"])


@pytest.mark.parametrize(("network", "crop"), [("unet3d", (6, 24, 24)), ("cnn", (24, 24))])
def test_a_network_reads_from_the_mask_what_the_image_does_not_show(cohort, network, crop, tmp_path):
    assert _auc(cohort, _model(network, crop=crop, attention=True), tmp_path / "with") > 0.9
    _, card = checkpoint.load(tmp_path / "with" / "model.safetensors")
    assert card.attention


def test_without_the_mask_it_learns_nothing(cohort, tmp_path):
    assert _auc(cohort, _model("cnn", crop=(24, 24)), tmp_path / "bare") < 0.75


def test_a_model_that_reads_masks_refuses_images_alone(cohort, tmp_path):
    patches, synapses, _ = cohort
    _auc(cohort, _model("cnn", crop=(24, 24), attention=True).model_copy(update={"epochs": 1}), tmp_path / "run")
    with pytest.raises(checkpoint.CheckpointError, match="presynaptic mask"):
        run.predict_run(tmp_path / "run", patches, pd.read_parquet(synapses), tmp_path / "new.parquet")


def test_other_masks_train_again(cohort, tmp_path):
    patches, synapses, masks = cohort
    model = _model("cnn", crop=(24, 24), attention=True)
    before = run.identity(patches, synapses, model, 5, masks)
    artefacts.write_json(tmp_path / "manifest.json", {"other": True})
    assert run.identity(patches, synapses, model, 5, tmp_path) != before


def test_mask_and_image_go_through_the_same_geometry():
    """A mask that marks the image's own bright voxels still does after every change of place."""
    rng = np.random.default_rng(0)
    cubes = np.full((8, *SHAPE), 20, np.uint8)
    for cube in cubes:
        y, x = rng.integers(10, 30, 2)
        cube[:, y - 5 : y + 5, x - 3 : x + 3] = 220
    still = {"gamma": 0, "brightness": 0, "contrast": 0, "bad_section": 0, "blur": 0, "noise": 0, "cutout": 0}
    augment = Augment(config.Augmentation(**still), (6, 24, 24), seed=1)
    images, (masks,) = augment.with_labels(torch.from_numpy(cubes), [torch.from_numpy((cubes > 100) * np.uint8(255))])
    bright = images.numpy() > 120 / 255
    shared = (bright & (masks.numpy() > 0)).sum() / (bright | (masks.numpy() > 0)).sum()
    assert shared > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "r3d_18"}, "only cnn"),
        ({"network": "resnet18", "pretrained": True}, "random weights"),
        ({"network": "cnn", "augmentation": {"mixup_alpha": 0.2}}, "MixUp"),
    ],
)
def test_settings_that_cannot_be_combined_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config.Model(name="x", attention=True, **settings)


def test_a_patch_network_reads_masks_of_the_synapse_section(cohort):
    patches, synapses, masks = cohort
    ids = pd.read_parquet(synapses)["synapse_id"]
    model = _model("cnn", crop=(24, 24), attention=True)
    images = data.Images(patches, model.images, ids, attention_dir=masks)
    cube, patch = data.centre(images.read([0]), images.input_zyx(model)), data.Images(patches, "patch", ids).read([0])
    assert torch.equal(cube, data.centre(patch, (1, 24, 24)))
