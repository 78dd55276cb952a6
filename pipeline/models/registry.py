"""The classifiers by name. Each is an encoder under a linear head, so that the untrained control can refit the head."""

import torch
from torch import nn

from pipeline.models import cnn, norms, resnet2d, unet3d, video
from pipeline.models.encoder import Encoder
from pipeline.models.names import DIMENSIONS


class Classifier(nn.Module):
    """Encoder, dropout, linear head: images of 2 or 3 `dimensions` -> logits `[N, 2]` (inhibitory, excitatory).

    2D networks read `[N, S, Y, X]`, with the sections of every channel as channels; 3D networks `[N, C, Z, Y, X]`.
    `encoder.body` gives the last feature map, `encoder.stride` its stride and the least size of an image.
    """

    def __init__(self, encoder: Encoder, dropout: float, dimensions: int):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.n_features, 2)
        self.dimensions = dimensions

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.dropout(self.encoder(images))
        with torch.autocast(features.device.type, enabled=False):  # logits in full precision: ties spoil a ranking
            return self.head(features.float())


def build(
    name: str,
    sections: int = 1,
    channels: int = 1,
    norm: str | None = None,
    pretrained: bool = False,
    dropout: float = 0.0,
) -> Classifier:
    """The network called `name` (a key of `DIMENSIONS`) with fresh weights from torch's global random state.

    `sections`: neighbouring sections that a 2D network reads as channels. `norm`: batch or group; None: the network's
    own, which is group for unet3d and batch for all others. `pretrained`: the encoder starts from ImageNet (2D) or
    Kinetics-400 (3D) weights. What can be combined is checked by `config.Model`. ValueError for an unknown name,
    WeightsError where weights cannot be fetched.
    """
    if name not in DIMENSIONS:
        raise ValueError(f"no classifier {name!r}; there are {sorted(DIMENSIONS)}")
    encoder = _encoder(name, sections, channels, pretrained)
    if norm is not None:
        norms.replace(encoder, norm, DIMENSIONS[name])
    return Classifier(encoder, dropout, DIMENSIONS[name])


def _encoder(name: str, sections: int, channels: int, pretrained: bool) -> Encoder:
    if name == "cnn":
        return cnn.encoder(sections * channels)
    if name == "unet3d":
        return unet3d.encoder(channels)
    if DIMENSIONS[name] == 2:
        return resnet2d.encoder(name, sections * channels, pretrained)
    return video.encoder(name, pretrained)
