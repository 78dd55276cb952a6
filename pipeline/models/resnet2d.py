"""ResNet-18 and ResNet-50 (He et al. 2016) for patches `[N, S, Y, X]` with S channels."""

from pipeline.models import pretrained as published
from pipeline.models.encoder import Encoder

N_FEATURES = {"resnet18": 512, "resnet50": 2048}


def encoder(name: str, channels: int = 1, pretrained: bool = False) -> Encoder:
    """Encoder `[N, channels, Y, X]` -> `[N, 512]` (resnet18) or `[N, 2048]` (resnet50); at least 32 px.

    `pretrained` starts from ImageNet weights. Raises WeightsError where they cannot be fetched.
    """
    body = published.body(name, "conv1", channels, pretrained)
    return Encoder(body, channels, N_FEATURES[name], (32, 32))
