"""ResNet-18 and ResNet-50 (He et al. 2016) for patches `[N, S, Y, X]` of S neighbouring sections."""

from pipeline.models import pretrained as published
from pipeline.models.encoder import Encoder

N_FEATURES = {"resnet18": 512, "resnet50": 2048}


def encoder(name, sections=1, pretrained=False):
    """Encoder `[N, sections, Y, X]` -> `[N, 512]` (resnet18) or `[N, 2048]` (resnet50); at least 32 px.

    `pretrained` starts from ImageNet weights. Raises WeightsError where they cannot be fetched.
    """
    body = published.body(name, "conv1", sections, pretrained)
    return Encoder(body, sections, N_FEATURES[name], (32, 32))
