"""Networks: the stem adapted to grey images, the weights that cannot be fetched, the voxels the 3D levels see."""

import urllib.error

import pytest
import torch

from pipeline.models import registry, resnet2d, unet3d


def test_grey_stem_answers_as_the_rgb_network_to_grey_images(monkeypatch):
    torch.manual_seed(0)
    rgb = resnet2d.torchvision.models.resnet18(weights=None).eval()
    monkeypatch.setattr(resnet2d, "imagenet_weights", rgb.state_dict)
    grey = resnet2d.encoder(pretrained=True).eval()
    rgb.fc = torch.nn.Identity()
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), rgb(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(resnet2d.WeightsError, match=r"no route.*resnet18-f37072fd\.pth.*put it at.*pretrained: false"):
        registry.build("resnet18", pretrained=True)


def test_unet3d_sees_sections_apart_until_voxels_are_nearly_isotropic():
    """A change in one section must not reach another before the level at 32x32x40 nm."""
    torch.manual_seed(0)
    encoder = unet3d.UNet3DEncoder().eval()
    first = torch.nn.Sequential(encoder.stem, encoder.levels[0])
    for layer in first.modules():  # whose statistics span the cube by design
        if isinstance(layer, torch.nn.GroupNorm):
            layer.forward = lambda x: x
    cube = torch.rand(1, 1, 8, 32, 32)
    changed = cube.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        moved = (first(cube) - first(changed)).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert moved.tolist() == [section == 3 for section in range(8)]


def test_cube_order_of_a_batch_does_not_matter_to_unet3d():
    torch.manual_seed(0)
    network = registry.build("unet3d", dropout=0.5).eval()
    cubes = torch.rand(3, 1, 8, 32, 32)
    with torch.no_grad():
        alone = torch.cat([network(cube[None]) for cube in cubes])
        torch.testing.assert_close(network(cubes), alone, rtol=1e-4, atol=1e-5)


def test_unknown_network_and_pretrained_unet3d_are_refused():
    with pytest.raises(ValueError, match="no network 'vgg'; there are"):
        registry.build("vgg")
    with pytest.raises(ValueError, match="no pretrained weights"):
        registry.build("unet3d", pretrained=True)
