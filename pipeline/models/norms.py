"""Normalisation layers: batch or group, in place of those a network was built with."""

from torch import nn

GROUPS = 8


def group(channels):
    """GroupNorm (Wu and He 2018), which does not depend on the rest of the batch, with 8 groups.

    Where 8 does not divide `channels` (r2plus1d_18 has layers of 45, 230, 460 and 921), with the most groups below.
    """
    groups = max(n for n in range(1, GROUPS + 1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)


def replace(network, norm, dimensions):
    """Make every normalisation layer of `network` one of `norm` (batch or group), in place.

    Layers that already are keep their weights; new ones have fresh weights. `dimensions` (2 or 3) is that of the
    images.
    """
    batch = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    kind, make = {"batch": (batch, batch), "group": (nn.GroupNorm, group)}[norm]
    for name, layer in list(network.named_modules()):
        if isinstance(layer, (batch, nn.GroupNorm)) and not isinstance(layer, kind):
            network.set_submodule(name, make(layer.weight.numel()))
