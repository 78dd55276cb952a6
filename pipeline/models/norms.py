"""Normalisation layers: batch or group, in place of those a network was built with; and padding."""

from torch import nn

GROUPS = 8


def same(kernel: tuple[int, int, int]) -> tuple[int, int, int]:
    """The padding under which a convolution of stride 1 keeps an image's size."""
    z, y, x = kernel
    return z // 2, y // 2, x // 2


def group(channels: int) -> nn.GroupNorm:
    """GroupNorm (Wu and He 2018), which does not depend on the rest of the batch, with 8 groups.

    Where 8 does not divide `channels` (r2plus1d_18 has layers of 45, 230, 460 and 921), with the most groups below.
    """
    groups = max(n for n in range(1, GROUPS + 1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)


def replace(network: nn.Module, norm: str, dimensions: int) -> None:
    """Make every normalisation layer of `network` one of `norm` (batch or group), in place.

    Layers that already are keep their weights; new ones have fresh weights. `dimensions` (2 or 3) is that of the
    images.
    """
    batch = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    wanted, make = {"batch": (batch, batch), "group": (nn.GroupNorm, group)}[norm]
    for name, layer in list(network.named_modules()):
        if isinstance(layer, (batch, nn.GroupNorm)) and not isinstance(layer, wanted):
            network.set_submodule(name, make(layer.weight.numel()))
