"""What all encoders have in common: check its images, run the convolutions, average over all positions."""

import torch
from torch import nn


class Encoder(nn.Module):
    """Convolutions under global average pooling: `[N, channels, (Z,) Y, X]` -> `[N, n_features]`, float32.

    `body` gives the feature map `[N, n_features, (Z,) Y, X]`; `stride` is its total stride per axis, which is also the
    least size of an image: the last layers would see little but padding in a smaller one.
    """

    def __init__(self, body: nn.Module, channels: int, n_features: int, stride: tuple[int, ...]):
        super().__init__()
        self.body = body
        self.channels = channels
        self.n_features = n_features
        self.stride = stride

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """ValueError for images of other axes or channels, or smaller than `stride` along an axis."""
        found, size = images.shape[1:], images.shape[2:]
        fits = len(size) == len(self.stride) and found[0] == self.channels
        if not fits or any(have < least for have, least in zip(size, self.stride, strict=True)):
            axes = ("Z", "Y", "X")[-len(self.stride) :]
            least = ", ".join(f"{axis} >= {size}" for axis, size in zip(axes, self.stride, strict=True))
            raise ValueError(f"the network reads images of {self.channels} channels, {least}; these are {tuple(found)}")
        # the mean: its gradient, unlike that of torch's adaptive pooling, is the same every time on CUDA
        return self.body(images).float().mean(dim=tuple(range(2, images.dim())))
