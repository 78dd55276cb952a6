"""Augmentation: geometry that keeps the synapse, faults in the places they are meant for, one stream of chance."""

import torch

from pipeline.config import Augmentation
from pipeline.learn import data
from pipeline.learn.augment import SYMMETRIES, Augment, symmetry

STILL = dict.fromkeys(Augmentation.model_fields, 0)


def augment(images, shape, seed=0, **changes):
    return Augment(Augmentation(**STILL | changes), shape, seed)(images)


def random_images(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_eight_symmetries_are_the_dihedral_group():
    image = torch.arange(9).view(1, 1, 3, 3)
    found = {tuple(symmetry(image, number).flatten().tolist()) for number in range(SYMMETRIES)}
    assert len(found) == 8
    again = {tuple(symmetry(symmetry(image, a), b).flatten().tolist()) for a in range(8) for b in range(8)}
    assert again == found


def test_without_strength_only_symmetries_of_the_centre_remain():
    images = random_images(6, 4, 12, 12)
    found = augment(images, (4, 8, 8)) * 255
    for one, image in zip(found, data.centre(images, (4, 8, 8)).float(), strict=True):
        candidates = [symmetry(z, number) for z in (image, image.flip(0)) for number in range(SYMMETRIES)]
        assert any(torch.allclose(one, candidate, atol=1e-3) for candidate in candidates)


def test_shift_and_misalignment_stay_within_their_bounds():
    ramp = (torch.arange(40)[:, None] * 5).expand(40, 40).to(torch.uint8).expand(64, 3, 40, 40)
    shifted = Augment(Augmentation(**STILL | {"shift_vx": 3}), (3, 20, 20), 0).crop(ramp)
    assert set((shifted[:, :, 0, 0] // 5 - 10).to(torch.int8).flatten().tolist()) == set(range(-3, 4))
    assert (shifted == shifted[:, :1]).all()  # all sections together
    slipped = Augment(Augmentation(**STILL | {"misalignment_vx": 2}), (3, 20, 20), 0).crop(ramp)
    assert set((slipped[:, :, 0, 0] // 5 - 10).to(torch.int8).flatten().tolist()) == set(range(-2, 3))
    assert (slipped != slipped[:, :1]).any()


def test_shift_beyond_the_border_reflects():
    row = torch.arange(8, dtype=torch.uint8)
    images = row.expand(200, 1, 8, 8)
    found = Augment(Augmentation(**STILL | {"shift_vx": 2}), (1, 8, 8), 0).crop(images)[:, 0, 0]
    mirrored = torch.nn.functional.pad(row[None, None].float(), (2, 2), mode="reflect")[0, 0]
    expected = {tuple(mirrored[start : start + 8].int().tolist()) for start in range(5)}
    assert {tuple(line.tolist()) for line in found} == expected


def test_rotation_keeps_the_centre_and_sizes():
    y, x = torch.meshgrid(torch.arange(33) - 16, torch.arange(33) - 16, indexing="ij")
    disc = ((y**2 + x**2 < 64) * 200).to(torch.uint8).expand(16, 1, 33, 33)
    found = augment(disc, (1, 33, 33), rotation=1, scale=0.1)
    area = found.sum(dim=(1, 2, 3)) / (200 / 255)
    true = float((disc[0] > 0).sum())
    assert ((area / true).sqrt() - 1).abs().max() < 0.12
    assert (found[:, 0, 16, 16] * 255).round().eq(200).all()


def test_bad_sections_are_single_and_spare_patches():
    images = torch.full((200, 8, 6, 6), 100, dtype=torch.uint8)
    found = (augment(images, (8, 6, 6), bad_section=0.5) * 255).round()
    level = found[:, :, 0, 0]
    changed = (level != 100).sum(dim=1)
    assert set(changed.tolist()) == {0, 1}
    assert 60 < int(changed.sum()) < 140
    assert len(set(level.unique().tolist())) == 3  # as it was, missing, bright
    patches = images[:, :1]
    assert (augment(patches, (1, 6, 6), bad_section=1.0) * 255).round().eq(100).all()


def test_same_seed_same_images_and_never_out_of_range():
    images = random_images(8, 4, 24, 24)
    first, again, other = (Augment(Augmentation(), (4, 16, 16), seed)(images) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_stored_images_are_not_changed():
    images = random_images(4, 4, 16, 16)
    before = images.clone()
    Augment(Augmentation(), (4, 16, 16), 0)(images)
    assert torch.equal(images, before)
