"""Class-evidence maps: which voxels speak for a synapse's true class, and how much of that lies in a region.

Two methods with different blind spots, both from captum (Kokhlikyan et al. 2020). Occlusion (Zeiler and Fergus 2014)
hides one box after another and applies the network again: it is as coarse as its box.
Grad-CAM (Selvaraju et al. 2017) weighs the last feature map by the gradient, in one pass: it is as coarse as that
map, and blurred by all that a feature has seen.

Images are `[N, Z, Y, X]`, EM alone, normalised and cropped as the network reads them (`data.normalise`,
`data.centre`); labels `[N]` (1 = excitatory). Evidence is float32 `[N, Z, Y, X]`, positive where a voxel speaks for
the true class.
"""

import functools

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam, Occlusion
from scipy.ndimage import distance_transform_edt

from pipeline.learn.data import as_input
from pipeline.models.registry import Classifier

BATCH = 16  # images in one call of the network; on a CPU, larger ones of cubes leave the cache and take twice as long


def occlusion(
    network: Classifier, images: torch.Tensor, labels: torch.Tensor, box_zyx: tuple[int, int, int]
) -> np.ndarray:
    """Drop of the true class's logit over the other's when a box of `box_zyx` voxels is hidden, at the box's voxels.

    Boxes lie side by side from the image's first voxel on, the last of an axis cut to fit. Hidden voxels are 0, the
    mean of a normalised image.
    """
    box = tuple(min(part, size) for part, size in zip(box_zyx, images.shape[1:], strict=True))
    method = Occlusion(functools.partial(_margin, network))
    maps = [
        method.attribute(
            image[None],
            sliding_window_shapes=box,
            strides=box,
            baselines=0,
            additional_forward_args=(label[None],),
            perturbations_per_eval=BATCH,
        )
        for image, label in zip(images, labels, strict=True)
    ]
    return torch.cat(maps).float().cpu().numpy()


def grad_cam(network: Classifier, images: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    """Each position of the last feature map by its gradient, interpolated to the image.

    Sections that a 2D network reads as channels share one map. The sign is kept, unlike in the original: with global
    average pooling and a linear head the map's sum is then, but for the bias, the true class's logit over the other's.
    """
    method = LayerGradCam(functools.partial(_margin, network), network.encoder.body)
    maps = []
    for part, of in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        coarse = method.attribute(part, additional_forward_args=(of,)).detach()
        size, mode = (part.shape[2:], "bilinear") if network.dimensions == 2 else (part.shape[1:], "trilinear")
        maps.append(LayerAttribution.interpolate(coarse, tuple(size), mode)[:, 0].reshape(len(part), -1, *size[-2:]))
    return torch.cat(maps).expand(images.shape).float().cpu().numpy()


def _margin(network: Classifier, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The true class's logit minus the other's, `[N]`."""
    logits = network(as_input(images[:, None], network.dimensions))
    return (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)


def near(mask: np.ndarray, voxel_nm: tuple[float, float, float], reach_nm: float) -> np.ndarray:
    """Voxels whose centre is at most `reach_nm` from that of one in `mask` (bool `[Z, Y, X]`); voxel sizes in XYZ.

    ValueError for an empty mask.
    """
    if not mask.any():
        raise ValueError("an empty mask has no distance: the structure is not in this box")
    return distance_transform_edt(~mask, sampling=voxel_nm[::-1]) <= reach_nm


def share(evidence: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Part of each image's positive evidence `[N, Z, Y, X]` that lies in `mask` (bool, of the same shape): `[N]`.

    NaN where an image has no positive evidence.
    """
    positive = np.maximum(evidence, 0).astype(np.float64)
    axes = (1, 2, 3)
    total = positive.sum(axis=axes)
    return np.divide((positive * mask).sum(axis=axes), total, out=np.full(len(total), np.nan), where=total > 0)
