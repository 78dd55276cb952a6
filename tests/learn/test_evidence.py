"""Evidence maps of networks whose answer is known, and their scores in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.learn import evidence
from pipeline.models import registry


class Reader(nn.Module):
    """Hand-made: the mean over `[Z, Y, X]` of weighted voxels, as logit of being excitatory."""

    def __init__(self, weight, dimensions):
        super().__init__()
        self.weight, self.dimensions = weight, dimensions

    def forward(self, images):
        images = images if self.dimensions == 2 else images[:, 0]
        logit = (images * self.weight).mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_occlusion_finds_the_one_box_that_a_network_reads(dimensions):
    weight = torch.zeros(4, 12, 12)
    weight[2:4, 4:8, 8:12] = 1.0
    images = torch.rand(3, 4, 12, 12) + 0.5
    labels = torch.tensor([1, 0, 1])
    found = evidence.occlusion(Reader(weight, dimensions), images, labels, (2, 4, 4))
    hidden = (images * weight).mean(dim=(1, 2, 3)).numpy()  # the drop when all that is read is hidden
    expected = np.zeros(images.shape, np.float32)
    expected[:, 2:4, 4:8, 8:12] = (hidden * [1, -1, 1])[:, None, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_boxes_beyond_the_image_are_cut_to_fit():
    weight = torch.zeros(1, 10, 10)
    weight[0, 8:, 8:] = 1.0
    images = torch.ones(1, 1, 10, 10)
    found = evidence.occlusion(Reader(weight, 2), images, torch.tensor([1]), (3, 4, 4))
    np.testing.assert_allclose(found[0] > 0, weight > 0)


class Averager(nn.Module):
    """A network as those of the registry, without nonlinearity: a known feature map, its mean, a known head."""

    def __init__(self, body, head, dimensions):
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.body = body
        self.head, self.dimensions = head, dimensions

    def forward(self, images):
        features = self.encoder.body(images)
        return self.head(features.mean(dim=tuple(range(2, features.dim()))))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_grad_cam_of_a_linear_head_on_the_mean_is_the_weighted_map(dimensions):
    convolution = {2: nn.Conv2d(4, 3, 1), 3: nn.Conv3d(1, 3, 1)}[dimensions]
    head = nn.Linear(3, 2)
    images = torch.randn(2, 4, 6, 6)
    labels = torch.tensor([1, 0])
    found = evidence.grad_cam(Averager(convolution, head, dimensions), images, labels)
    with torch.no_grad():
        features = convolution(images if dimensions == 2 else images[:, None])
        weight = (head.weight[1] - head.weight[0]).reshape(1, 3, *[1] * dimensions)
        closed = (features * weight).sum(dim=1) / features[0, 0].numel()
        closed = (closed * torch.tensor([1, -1]).reshape(2, *[1] * dimensions)).numpy()
    if dimensions == 2:
        closed = np.repeat(closed[:, None], 4, axis=1)
    np.testing.assert_allclose(found, closed, atol=1e-6)


@pytest.mark.parametrize(("name", "sections", "shape"), [("cnn", 3, (3, 32, 32)), ("unet3d", 1, (4, 32, 32))])
def test_networks_of_the_registry_leave_their_logits_in_the_map(name, sections, shape):
    """Summed over the feature map, Grad-CAM is the margin without the bias."""
    torch.manual_seed(0)
    network = registry.build(name, sections).eval()
    images, labels = torch.randn(2, *shape), torch.tensor([1, 0])
    found = evidence.grad_cam(network, images, labels)
    with torch.no_grad():
        logits = network(evidence.as_input(images[:, None], network.dimensions)) - network.head.bias
    margin = ((logits[:, 1] - logits[:, 0]) * (2 * labels - 1)).numpy()
    size = shape[-network.dimensions :]
    positions = np.prod([n // step for n, step in zip(size, network.encoder.stride, strict=True)])
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)) * positions, margin, rtol=1e-4)  # whole multiples: mean kept


def test_near_is_measured_in_nanometres_along_every_axis():
    mask = np.zeros((7, 31, 31), bool)
    mask[3, 15, 15] = True
    found = evidence.near(mask, (8.0, 8.0, 40.0), 100)
    z, y, x = np.indices(mask.shape)
    expected = (40 * (z - 3)) ** 2 + (8 * (y - 15)) ** 2 + (8 * (x - 15)) ** 2 <= 100**2
    assert (found == expected).all()
    with pytest.raises(ValueError, match="empty mask"):
        evidence.near(np.zeros((2, 3, 3), bool), (8.0, 8.0, 40.0), 100)


def test_share_counts_positive_evidence_alone():
    found = np.zeros((3, 1, 2, 2), np.float32)
    found[0, 0] = [[3, -5], [1, 0]]
    found[1, 0] = 2
    found[2, 0] = -1
    mask = np.zeros(found.shape, bool)
    mask[:, 0, 0] = True
    np.testing.assert_allclose(evidence.share(found, mask), [0.75, 0.5, np.nan])
