"""AVAN's mask as a channel: of the right synapse, changed with the image, asked for where it is lacking."""

import numpy as np
import pandas as pd
import pytest
import torch
from blobs import SHAPE, blobs, write_cohort, write_images
from sklearn.metrics import roc_auc_score

from pipeline import artefacts, config, recipes
from pipeline.learn import checkpoint, classification, data, run
from pipeline.learn.augment import Augment


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """(stores, synapses): images that say nothing of the label, and masks that say all of it."""
    folder = tmp_path_factory.mktemp("channels")
    patches, synapses = write_cohort(folder, shuffled=True, seed=3)
    rng = np.random.default_rng(0)
    rows = pd.read_parquet(synapses).sample(frac=1, random_state=1)  # an order of their own
    shown = np.stack([blobs(label, 200, 230, rng) for label in rows["label"]])
    write_images(folder / "masks", rows["synapse_id"], cube=np.where(shown < 128, 255, 0).astype(np.uint8))
    return {"em": patches, "presynaptic": folder / "masks"}, synapses


MASKED = ("em", "presynaptic")


def _model(network, **settings):
    recipe = {"warmup_epochs": 1}
    epochs = 24 if network == "unet3d" else 6
    return config.Model(name=network, network=network, epochs=epochs, batch_size=16, recipe=recipe, **settings)


def _auc(cohort, model, folder):
    stores, synapses = cohort
    read = {channel: stores[channel] for channel in model.channels}
    run.train(read, synapses, model, folder, folder.parent / "p.parquet", 5)
    test = pd.read_parquet(folder.parent / "p.parquet").query("split == 'test'")
    return roc_auc_score(test["label"], test["p_excitatory"])


@pytest.mark.parametrize(("network", "crop"), [("unet3d", (6, 24, 24)), ("cnn", (24, 24))])
def test_a_network_reads_from_the_mask_what_the_image_does_not_show(cohort, network, crop, tmp_path):
    assert _auc(cohort, _model(network, crop=crop, channels=MASKED), tmp_path / "with") > 0.9
    _, card = classification.load(tmp_path / "with" / "model.safetensors")
    assert card.channels == MASKED


def test_without_the_mask_it_learns_nothing(cohort, tmp_path):
    assert _auc(cohort, _model("cnn", crop=(24, 24)), tmp_path / "bare") < 0.75


def test_a_model_that_reads_masks_refuses_images_alone(cohort, tmp_path):
    stores, synapses = cohort
    _auc(cohort, _model("cnn", crop=(24, 24), channels=MASKED).model_copy(update={"epochs": 1}), tmp_path / "run")
    with pytest.raises(checkpoint.CheckpointError, match=r"reads the channels \['em', 'presynaptic'\], .* \['em'\]"):
        run.predict(tmp_path / "run" / "model.safetensors", {"em": stores["em"]}, pd.read_parquet(synapses))


def test_other_masks_train_again(cohort, tmp_path):
    stores, synapses = cohort
    model = _model("cnn", crop=(24, 24), channels=MASKED)
    before = run.identity(stores, synapses, model, 5)
    artefacts.write_json(tmp_path / "manifest.json", {"other": True})
    assert run.identity(stores | {"presynaptic": tmp_path}, synapses, model, 5) != before


def test_mask_and_image_go_through_the_same_geometry():
    """A mask that marks the image's own bright voxels still does after every change of place."""
    rng = np.random.default_rng(0)
    cubes = np.full((8, *SHAPE), 20, np.uint8)
    for cube in cubes:
        y, x = rng.integers(10, 30, 2)
        cube[:, y - 5 : y + 5, x - 3 : x + 3] = 220
    still = {"gamma": 0, "brightness": 0, "contrast": 0, "bad_section": 0, "blur": 0, "noise": 0, "cutout": 0}
    augment = Augment(recipes.Augmentation(**still), (6, 24, 24), seed=1)
    both = np.stack([cubes, (cubes > 100) * np.uint8(255)], axis=1)
    images, masks = augment(torch.from_numpy(both)).numpy().swapaxes(0, 1)
    assert set(np.unique(masks)) == {0, 1}
    bright = images > 120 / 255
    shared = (bright & (masks > 0)).sum() / (bright | (masks > 0)).sum()
    assert shared > 0.9


def test_grey_levels_of_a_mask_are_never_changed():
    """Whatever happens to the image, a mask of 255 everywhere stays 1 within the image's border."""
    both = torch.stack(
        [torch.randint(256, (16, 6, 24, 24), dtype=torch.uint8), torch.full((16, 6, 24, 24), 255)], dim=1
    )
    settings = recipes.Augmentation(bad_section=1, cutout=1, blur=1, noise=0.2, rotation=0, elastic=0)
    masks = Augment(settings, (6, 12, 12), seed=0)(both.to(torch.uint8))[:, 1]
    assert (masks == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "r3d_18"}, "only cnn, resnet18, resnet50, unet3d read a mask"),
        ({"network": "resnet18", "pretrained": True}, "random weights"),
        ({"network": "cnn", "augmentation": {"mixup_alpha": 0.2}}, "MixUp"),
    ],
)
def test_settings_that_cannot_be_combined_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config.Model(name="x", channels=MASKED, **settings)


def test_a_patch_network_reads_masks_of_the_synapse_section(cohort):
    stores, synapses = cohort
    ids = pd.read_parquet(synapses)["synapse_id"]
    model = _model("cnn", crop=(24, 24), channels=MASKED)
    images, patches = data.Images(stores, model.array, ids), data.Images({"em": stores["em"]}, "patch", ids)
    cube = data.centre(images.read([0]), images.input_zyx(model))
    assert torch.equal(cube[:, :1], data.centre(patches.read([0]), (1, 24, 24)))
