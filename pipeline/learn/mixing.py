"""MixUp and CutMix: batches of mixed images with soft labels, in two and three dimensions.

Images are mixed after `data.normalise`. Mixing the grey levels of a bright and a dark section would let the brighter
one shine through, and in CutMix draw a box with an edge: a network could tell the parts by their brightness alone.

Own code, of a screen: torchvision's MixUp and CutMix are for two dimensions and draw from torch's global state; MONAI's
CutMix takes the square root as a box's relative side in three dimensions too, and does not label by the share that
was in fact replaced (monai/transforms/regularization/array.py).
"""

from collections.abc import Callable

import numpy as np
import torch

from pipeline.recipes import Augmentation


def mix(
    images: torch.Tensor, target: torch.Tensor, settings: Augmentation, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image and its label mixed with those of a random partner of its batch; new tensors.

    `images` are floats `[N, C, Z, Y, X]`, `target` floats `[N]`, P(excitatory); `generator` is the CPU's, which
    augmentation draws from too. The batch's mixing weight follows Beta(alpha, alpha). Without `mixup_alpha` and
    `cutmix_alpha` nothing is changed; with both, one of the two is drawn.
    """
    methods: list[tuple[Callable, float]] = [(mixup, settings.mixup_alpha), (cutmix, settings.cutmix_alpha)]
    wanted = [(method, alpha) for method, alpha in methods if alpha > 0]
    if not wanted:
        return images, target
    # torch draws from a Beta distribution with its global state only
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    method, alpha = wanted[rng.integers(len(wanted))]
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
    return method(images, target, partner, rng.beta(alpha, alpha), rng)


def mixup(
    images: torch.Tensor, target: torch.Tensor, partner: torch.Tensor, kept: float, _: np.random.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`kept` times each image and label plus `1 - kept` times its partner's (Zhang et al. 2018)."""
    return torch.lerp(images.index_select(0, partner), images, kept), torch.lerp(target[partner], target, kept)


def cutmix(
    images: torch.Tensor, target: torch.Tensor, partner: torch.Tensor, kept: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A box, the same in all images, of about `1 - kept` of the voxels replaced by the partner's (Yun et al. 2019).

    The box has the image's proportions and its centre anywhere; what sticks out is cut off, so labels are weighted by
    the voxels that were replaced. A box in a patch takes the square root of `1 - kept` of each side, one in several
    sections the cube root.
    """
    extent = np.array(images.shape[-3:])
    n_axes = (extent > 1).sum()
    side = np.rint((1 - kept) ** (1 / n_axes) * extent).astype(int)
    start = rng.integers(extent) - side // 2
    side[extent == 1], start[extent == 1] = 1, 0  # a single section is always inside
    low, high = start.clip(0), (start + side).clip(max=extent)
    z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
    mixed = images.clone()
    mixed[..., z, y, x] = images[partner][..., z, y, x]
    replaced = float((high - low).prod() / extent.prod())
    return mixed, torch.lerp(target, target[partner], replaced)
