"""ResNet-18 (He et al. 2016) for single-channel patches `[N, 1, Y, X]`."""

from pathlib import Path

import torch
from torch import nn

from pipeline.models import torchvision_ops  # noqa: F401, isort: skip - must come before torchvision
import torchvision

WEIGHTS = torchvision.models.ResNet18_Weights.IMAGENET1K_V1


class WeightsError(RuntimeError):
    """ImageNet weights that cannot be had; the text says where to get and where to put them."""


def encoder(pretrained=False):
    """ResNet-18 without its classifier: `[N, 1, Y, X]` -> `[N, 512]`.

    `pretrained` starts from torchvision's ImageNet weights. Raises WeightsError where they cannot be fetched.
    """
    network = torchvision.models.resnet18(weights=None)
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.n_features = network.fc.in_features
    network.fc = nn.Identity()
    if pretrained:
        network.load_state_dict(grey_stem(imagenet_weights()))
    return network


def grey_stem(weights):
    """ImageNet weights for a one-channel network without classifier.

    The stem's RGB kernels are summed, so that its response to a grey image equals the RGB stem's to three equal
    channels.
    """
    adapted = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    adapted["conv1.weight"] = weights["conv1.weight"].sum(dim=1, keepdim=True)
    return adapted


def imagenet_weights():
    """torchvision's ImageNet state dict, from the torch hub cache or its server; WeightsError where neither has it."""
    try:
        return WEIGHTS.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        target = Path(torch.hub.get_dir()) / "checkpoints" / Path(WEIGHTS.url).name
        raise WeightsError(
            f"ImageNet weights of resnet18 cannot be fetched ({error}). Download {WEIGHTS.url} on a machine with "
            f"network and put it at {target}, or set `pretrained: false` for this model."
        ) from None
