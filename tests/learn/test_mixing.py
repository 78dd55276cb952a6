"""MixUp and CutMix: by hand, and by counting which voxels came from whom."""

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest

from pipeline.learn import mixing
from pipeline.recipes import Augmentation


def settings(**changes):
    return Augmentation(**changes)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def constant_images(n, *shape):
    """Image i holds the number i everywhere, so that a voxel tells whose it is."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, *shape).clone()


def test_mixup_by_hand():
    images = torch.tensor([[1.0, 2.0], [5.0, 8.0]]).view(2, 1, 1, 2)
    mixed, target = mixing.mixup(images, torch.tensor([1.0, 0.0]), torch.tensor([1, 0]), 0.75)
    assert mixed.flatten().tolist() == [2.0, 3.5, 4.0, 6.5]
    assert target.tolist() == [0.75, 0.25]


class Fixed:
    """A generator whose box centre is given."""

    def __init__(self, *centre):
        self.centre = np.array(centre)

    def integers(self, _extent):
        return self.centre


def test_cutmix_by_hand_in_a_patch():
    images, target = constant_images(2, 1, 4, 8), torch.tensor([1.0, 0.0])
    # a quarter replaced: half of each side, that is 2 x 4 pixels, from (2, 4) - (1, 2) on
    mixed, labels = mixing.cutmix(images, target, torch.tensor([1, 0]), 0.75, Fixed(0, 2, 4))
    expected = torch.zeros(4, 8)
    expected[1:3, 2:6] = 1
    assert torch.equal(mixed[0, 0], expected)
    assert torch.equal(mixed[1, 0], 1 - expected)
    assert labels.tolist() == [0.75, 0.25]


def test_cutmix_by_hand_at_the_border_of_a_cube():
    images, target = constant_images(2, 4, 4, 4), torch.tensor([1.0, 0.0])
    # an eighth drawn: half of each side, 2 x 2 x 2; centred on the corner voxel only 1 x 1 x 1 is inside
    mixed, labels = mixing.cutmix(images, target, torch.tensor([1, 0]), 0.875, Fixed(0, 0, 0))
    expected = torch.zeros(4, 4, 4)
    expected[0, 0, 0] = 1
    assert torch.equal(mixed[0], expected)
    assert labels.tolist() == [1 - 1 / 64, 1 / 64]


@pytest.mark.parametrize("shape", [(1, 30, 40), (3, 16, 16), (12, 20, 20)])
@pytest.mark.parametrize("which", ["mixup_alpha", "cutmix_alpha"])
def test_labels_count_what_images_are_made_of(shape, which):
    n = 6
    images, label = constant_images(n, *shape), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    weights = set()
    for seed in range(20):
        mixed, target = mixing.mix(images, label, settings(**{which: 1.0}), generator(seed))
        assert torch.equal(images, constant_images(n, *shape))  # the inputs are kept
        assert target.mean() == pytest.approx(0.5)  # no label is lost
        assert mixed.sum() == pytest.approx(float(images.sum()), rel=1e-4)  # nor a voxel
        # mixing identity matrices of labels tells every image's parts; the voxels must agree
        parts = torch.stack(
            [mixing.mix(images, torch.eye(n)[i], settings(**{which: 1.0}), generator(seed))[1] for i in range(n)],
            dim=1,
        )
        assert torch.allclose(parts @ torch.arange(n).float(), mixed.mean(dim=(1, 2, 3)), atol=1e-4)
        assert torch.allclose(parts @ label, target, atol=1e-6)
        if which == "cutmix_alpha":
            shares = torch.stack([(mixed == i).float().mean(dim=(1, 2, 3)) for i in range(n)], dim=1)
            assert torch.allclose(parts, shares, atol=1e-6)
            boxes = {tuple(map(tuple, (one != i).nonzero().tolist())) for i, one in enumerate(mixed)} - {()}
            assert len(boxes) <= 1  # one box for the batch
        weights.add(round(float(parts.max(dim=1).values.min()), 4))
    assert len(weights) > 10


def test_weights_follow_the_beta_distribution():
    images, target = torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 0.0])
    draws = generator()
    kept = []
    while len(kept) < 400:
        found = mixing.mix(images, target, settings(mixup_alpha=0.4), draws)[1]
        kept.append(float(found[0]))  # its own weight, or its partner's: the distribution is symmetric
    swapped = np.array(kept)
    inside = swapped[swapped < 1]  # 1 where an image is its own partner
    assert 0.4 < len(inside) / 400 < 0.6
    assert kstest(inside, beta(0.4, 0.4).cdf).pvalue > 0.01


def test_box_has_the_drawn_volume_where_it_fits():
    images, target = constant_images(2, 20, 40, 60), torch.tensor([0.0, 1.0])
    for replaced in (0.05, 0.2, 0.6):
        _, labels = mixing.cutmix(images, target, torch.tensor([1, 0]), 1 - replaced, Fixed(10, 20, 30))
        assert float(labels[0]) == pytest.approx(replaced, rel=0.1)  # whole voxels


def test_both_together_are_drawn_equally_often_and_none_changes_nothing():
    images, target = constant_images(8, 1, 32, 32), torch.arange(8) / 7
    draws = generator()
    cut = 0
    for _ in range(200):
        mixed, _ = mixing.mix(images, target, settings(mixup_alpha=1.0, cutmix_alpha=1.0), draws)
        cut += bool((mixed == mixed.round()).all())
    assert 75 < cut < 125
    mixed, same = mixing.mix(images, target, settings(), draws)
    assert torch.equal(mixed, images)
    assert torch.equal(same, target)


def test_same_seed_same_batch():
    images, target = torch.rand(8, 2, 8, 8), torch.rand(8)
    both = settings(mixup_alpha=0.2, cutmix_alpha=1.0)
    first, again, other = (mixing.mix(images, target, both, generator(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
