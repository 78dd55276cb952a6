"""The U-Net of the partner networks: sizes, anisotropy, independence of the batch, that all of it learns."""

import pytest
import torch
from torch import nn

from pipeline.models import rsunet


@pytest.mark.parametrize("shape", [(14, 48, 48), (1, 8, 8), (5, 24, 40)])
def test_output_has_the_size_of_any_input_that_fits_the_strides(shape):
    images = torch.rand(2, 2, *shape)
    with torch.no_grad():
        assert rsunet.UNet(2, 3, 8)(images).shape == (2, 3, *shape)
        assert rsunet.Classifier(2, 8)(images).shape == (2,)


@pytest.mark.parametrize("shape", [(2, 4, 20, 24), (3, 4, 24, 24), (2, 0, 24, 24), (2, 24, 24)])
def test_other_inputs_are_refused_with_what_is_wanted(shape):
    for network in (rsunet.UNet(2, 1, 8), rsunet.Classifier(2, 8)):
        with pytest.raises(ValueError, match=r"2 channels with Y and X multiples of \(8, 8\)"):
            network(torch.zeros(1, *shape))


def _without_norms(network):
    """Group statistics span the whole image by design; without them, what reaches where is the convolutions' doing."""
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.forward = lambda x: x
    return network


def test_full_resolution_sees_sections_apart_and_the_whole_network_both_neighbours():
    torch.manual_seed(0)
    network = _without_norms(rsunet.UNet(1, 1, 8)).eval()
    images = torch.rand(1, 1, 30, 16, 16)
    changed = images.clone()
    changed[:, :, 15] += 1

    def moved(function):
        with torch.no_grad():
            return ((function(images) - function(changed)).abs().amax(dim=(0, 1, 3, 4)) > 0).nonzero()[:, 0].tolist()

    assert moved(network.down.levels[0]) == [15]
    assert moved(network) == list(range(7, 24))  # four residual blocks of two 3x3x3 convolutions reach 8 sections


def test_widths_double_and_skip_connections_are_summed():
    """A network without weights in its way up gives the finest features of the way down."""
    network = rsunet.UNet(1, 8, 8)
    assert network.down.widths == [8, 16, 32, 64]
    images = torch.rand(1, 1, 4, 16, 16)
    with torch.no_grad():
        for step in network.up:
            step.norm.weight.zero_()
        network.head.weight.copy_(torch.eye(8).view(8, 8, 1, 1, 1))
        network.head.bias.zero_()
        torch.testing.assert_close(network(images), network.down(images)[0])


def test_the_rest_of_the_batch_does_not_matter():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 4, 16, 16)
    for network in (rsunet.UNet(1, 1, 8), rsunet.Classifier(1, 8)):
        with torch.no_grad():
            torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


def test_unet_learns_a_map_and_classifier_a_class_and_every_weight_takes_part():
    torch.manual_seed(0)
    images = torch.rand(4, 1, 4, 16, 16)
    bright = nn.functional.avg_pool3d(images, (1, 3, 3), 1, (0, 1, 1)) > 0.5
    images[1:3] = nn.functional.avg_pool3d(images[1:3], (1, 3, 3), 1, (0, 1, 1))
    smooth = torch.tensor([0, 1, 1, 0])
    for network, target in ((rsunet.UNet(1, 1, 8), bright), (rsunet.Classifier(1, 8), smooth)):
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        torch.use_deterministic_algorithms(True)
        try:
            for _ in range(30):
                optimizer.zero_grad()
                logits = network(images)
                nn.functional.binary_cross_entropy_with_logits(logits, target.float()).backward()
                optimizer.step()
        finally:
            torch.use_deterministic_algorithms(False)
        assert all(weights.grad.abs().max() > 0 for weights in network.parameters())
        assert ((logits > 0) == target.bool()).float().mean() > 0.9
