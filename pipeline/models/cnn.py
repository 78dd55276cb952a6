"""The custom CNN: a plain stack of convolutions for patches `[N, S, Y, X]` with S channels.

Four levels of two 3x3 convolutions, the first of stride 2, end at pixels of 128 nm, each of which has seen 91 px
(0.73 um at 8 nm, about a bouton). Widths of 24 to 192 make 0.66 M parameters, 2.6 MB, small enough to be shipped.
"""

from torch import nn

from pipeline.models.encoder import Encoder

WIDTHS = (24, 48, 96, 192)


def encoder(channels: int = 1) -> Encoder:
    """Encoder `[N, channels, Y, X]` -> `[N, 192]`, with BatchNorm; at least 16 px."""
    layers: list[nn.Module] = []
    n_in = channels
    for width in WIDTHS:
        layers += _block(n_in, width, stride=2) + _block(width, width, stride=1)
        n_in = width
    return Encoder(nn.Sequential(*layers), channels, n_in, (16, 16))


def _block(n_in: int, n_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)]
