"""torchvision's video networks (Tran et al. 2018) for cubes `[N, 1, Z, Y, X]`: r3d_18, mc3_18, r2plus1d_18.

Their time is our Z, and voxels are 8x8x40 nm (XYZ). The stem halves the plane alone, to 16x16x40 nm, and layer 2 halves
it again. In r3d_18 and r2plus1d_18 layer 2 would also halve Z, to 32x32x80 nm; here it does not (32x32x40, nearly
isotropic), and Z is halved with the plane in layers 3 (64x64x80) and 4 (128x128x160) only. mc3_18 is unchanged: it
convolves along Z in the stem and layer 1 alone and never strides. A stride is no weight: Kinetics-400 weights still
load, and every second section of layer 2's first convolution is what it was.
"""

from torch import nn

from pipeline.models import pretrained as published
from pipeline.models.encoder import Encoder

STRIDE = {"r3d_18": (4, 16, 16), "mc3_18": (1, 16, 16), "r2plus1d_18": (4, 16, 16)}


def encoder(name: str, pretrained: bool = False) -> Encoder:
    """Encoder `[N, 1, Z, Y, X]` -> `[N, 512]`; at least 4x16x16 voxels (mc3_18: 1x16x16).

    `pretrained` starts from Kinetics-400 weights. Raises WeightsError where they cannot be fetched.
    """
    body = published.body(name, "stem.0", 1, pretrained)
    for layer in body.get_submodule("layer2").modules():
        if isinstance(layer, nn.Conv3d):
            layer.stride = (1, *layer.stride[1:])
    return Encoder(body, 1, 512, STRIDE[name])
