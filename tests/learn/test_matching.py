"""Intensity matching, against closed forms and a matching by rank."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter

from pipeline.learn import data, matching


class Stored:
    """Images `[N, Z, Y, X]` read as those of a `patches/` folder are."""

    def __init__(self, pixels):
        self.pixels = torch.from_numpy(pixels)

    def __len__(self):
        return len(self.pixels)

    def read(self, rows):
        return self.pixels[rows]


def textures(n=300, seed=0, middle=130, spread=30):
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n, 2, 32, 32)), (0, 0, 1.5, 1.5))
    return np.clip(middle + spread * noise / noise.std(), 0, 255).astype(np.uint8)


def test_quantiles_are_those_of_all_pixels_together():
    pixels = textures()  # more images than are read at once
    expected = np.quantile(pixels, matching.LEVELS)
    np.testing.assert_allclose(matching.quantiles(Stored(pixels)), expected, atol=1)


def test_equal_data_are_left_as_they_are():
    found = matching.quantiles(Stored(textures()))
    np.testing.assert_array_equal(matching.lookup(found, found), np.arange(256))


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 60), (1.2, -30), (1, 20)])
def test_a_change_of_brightness_and_contrast_is_undone(gain, offset):
    levels = np.arange(256.0)
    original = textures(spread=12)
    changed = np.rint(gain * original + offset)
    assert changed.min() >= 0
    assert changed.max() <= 255
    source, target = (matching.quantiles(Stored(x.astype(np.uint8))) for x in (changed, original))
    table = matching.lookup(source, target).astype(float)
    inside = (levels >= source[0]) & (levels <= source[-1])
    np.testing.assert_allclose(table[inside], ((levels - offset) / gain)[inside], atol=0.5 + 0.5 / gain)
    assert (np.diff(table) >= 0).all()


def test_it_is_the_matching_of_equal_ranks():
    """Of two data sets of one size, the pixel of rank r gets the grey level of the other's pixel of rank r."""
    source, target = textures(seed=1), (255 * (textures(seed=2) / 255.0) ** 1.7).astype(np.uint8)
    table = matching.lookup(*(matching.quantiles(Stored(x)) for x in (source, target)))
    ranked = np.sort(target, axis=None).astype(float)
    order = np.argsort(source, axis=None, kind="stable")
    for level in range(*np.quantile(source, [0.01, 0.99]).astype(int)):
        assert table[level] == pytest.approx(ranked[source.ravel()[order] == level].mean(), abs=1.1)


def test_one_curve_for_all_images_keeps_their_differences():
    dark, light = np.full((1, 1, 8, 8), 90, np.uint8), np.full((1, 1, 8, 8), 150, np.uint8)
    both = np.concatenate([dark, light])
    table = matching.lookup(matching.quantiles(Stored(both)), matching.quantiles(Stored(both // 2)))
    assert table[dark].mean() == pytest.approx(45, abs=1)
    assert table[light].mean() == pytest.approx(75, abs=1)


def test_a_single_grey_level_cannot_be_matched():
    flat, other = (matching.quantiles(Stored(x)) for x in (np.full((2, 1, 8, 8), 77, np.uint8), textures(4)))
    with pytest.raises(data.DataError, match="nearly all pixels of the source have level 77"):
        matching.lookup(flat, other)


def test_it_reads_a_patches_folder(cohort):
    stores, path = cohort
    images = data.Images(stores, "cube", pd.read_parquet(path)["synapse_id"])
    pixels = images.read(np.arange(len(images))).numpy()
    np.testing.assert_allclose(matching.quantiles(images), np.quantile(pixels, matching.LEVELS), atol=1)
