"""Networks by name. Every one is an encoder under a linear head, so that the untrained control can refit the head."""

import torch
from torch import nn

from pipeline.models import cnn, norms, resnet2d, unet3d, video

#: Axes of a network's images: 2D networks read `[N, S, Y, X]` (S sections as channels), 3D networks `[N, 1, Z, Y, X]`.
#: An attention mask, where one is read, doubles the channels: behind the sections in 2D, a second channel in 3D.
DIMENSIONS = {"cnn": 2, "resnet18": 2, "resnet50": 2, "unet3d": 3, "r3d_18": 3, "mc3_18": 3, "r2plus1d_18": 3}


class Classifier(nn.Module):
    """Encoder, dropout, linear head: images of 2 or 3 `dimensions` -> logits `[N, 2]` (inhibitory, excitatory).

    `encoder.body` gives the last feature map, `encoder.stride` its stride and the least size of an image.
    """

    def __init__(self, encoder, dropout, dimensions):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.n_features, 2)
        self.dimensions = dimensions

    def forward(self, images):
        features = self.dropout(self.encoder(images))
        with torch.autocast(features.device.type, enabled=False):  # logits in full precision: ties spoil a ranking
            return self.head(features.float())


def build(name, sections=1, norm=None, pretrained=False, dropout=0.0, attention=False):
    """The network called `name` (a key of `DIMENSIONS`) with fresh weights from torch's global random state.

    `sections`: neighbouring sections that a 2D network reads as channels. `norm`: batch or group; None: the network's
    own, which is group for unet3d and batch for all others. `pretrained`: the encoder starts from ImageNet (2D) or
    Kinetics-400 (3D) weights. `attention`: it also reads a mask of every section. ValueError for what cannot be
    combined, WeightsError where weights cannot be fetched.
    """
    if name not in DIMENSIONS:
        raise ValueError(f"no network {name!r}; there are {sorted(DIMENSIONS)}")
    if norm not in (None, "batch", "group"):
        raise ValueError(f"no norm {norm!r}; there are batch and group, and None for the network's own")
    if sections < 1 or (sections > 1 and DIMENSIONS[name] == 3):
        raise ValueError(f"{name} cannot read {sections} sections: at least 1 in 2D; a 3D network reads one cube")
    if pretrained and name in ("cnn", "unet3d"):
        raise ValueError(f"{name} has no pretrained weights: set `pretrained: false`")
    if pretrained and norm == "group":
        raise ValueError(
            "the pretrained weights belong to batch normalisation: set `pretrained: false` or another norm"
        )
    if attention and (pretrained or name in video.STRIDE):
        raise ValueError(f"{name} cannot read an attention mask: the weights or the stem are made for images alone")
    encoder = _encoder(name, sections, pretrained, planes=2 if attention else 1)
    if norm is not None:
        norms.replace(encoder, norm, DIMENSIONS[name])
    return Classifier(encoder, dropout, DIMENSIONS[name])


def _encoder(name, sections, pretrained, planes):
    if name == "cnn":
        return cnn.encoder(sections * planes)
    if name == "unet3d":
        return unet3d.encoder(planes)
    if DIMENSIONS[name] == 2:
        return resnet2d.encoder(name, sections * planes, pretrained)
    return video.encoder(name, pretrained)
