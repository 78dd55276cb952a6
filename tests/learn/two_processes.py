"""A training under torchrun for `test_run.py`, in which the only thing drawn at random is the order of the synapses."""

import sys
from pathlib import Path

import torch

from pipeline import config
from pipeline.learn import classification, data, device, distributed, run


class Plain:
    """In place of `Augment`: the centre of the images."""

    def __init__(self, settings, shape_zyx, seed):
        self.shape_zyx = shape_zyx
        self.random = torch.Generator().manual_seed(seed)

    def reach_zyx(self, stored):
        return self.shape_zyx

    def __call__(self, images, device):
        return data.centre(images, self.shape_zyx).float() / 255


patches, synapses, folder = map(Path, sys.argv[1:])
classification.Augment = Plain
device.has_bfloat16 = lambda _: False  # its rounding would hide a wrong weight of a part
model = config.Model(
    name="unet",
    network="unet3d",
    crop=(6, 24, 24),
    batch_size=16,
    epochs=2,
    recipe={"threads": 1, "warmup_epochs": 1, "dropout": 0},
)
with distributed.group():
    run.train({"em": patches}, synapses, model, folder / "run", folder / "p.parquet", 5)
