"""Applying a network to any number of images, in bounded memory, averaged over the symmetries of the square."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from pipeline.learn import device
from pipeline.learn.augment import SYMMETRIES, inverse, symmetry

Items = TypeVar("Items", np.ndarray, Sequence)

VOXELS = {"cpu": 400_000, "cuda": 1 << 25}  # in a batch: larger ones would leave a CPU's cache, or fill a GPU's memory


def batch_size(shape_zyx: tuple[int, int, int], place: torch.device) -> int:
    """Images of a batch that is only predicted, for a network on a CPU or a GPU."""
    return max(1, VOXELS[place.type] // math.prod(shape_zyx))


def in_batches(items: Items, size: int, what: str) -> Iterator[Items]:
    """Yield `size` items at a time, under a progress bar called `what`."""
    for start in tqdm(range(0, len(items), size), desc=what, disable=None, leave=False):
        yield items[start : start + size]


@torch.inference_mode()
def averaged(
    apply: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, symmetries: int = SYMMETRIES
) -> np.ndarray:
    """Mean of `apply(images)` over the first `symmetries` of the 8 rotations and mirrorings of the plane.

    Features `[N, F]` and scores `[N]` are averaged as they are; maps `[N, C, Z, Y, X]` are first turned back.
    """
    total = torch.zeros((), device=images.device)
    for number in range(symmetries):
        with device.autocast(images.device):
            found = apply(symmetry(images, number))
        total = total + (symmetry(found, inverse(number)) if found.dim() > 2 else found)
    return (total / symmetries).cpu().numpy()
