"""The Residual Symmetric U-Net of the partner networks, and a classifier that is its contracting path.

After Lee et al. 2017: residual modules, pooling in the plane alone, kernels of the first level in the plane alone, skip
connections that are summed; with one level fewer and, as in the network of Turner et al. 2019, resize-convolutions
(interpolation before a convolution) on the way up. To be fast on a CPU it has single convolutions in place of modules
at full resolution and, on the way up, at half of it, and strided convolutions in place of max pooling. GroupNorm does
not depend on the batch.
"""

import torch
from torch import nn
from torch.nn import functional

from pipeline.models import norms

LEVELS = 4  # Lee et al. have five
STRIDE_ZYX = (1, 8, 8)  # of the lowest level


class UNet(nn.Module):
    """`[N, n_in, Z, Y, X]` -> float32 logits `[N, n_out, Z, Y, X]`, with `width` channels at full resolution.

    Channels double with each level. Y and X are multiples of 8, Z is free; ValueError otherwise.
    """

    def __init__(self, n_in: int, n_out: int, width: int):
        super().__init__()
        self.down = Contracting(n_in, width)
        *finer, last = self.down.widths
        self.up = nn.ModuleList()
        for level, n in reversed(list(enumerate(finer))):
            self.up.append(Expanding(last, n, refine=level > 1))
            last = n
        self.head = nn.Conv3d(width, n_out, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        *skips, x = self.down(images)
        for step, skip in zip(self.up, reversed(skips), strict=True):
            x = step(x, skip)
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.float())


class Classifier(nn.Module):
    """Contracting path under global average pooling: `[N, n_in, Z, Y, X]` -> float32 logits `[N]`; sizes as `UNet`."""

    def __init__(self, n_in: int, width: int):
        super().__init__()
        self.down = Contracting(n_in, width)
        self.head = nn.Linear(self.down.widths[-1], 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.down(images)[-1].float().mean(dim=(2, 3, 4))
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features)[:, 0]


class Contracting(nn.Module):
    """Feature maps of every level, the finest first; `widths` are their channels."""

    def __init__(self, n_in: int, width: int):
        super().__init__()
        self.n_in = n_in
        self.widths = [width * 2**level for level in range(LEVELS)]
        self.levels = nn.ModuleList([nn.Sequential(*_convolution(n_in, width, (1, 5, 5)))])
        for finer, coarser in zip(self.widths, self.widths[1:], strict=False):
            entry = nn.Sequential(*_convolution(finer, coarser, (1, 3, 3), (1, 2, 2)))
            self.levels.append(nn.Sequential(entry, Residual(coarser)))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = tuple(images.shape[1:])
        fits = len(found) == 4 and found[0] == self.n_in
        if not fits or any(n == 0 or n % stride for n, stride in zip(found[1:], STRIDE_ZYX, strict=True)):
            raise ValueError(
                f"the network reads images of {self.n_in} channels with Y and X multiples of {STRIDE_ZYX[1:]}; "
                f"these are {found} (CZYX)"
            )
        maps = []
        for level in self.levels:
            images = level(images)
            maps.append(images)
        return maps


class Expanding(nn.Module):
    """A resize-convolution to twice the resolution in the plane, to which the skip connection is added."""

    def __init__(self, n_in: int, n_out: int, refine: bool):
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, (1, 3, 3), 1, (0, 1, 1), bias=False)
        self.norm = norms.group(n_out)
        self.refine = Residual(n_out) if refine else nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        larger = functional.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
        return self.refine(self.norm(self.convolution(larger)) + skip)


class Residual(nn.Module):
    """Two convolutions across sections with a shortcut."""

    def __init__(self, n: int):
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(n, n, (3, 3, 3)),
            nn.Conv3d(n, n, (3, 3, 3), 1, (1, 1, 1), bias=False),
            norms.group(n),
        )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.convolutions(x) + x)


def _convolution(
    n_in: int, n_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> tuple[nn.Module, ...]:
    return (
        nn.Conv3d(n_in, n_out, kernel, stride, norms.same(kernel), bias=False),
        norms.group(n_out),
        nn.ReLU(inplace=True),
    )
