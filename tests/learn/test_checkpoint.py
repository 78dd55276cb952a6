"""Model files: what comes back, and what is refused."""

import dataclasses
import json

import pandas as pd
import pytest
import safetensors.torch
import torch

from pipeline.learn import checkpoint, classification, data
from pipeline.models import registry

CARD = checkpoint.Card(
    task="classification",
    network="unet3d",
    build={"sections": 1, "channels": 1, "norm": None},
    channels=("em",),
    voxel_nm=(8.0, 8.0, 40.0),
    shape_zyx=(6, 24, 24),
    decision={"tau": 0.4375, "temperature": 1.25},
)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    network = registry.build("unet3d")
    checkpoint.save(tmp_path / "model.safetensors", network, CARD)
    return network.eval(), tmp_path / "model.safetensors"


def test_a_model_comes_back_whole_and_saves_to_the_same_bytes(model, tmp_path):
    network, path = model
    again, card = classification.load(path)
    assert card == CARD
    images = torch.rand(2, 1, 6, 24, 24)
    assert torch.equal(again(images), network(images))
    checkpoint.save(tmp_path / "again.safetensors", again, card)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def _rewrite(path, weights=None, **changes):
    with safetensors.safe_open(path, framework="pt") as file:
        card = json.loads(file.metadata()["card"]) | changes
    tensors = weights if weights is not None else safetensors.torch.load_file(path)
    safetensors.torch.save_file(tensors, path, {"card": json.dumps(card)})


def test_files_of_another_kind_are_refused(model, tmp_path):
    _, path = model
    with pytest.raises(checkpoint.CheckpointError, match=r"no trained model: .*absent.safetensors does not exist"):
        classification.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("not a model")
    with pytest.raises(checkpoint.CheckpointError, match="is not a safetensors file"):
        classification.load(tmp_path / "text.safetensors")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(checkpoint.CheckpointError, match="has no model card of this version"):
        classification.load(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"network": "vit"}, "does not hold the weights of a vit: no classifier 'vit'; there are"),
        ({"network": "resnet18"}, "does not hold the weights of a resnet18"),
        ({"build": {"norm": "batch"}}, "does not hold the weights of a unet3d"),
        ({"build": {"norm": "layer"}}, "does not hold the weights of a unet3d"),
        ({"build": {"depth": 7}}, "does not hold the weights of a unet3d"),
        ({"task": "partner assignment"}, "holds a network for partner assignment, not for classification"),
        ({"normalisation": "by data set"}, "expects another normalisation"),
        ({"surprise": 1}, "has no model card of this version"),
    ],
)
def test_another_network_task_or_normalisation_is_refused(model, change, text):
    _rewrite(model[1], **change)
    with pytest.raises(checkpoint.CheckpointError, match=text):
        classification.load(model[1])


def test_images_of_other_voxels_or_too_small_are_refused(cohort):
    images = data.Images(cohort[0], "cube", pd.read_parquet(cohort[1])["synapse_id"])
    CARD.check(images)
    other = dataclasses.replace(CARD, voxel_nm=(4.0, 4.0, 40.0))
    with pytest.raises(checkpoint.CheckpointError, match=r"\(4.0, 4.0, 40.0\) nm.* has \(8.0, 8.0, 40.0\)"):
        other.check(images)
    large = dataclasses.replace(CARD, shape_zyx=(6, 64, 64))
    with pytest.raises(checkpoint.CheckpointError, match=r"at least \(6, 64, 64\) \(ZYX\), .* are \(6, 40, 40\)"):
        large.check(images)
