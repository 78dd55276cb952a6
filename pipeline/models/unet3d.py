"""The contracting path of a 3D U-Net (Cicek et al. 2016) as an encoder of cubes `[N, 1, Z, Y, X]`.

Sections are 40 nm apart and pixels 8 nm: the first levels pool and convolve in the plane only, until voxels are
nearly isotropic (32x32x40 nm), as in the Residual Symmetric U-Net (Lee et al. 2017), from which the residual blocks
come. GroupNorm does not depend on the batch, which is small in 3D.
"""

import torch
from torch import nn

from pipeline.models import norms
from pipeline.models.encoder import Encoder

WIDTHS = (16, 32, 64, 128)


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut; `stride` pools at entry. Kernels and strides in ZYX order."""

    def __init__(self, n_in: int, n_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]):
        super().__init__()
        padding = norms.same(kernel)
        self.convolutions = nn.Sequential(
            nn.Conv3d(n_in, n_out, kernel, stride, padding, bias=False),
            norms.group(n_out),
            nn.ReLU(inplace=True),
            nn.Conv3d(n_out, n_out, kernel, 1, padding, bias=False),
            norms.group(n_out),
        )
        self.shortcut = nn.Sequential(nn.Conv3d(n_in, n_out, 1, stride, bias=False), norms.group(n_out))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.convolutions(x) + self.shortcut(x))


def encoder(channels: int = 1) -> Encoder:
    """Encoder `[N, channels, Z, Y, X]` -> `[N, 128]`, with GroupNorm; at least 4x16x16 voxels."""
    first, second, third, fourth = WIDTHS
    stem = nn.Sequential(
        nn.Conv3d(channels, first, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False),
        norms.group(first),
        nn.ReLU(inplace=True),
    )
    levels = nn.Sequential(
        ResidualBlock(first, first, (1, 3, 3), (1, 1, 1)),  # voxels of 16x16x40 nm (XYZ)
        ResidualBlock(first, second, (3, 3, 3), (1, 2, 2)),  # 32x32x40
        ResidualBlock(second, third, (3, 3, 3), (2, 2, 2)),  # 64x64x80
        ResidualBlock(third, fourth, (3, 3, 3), (2, 2, 2)),  # 128x128x160
    )
    return Encoder(nn.Sequential(stem, *levels), channels, fourth, (4, 16, 16))
