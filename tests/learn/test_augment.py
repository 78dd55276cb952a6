"""Augmentation: geometry that keeps the synapse, faults in the places they are meant for, one stream of chance."""

import math

import pytest
import torch

from pipeline.learn import data
from pipeline.learn.augment import SYMMETRIES, Augment, symmetry
from pipeline.recipes import Augmentation

STILL = dict.fromkeys(Augmentation.model_fields, 0) | {"rotation_degrees": 180, "right_angles": True}


def augment(images, shape, seed=0, **changes):
    return Augment(Augmentation(**STILL | changes), shape, seed)(images[:, None])[:, 0]


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


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 8, 8)])
def test_without_right_angles_images_are_mirrored_only(shape):
    image = random_images(1, *shape)
    found = {tuple(x.flatten().tolist()) for x in (augment(image.expand(200, *shape), shape, right_angles=False) * 255)}
    axes = [axis for axis in (1, 2, 3) if shape[axis - 1] > 1]
    mirrored = [image]
    for axis in axes:
        mirrored += [x.flip(axis) for x in mirrored]
    assert {tuple(round(v) for v in x) for x in found} == {tuple(x.flatten().tolist()) for x in mirrored}


def test_shift_and_misalignment_stay_within_their_bounds():
    ramp = (torch.arange(40)[:, None] * 5).expand(40, 40).to(torch.uint8).expand(64, 3, 40, 40)
    shifted = Augment(Augmentation(**STILL | {"shift_vx": 3}), (3, 20, 20), 0).crop([ramp])[0]
    assert set((shifted[:, :, 0, 0] // 5 - 10).to(torch.int8).flatten().tolist()) == set(range(-3, 4))
    assert (shifted == shifted[:, :1]).all()  # all sections together
    slipped = Augment(Augmentation(**STILL | {"misalignment_vx": 2}), (3, 20, 20), 0).crop([ramp])[0]
    assert set((slipped[:, :, 0, 0] // 5 - 10).to(torch.int8).flatten().tolist()) == set(range(-2, 3))
    assert (slipped != slipped[:, :1]).any()


def test_shift_beyond_the_border_reflects():
    row = torch.arange(8, dtype=torch.uint8)
    images = row.expand(200, 1, 8, 8)
    found = Augment(Augmentation(**STILL | {"shift_vx": 2}), (1, 8, 8), 0).crop([images])[0][:, 0, 0]
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


def angle_of_spot(images):
    """Angle in degrees of the centre of mass of each image `[N, 1, Y, X]` about its centre."""
    middle = (images.shape[-1] - 1) / 2
    place = torch.arange(images.shape[-1]) - middle
    mass = images[:, 0]
    y, x = (mass.sum(2) * place).sum(1), (mass.sum(1) * place).sum(1)
    return torch.rad2deg(torch.atan2(y, x))


@pytest.mark.parametrize("largest", [15, 60])
def test_no_image_is_rotated_further_than_allowed(largest):
    spot = torch.zeros(1, 1, 65, 65, dtype=torch.uint8)
    spot[:, :, 30:35, 50:55] = 255  # at 0 degrees, 20 from the centre, which mirroring sends to 180 at most
    found = augment(spot.expand(300, 1, 65, 65), (1, 65, 65), right_angles=False, rotation=1, rotation_degrees=largest)
    angle = angle_of_spot(found).abs()
    turned = torch.minimum(angle, 180 - angle)
    assert turned.max() < largest + 0.2
    assert turned.max() > 0.95 * largest
    assert turned.mean() == pytest.approx(largest / 2, rel=0.15)  # uniform


def test_elastic_moves_points_smoothly_by_a_few_voxels_and_all_sections_alike():
    spots = torch.zeros(1, 1, 128, 128, dtype=torch.uint8)
    centres = [(y, x) for y in range(16, 128, 16) for x in range(16, 128, 16)]
    for y, x in centres:
        spots[:, :, y - 1 : y + 2, x - 1 : x + 2] = 255
    images = spots.expand(20, 3, 128, 128)
    found = Augment(Augmentation(**STILL | {"elastic": 1}), (3, 128, 128), 0).warp([images / 255])[0]
    assert torch.equal(found[:, 0], found[:, 1])
    assert torch.equal(found[:, 0], found[:, 2])
    offset = torch.arange(-7, 9)
    moved = {}
    for y, x in centres:
        window = found[:, 0, y - 7 : y + 9, x - 7 : x + 9]
        mass = window.sum((1, 2))
        moved[y, x] = torch.stack([(window.sum(2) * offset).sum(1), (window.sum(1) * offset).sum(1)], 1) / mass[:, None]
    everywhere = torch.stack(list(moved.values()))
    assert everywhere.abs().max() < 5
    assert 0.5 < everywhere.std() < 2.5
    assert not torch.equal(everywhere[:, 0], everywhere[:, 1])  # each image its own warp
    near = torch.stack([moved[y, x] - moved[y, x + 16] for y, x in centres if x + 16 < 128])
    far = torch.stack([moved[y, 16] - moved[y, 112] for y in range(16, 128, 16)])
    assert near.std() < 0.75 * far.std()


def test_elastic_bends_the_wanted_share_of_images_and_leaves_the_rest():
    images = torch.rand(400, 1, 32, 32)
    found = Augment(Augmentation(**STILL | {"elastic": 0.3}), (1, 32, 32), 0).warp([images.clone()])[0]
    assert (found != images).any(dim=3).any(dim=2).sum() == pytest.approx(120, abs=30)


def test_grey_levels_follow_gamma_contrast_and_brightness():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(50, 2, 16, 16).contiguous()
    level = torch.arange(256) / 255
    curved = Augment(Augmentation(**STILL | {"gamma": 1}), (2, 16, 16), 0).intensity(images).view(50, 2, 256)
    exponent = curved[:, 0, 128].log() / math.log(128 / 255)
    assert torch.allclose(curved, (level ** exponent[:, None])[:, None], atol=1e-5)  # one gamma for all sections
    assert exponent.min() > 0.5
    assert exponent.max() < 2
    lines = Augment(Augmentation(**STILL | {"contrast": 0.2}), (2, 16, 16), 0).intensity(images).view(50, 2, 256)
    gain = (lines[..., 255] - lines[..., 0])[..., None]
    assert torch.allclose(lines, (level - 0.5) * gain + 0.5, atol=1e-5)
    assert 0.8 < gain.min() < gain.max() < 1.2
    assert (gain[:, 0] != gain[:, 1]).all()  # each section its own


def test_noise_is_white_of_at_most_the_given_strength_and_differs_between_images():
    noise = Augment(Augmentation(**STILL | {"noise": 0.1}), (4, 32, 32), 0).blur_and_noise(torch.zeros(40, 4, 32, 32))
    strength = noise.flatten(1).std(dim=1)
    assert 0.085 < strength.max() < 0.105
    assert strength.min() < 0.02
    correlation = torch.corrcoef(noise.flatten(1))
    assert (correlation - torch.eye(40)).abs().max() < 0.1
    assert torch.corrcoef(torch.stack([noise[..., 1:].flatten(), noise[..., :-1].flatten()]))[0, 1].abs() < 0.02


def test_cutout_is_one_box_through_all_sections_filled_with_the_mean():
    images = torch.rand(300, 3, 30, 40)
    before = images.clone()
    found = Augment(Augmentation(**STILL | {"cutout": 0.5}), (3, 30, 40), 0).cutout(images)
    changed = found != before
    hit = changed.flatten(1).any(dim=1)
    assert 120 < hit.sum() < 180
    for image, old, where in zip(found[hit], before[hit], changed[hit], strict=True):
        ys, xs = where.any(dim=(0)).any(dim=1).nonzero()[:, 0], where.any(dim=0).any(dim=0).nonzero()[:, 0]
        assert where[:, ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].all()
        assert where.sum() == 3 * len(ys) * len(xs)
        assert 3 <= len(ys) <= 10
        assert 4 <= len(xs) <= 13
        assert torch.allclose(image[where], old.mean(), atol=1e-5)


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
    first, again, other = (Augment(Augmentation(), (4, 16, 16), seed)(images[:, None]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_stored_images_are_not_changed():
    images = random_images(4, 4, 16, 16)
    before = images.clone()
    Augment(Augmentation(), (4, 16, 16), 0)(images[:, None])
    assert torch.equal(images, before)


def test_labels_follow_the_image_through_every_geometry_and_through_nothing_else():
    """Blocks of 8 px keep their number; a voxel's label is that of the image's own grey level wherever it is in one."""
    number = torch.arange(25).view(5, 5).repeat_interleave(8, 0).repeat_interleave(8, 1).expand(40, 6, 40, 40)
    images = (10 * number).to(torch.uint8)
    shape = (6, 32, 32)
    geometry = {"shift_vx": 3, "misalignment_vx": 2, "rotation": 0.7, "scale": 0.1, "elastic": 0.7}
    engine = Augment(Augmentation(**STILL | geometry), shape, 0)
    found, (label, centre) = engine.with_labels(images, [number + 1, (number == 12).long()])
    found = found * 25.5
    assert set(label.unique().tolist()) == set(range(26))  # 0: from beyond the border
    inside = label > 0
    near = (found - (label - 1)).abs() < 0.7  # the image is interpolated, within half a voxel of an edge
    assert near[inside].float().mean() > 0.85
    sharp = (found - found.round()).abs() < 1e-3  # where the image is not interpolated between two blocks
    assert ((label - 1)[inside & sharp] == found.round()[inside & sharp]).float().mean() > 0.97
    assert torch.equal(centre == 1, label == 13)
    faults = {"gamma": 0.3, "brightness": 0.1, "contrast": 0.1, "bad_section": 1, "blur": 1, "noise": 0.1, "cutout": 1}
    only_faults = Augment(Augmentation(**STILL | faults), shape, 0)
    _, (label,) = only_faults.with_labels(images, [number])
    plain = data.centre(number, shape)
    for one, image in zip(label, plain, strict=True):
        candidates = [symmetry(z, turn) for z in (image, image.flip(0)) for turn in range(SYMMETRIES)]
        assert any(torch.equal(one, candidate) for candidate in candidates)


def test_labels_do_not_change_what_happens_to_the_image():
    images = random_images(8, 4, 24, 24)
    alone = Augment(Augmentation(), (4, 16, 16), 1)(images[:, None])[:, 0]
    beside, _ = Augment(Augmentation(), (4, 16, 16), 1).with_labels(images, [images.long()])
    assert torch.equal(alone, beside)


def test_large_label_numbers_are_kept_exactly():
    images = random_images(8, 2, 16, 16)
    number = images.long() + 2**52
    _, (label,) = Augment(Augmentation(**STILL | {"rotation": 1}), (2, 16, 16), 0).with_labels(images, [number])
    assert set(label.unique().tolist()) <= {0, *number.unique().tolist()}


def test_each_crop_is_about_its_own_centre_and_labels_end_at_the_border():
    images = random_images(6, 9, 20, 20)
    centre = torch.tensor([[4, 10, 10], [2, 9, 12], [6, 12, 8], [0, 0, 0], [8, 19, 19], [4, 0, 10]])
    engine = Augment(Augmentation(**STILL), (5, 8, 8), 0)
    found, label = engine.crop([images, images.int() + 1], centre)
    for n, (z, y, x) in enumerate(centre.tolist()):
        assert found[n, 2, 4, 4] == images[n, z, y, x]
        assert label[n, 2, 4, 4] == images[n, z, y, x] + 1
    padded = torch.nn.functional.pad(images.int() + 1, (8,) * 6)
    for n, (z, y, x) in enumerate((centre + 8).tolist()):
        assert torch.equal(label[n], padded[n, z - 2 : z + 3, y - 4 : y + 4, x - 4 : x + 4])
    assert torch.equal(found[label > 0], (label[label > 0] - 1).to(torch.uint8))
