"""torchvision's residual networks with a stem for grey images, and their published weights."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from pipeline.errors import PipelineError

from pipeline.models import torchvision_ops  # noqa: F401, isort: skip - must come before torchvision
import torchvision


class WeightsError(PipelineError):
    """Published weights that cannot be fetched; the text says where to get and where to put them."""


def body(name: str, stem: str, channels: int, pretrained: bool) -> nn.Sequential:
    """The convolutions of torchvision's network `name`, up to its last feature map, for images of so many `channels`.

    `stem` names the first convolution, the only layer that is changed: a new one or, where `pretrained`, that of the
    published weights (see `grey_stem`). Raises WeightsError where these cannot be fetched.
    """
    network = torchvision.models.get_model(name, weights=None)
    rgb = network.get_submodule(stem)
    new = type(rgb)(channels, rgb.out_channels, rgb.kernel_size, rgb.stride, rgb.padding, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
    network.set_submodule(stem, new)
    del network.avgpool, network.fc  # what is left are the layers in the order in which they are applied
    convolutions = nn.Sequential(OrderedDict(network.named_children()))
    if pretrained:
        convolutions.load_state_dict(grey_stem(published_weights(name), stem, channels))
    return convolutions


def grey_stem(weights: dict[str, torch.Tensor], stem: str, channels: int) -> dict[str, torch.Tensor]:
    """A state dict of an RGB network as one for grey images of `channels` sections, without the classifier `fc`.

    The kernels of the convolution `stem` are summed over colours and shared among sections, so that the response to
    equal sections is that of the RGB network to three equal colours.
    """
    adapted = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    kernel = f"{stem}.weight"
    grey = weights[kernel].sum(dim=1, keepdim=True) / channels
    adapted[kernel] = grey.repeat_interleave(channels, dim=1)
    return adapted


def published_weights(name: str) -> dict[str, torch.Tensor]:
    """torchvision's state dict of `name`, from the torch hub cache or its server; WeightsError where neither has it.

    ImageNet weights of 2D networks, Kinetics-400 weights of video networks: the best that torchvision has of each.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        target = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        raise WeightsError(
            f"pretrained weights of {name} cannot be fetched ({error}). Download {weights.url} on a machine with "
            f"network and put it at {target}, or set `pretrained: false` for this model."
        ) from None
