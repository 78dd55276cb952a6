"""Every network: stems against the RGB originals, published sizes, anisotropy, normalisation, that it can learn."""

import re
import urllib.error

import pytest
import torch
from torch import nn

from pipeline.models import cnn, norms, pretrained, registry
from pipeline.models.names import DIMENSIONS

torchvision = pretrained.torchvision
NETWORKS = sorted(DIMENSIONS)
NETWORKS_3D = [name for name in NETWORKS if DIMENSIONS[name] == 3]
VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18")
RESNETS = ("resnet18", "resnet50")

#: Parameters of torchvision's networks as its documentation publishes them, and the stem's RGB kernels.
PUBLISHED = {
    "resnet18": (11_689_512, 64 * 7 * 7),
    "resnet50": (25_557_032, 64 * 7 * 7),
    "r3d_18": (33_371_472, 64 * 3 * 7 * 7),
    "mc3_18": (11_695_440, 64 * 3 * 7 * 7),
    "r2plus1d_18": (31_505_325, 45 * 7 * 7),
}


def _images(network, n=4, times=1):
    """Random images of `times` the least size that `network` reads."""
    encoder = network.encoder
    return torch.randn(n, encoder.channels, *(times * size for size in encoder.stride))


def _n_parameters(network):
    return sum(weights.numel() for weights in network.parameters())


@pytest.fixture
def rgb(monkeypatch):
    """A function: torchvision's network `name` with random weights and statistics, which stand for the published."""

    def make(name):
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None)
        with torch.no_grad():
            for layer in network.modules():
                if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):  # as if trained
                    layer.running_mean.normal_(std=0.1)
                    layer.running_var.uniform_(0.5, 2)
        monkeypatch.setattr(pretrained, "published_weights", lambda _: network.state_dict())
        network.fc = nn.Identity()
        return network.eval()

    return make


@pytest.mark.parametrize("sections", [1, 3])
@pytest.mark.parametrize("name", RESNETS)
def test_pretrained_resnet_answers_to_equal_sections_as_the_rgb_network_to_equal_colours(rgb, name, sections):
    original = rgb(name)
    ours = registry.build(name, sections=sections, pretrained=True).eval().encoder
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = original(images.expand(-1, 3, -1, -1))
        found = ours(images.expand(-1, sections, -1, -1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", VIDEO)
def test_pretrained_video_network_is_the_rgb_network_but_for_the_strides_along_z(rgb, name):
    """Up to layer 1 equal; with Z halved in layer 2's first convolutions, as torchvision does, equal to the end."""
    original = rgb(name)
    body = registry.build(name, pretrained=True).eval().encoder.body
    cubes = torch.rand(1, 1, 8, 32, 32)
    with torch.no_grad():
        expected = original.layer1(original.stem(cubes.expand(-1, 3, -1, -1, -1)))
        found = body.layer1(body.stem(cubes))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        block, theirs = body.layer2[0], original.layer2[0]
        step = 1 if name == "mc3_18" else 2  # every second section of ours is all of theirs
        for part in ("conv1", "downsample"):
            ours = block.get_submodule(part)(found)[:, :, ::step]
            torch.testing.assert_close(ours, theirs.get_submodule(part)(expected), rtol=1e-4, atol=1e-4)
        rest = original.layer4(original.layer3(original.layer2(expected)))
        if step == 2:
            assert body(cubes).shape[2] == 2 * rest.shape[2]
        else:
            torch.testing.assert_close(body(cubes), rest, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_torchvision_networks_differ_from_the_published_by_stem_and_head(name):
    published, kernels = PUBLISHED[name]
    network = registry.build(name)
    n_features = network.encoder.n_features
    classes = 1000 if name in RESNETS else 400
    assert _n_parameters(network) == published - 2 * kernels - (classes - 2) * (n_features + 1)


def test_the_small_networks_can_be_shipped():
    """A float32 file below 4.8 MB; the sum of the plain stack by hand."""
    plain = sum(9 * n_in * n_out + 2 * n_out for n_in, n_out in ((1, 24), (24, 24), (24, 48), (48, 48)))
    plain += sum(9 * n_in * n_out + 2 * n_out for n_in, n_out in ((48, 96), (96, 96), (96, 192), (192, 192)))
    assert _n_parameters(registry.build("cnn").encoder) == plain
    for name in ("cnn", "unet3d"):
        assert 4 * _n_parameters(registry.build(name)) < 4.8e6


def test_cnn_sees_91_pixels():
    """As its module says, by the gradient of the deepest map's middle pixel with all activations let through."""
    body = cnn.encoder().body
    for layer in body:
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.in_channels)
    linear = nn.Sequential(*(layer for layer in body if isinstance(layer, nn.Conv2d)))
    image = torch.zeros(1, 1, 256, 256, requires_grad=True)
    linear(image)[0, 0, 8, 8].backward()
    seen = image.grad[0, 0] != 0
    assert (seen.any(dim=0).sum(), seen.any(dim=1).sum()) == (91, 91)


def _pixels_strided_along_z(body, cube):
    """In-plane pixel size, nm, of every map that a convolution strides along Z; the cube's pixels have 8 nm."""
    sizes = []

    def note(layer, inputs, _):
        if isinstance(layer, nn.Conv3d) and layer.stride[0] > 1:
            sizes.append(8 * cube.shape[-1] / inputs[0].shape[-1])

    with torch.no_grad(), nn.modules.module.register_module_forward_hook(note):
        body(cube)
    return sizes


@pytest.mark.parametrize("name", NETWORKS_3D)
def test_no_stride_along_z_before_voxels_are_nearly_isotropic(name):
    """Sections are 40 nm apart, so not before pixels of 32 nm; mc3_18 never strides along Z."""
    cube = torch.zeros(1, 1, 8, 32, 32)
    sizes = _pixels_strided_along_z(registry.build(name).eval().encoder.body, cube)
    assert all(size >= 32 for size in sizes)
    assert bool(sizes) == (name != "mc3_18")


@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18"])
def test_the_published_video_networks_do_stride_along_z_too_early(name):
    cube = torch.zeros(1, 3, 8, 32, 32)
    assert min(_pixels_strided_along_z(torchvision.models.get_model(name).eval(), cube)) == 16


def test_unet3d_sees_sections_apart_until_voxels_are_nearly_isotropic():
    """A change in one section must not reach another before the level at 32x32x40 nm."""
    torch.manual_seed(0)
    first = registry.build("unet3d").eval().encoder.body[:2]
    for layer in first.modules():  # whose statistics span the cube by design
        if isinstance(layer, nn.GroupNorm):
            layer.forward = lambda x: x
    cube = torch.rand(1, 1, 8, 32, 32)
    changed = cube.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        moved = (first(cube) - first(changed)).abs().amax(dim=(0, 1, 3, 4)) > 0
    assert moved.tolist() == [section == 3 for section in range(8)]


@pytest.mark.parametrize("name", NETWORKS)
def test_least_size_is_one_voxel_of_the_deepest_map_and_less_is_refused(name):
    network = registry.build(name).eval()
    encoder = network.encoder
    axes = "ZYX"[-len(encoder.stride) :]
    with torch.no_grad():
        for times in (1, 2):
            images = _images(network, n=1, times=times)
            assert set(encoder.body(images).shape[2:]) == {times}
            assert torch.isfinite(network(images)).all()
        for n, axis in enumerate(axes):
            size = list(encoder.stride)
            size[n] -= 1
            with pytest.raises(ValueError, match=rf"1 channels, .*{axis} >= {encoder.stride[n]}"):
                network(torch.zeros(1, 1, *size))


def test_images_of_other_axes_or_sections_are_refused():
    with pytest.raises(ValueError, match=r"3 channels, Y >= 16, X >= 16; these are \(1, 32, 32\)"):
        registry.build("cnn", sections=3)(torch.zeros(2, 1, 32, 32))
    with pytest.raises(ValueError, match=r"1 channels, Z >= 4, .* these are \(8, 32, 32\)"):
        registry.build("unet3d")(torch.zeros(2, 8, 32, 32))


@pytest.mark.parametrize("name", NETWORKS)
def test_with_group_norm_the_rest_of_the_batch_does_not_matter_with_batch_norm_it_does(name):
    torch.manual_seed(0)
    for norm in ("group", "batch"):
        network = registry.build(name, norm=norm).train()
        images = _images(network, n=2, times=2)
        with torch.no_grad():
            together = network(images)[:1]
            with_another = network(torch.cat([images[:1], 3 * images[1:] + 1]))[:1]
        assert torch.allclose(together, with_another, rtol=1e-4, atol=1e-5) == (norm == "group")


@pytest.mark.parametrize(("channels", "groups"), [(24, 8), (64, 8), (45, 5), (230, 5), (460, 5), (921, 3)])
def test_groups_divide_the_channels(channels, groups):
    assert norms.group(channels).num_groups == groups


def test_changing_the_norm_leaves_layers_of_that_norm_as_they_are(rgb):
    weights = rgb("resnet18").state_dict()
    found = registry.build("resnet18", norm="batch", pretrained=True).encoder.body.state_dict()
    torch.testing.assert_close(found["layer2.0.bn1.running_mean"], weights["layer2.0.bn1.running_mean"])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_four_images_by_heart_deterministically(name):
    """Every parameter gets a gradient, and torch finds no operator whose result may vary."""
    torch.manual_seed(0)
    network = registry.build(name).train()
    images, label = _images(network), torch.tensor([0, 1, 1, 0])
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(12):
            optimizer.zero_grad()
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, label)
            loss.backward()
            optimizer.step()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(weights.grad.abs().max() > 0 for weights in network.parameters())
    assert (logits.argmax(dim=1) == label).all()
    assert loss < 0.2


def test_no_layer_is_one_that_torch_calls_nondeterministic_on_cuda():
    """The layers that torch's documentation says will throw a RuntimeError under deterministic algorithms."""
    listed = torch.use_deterministic_algorithms.__doc__.split("operations will throw a")[1]
    refused = set(re.findall(r":class:`torch\.nn\.(\w+)`", listed))
    assert "AdaptiveAvgPool3d" in refused
    for name in NETWORKS:
        assert refused.isdisjoint(type(layer).__name__ for layer in registry.build(name).modules()), name


def test_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for name, file in (("resnet18", "resnet18-f37072fd"), ("r3d_18", "r3d_18-b3b3357e")):
        said = rf"of {name} .*no route.*org/models/{file}\.pth.*put it at {tmp_path}.*pretrained: false"
        with pytest.raises(pretrained.WeightsError, match=said):
            registry.build(name, pretrained=True)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="no classifier 'vgg'; there are"):
        registry.build("vgg")
