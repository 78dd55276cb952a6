"""Networks by name. Every one is an encoder under a linear head, so that the untrained control can refit the head."""

import torch
from torch import nn

from pipeline.models import resnet2d, unet3d

#: What each network reads: `patch` `[N, 1, Y, X]` or `cube` `[N, 1, Z, Y, X]`.
INPUT = {"resnet18": "patch", "unet3d": "cube"}


class Classifier(nn.Module):
    """Encoder, dropout, linear head: images -> logits `[N, 2]` (inhibitory, excitatory)."""

    def __init__(self, encoder, dropout):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.n_features, 2)

    def forward(self, images):
        features = self.dropout(self.encoder(images))
        with torch.autocast(features.device.type, enabled=False):  # logits in full precision: ties spoil a ranking
            return self.head(features.float())


def build(name, pretrained=False, dropout=0.0):
    """The network called `name` (a key of `INPUT`) with fresh weights from torch's global random state.

    `pretrained` (resnet18 only) starts the encoder from ImageNet weights.
    """
    if name not in INPUT:
        raise ValueError(f"no network {name!r}; there are {sorted(INPUT)}")
    if name == "unet3d":
        if pretrained:
            raise ValueError("unet3d has no pretrained weights: set `pretrained: false`")
        return Classifier(unet3d.UNet3DEncoder(), dropout)
    return Classifier(resnet2d.encoder(pretrained), dropout)
