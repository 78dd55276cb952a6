"""The losses of training. With two classes all are functions of one number, the difference of the two logits."""

import torch
from torch.nn import functional

from pipeline.models import torchvision_ops  # noqa: F401, isort: skip - must come before torchvision
from torchvision.ops import sigmoid_focal_loss

from pipeline.recipes import ClassifierRecipe


def loss(logits: torch.Tensor, target: torch.Tensor, recipe: ClassifierRecipe, class_share: float) -> torch.Tensor:
    """Mean loss of a batch, a scalar tensor.

    `logits` `[N, 2]` (inhibitory, excitatory); `target` `[N]`, P(excitatory), which may be soft; `class_share` is the
    share of excitatory synapses among those that training draws. Labels are first smoothed towards one half (Szegedy
    et al. 2016).

    - `cross_entropy`: binary cross-entropy of the difference, which is two-class cross-entropy;
    - `balanced_bce`: the same, each example weighted by the inverse frequency of its class, 1 where classes are equally
      frequent. A mixed example has the mixed weight of its parts; smoothing changes no weight;
    - `focal`: Lin et al. 2017.

    ValueError where `balanced_bce` would have to balance a single class.
    """
    log_odds = logits[:, 1] - logits[:, 0]
    target = target.to(log_odds.dtype)
    smooth = target + recipe.label_smoothing * (0.5 - target)
    if recipe.loss == "focal":
        alpha = -1 if recipe.focal_alpha is None else recipe.focal_alpha  # -1: torchvision's "no weights"
        return sigmoid_focal_loss(log_odds, smooth, alpha=alpha, gamma=recipe.focal_gamma, reduction="mean")
    weight = None
    if recipe.loss == "balanced_bce":
        if not 0 < class_share < 1:
            raise ValueError(f"balanced_bce needs both classes, but the share of excitatory examples is {class_share}")
        weight = 0.5 * target / class_share + 0.5 * (1 - target) / (1 - class_share)
    return functional.binary_cross_entropy_with_logits(log_odds, smooth, weight)
