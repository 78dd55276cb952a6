"""The texture summary against closed forms and NumPy's own quantiles."""

import numpy as np
import pytest

from pipeline.stats import texture

VOXEL_NM = (8.0, 8.0, 40.0)


def test_white_noise_has_a_flat_spectrum_at_its_variance():
    noise = np.random.default_rng(0).normal(128, 20, (150, 128, 128)).round().clip(0, 255).astype(np.uint8)
    power = np.array(texture.summary(noise, VOXEL_NM)["power"])
    expected = noise.astype(float).var() * 0.008 * 0.008  # spread evenly over a plane of (1 / pixel)²
    assert power == pytest.approx(expected, rel=0.15)  # the lowest bands average few waves
    assert power[-4:] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("axis", "frequency"), [(1, 9.765625), (2, 31.25)])
def test_a_wave_peaks_at_its_frequency(axis, frequency):
    place_um = np.arange(128) * 0.008
    shape = (1, -1, 1) if axis == 1 else (1, 1, -1)
    wave = 128 + 60 * np.sin(2 * np.pi * frequency * place_um).reshape(shape) * np.ones((2, 128, 128))
    found = texture.summary(wave.round().astype(np.uint8), VOXEL_NM)
    edges = texture.BAND_EDGES
    band = int(np.argmax(found["power"]))
    assert edges[band] <= frequency < edges[band + 1]
    assert np.delete(found["power"], [band]).max() < 0.02 * max(found["power"])


def test_power_does_not_depend_on_the_size_of_the_patch():
    rng = np.random.default_rng(1)
    smooth = rng.normal(size=(60, 256, 258))
    smooth = smooth[..., :-2] + smooth[..., 1:-1] + smooth[..., 2:]
    grey = (128 + 20 * smooth).clip(0, 255).astype(np.uint8)
    large, small = (np.array(texture.summary(part, VOXEL_NM)["power"]) for part in (grey, grey[:, :128, :128]))
    assert small[3:] == pytest.approx(large[3:], rel=0.15)


def test_quantiles_are_those_of_all_pixels():
    grey = np.random.default_rng(2).beta(2, 3, (130, 64, 64))  # more than one batch
    grey = (255 * grey).astype(np.uint8)
    found = texture.summary(grey, VOXEL_NM)
    expected = np.quantile(grey, found["level"], method="inverted_cdf")
    assert found["grey_level"] == expected.tolist()


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="uint8 patches"):
        texture.summary(np.zeros((2, 64, 64)), VOXEL_NM)


def test_bands_that_a_patch_cannot_show_stay_empty():
    noise = np.random.default_rng(3).integers(0, 256, (4, 64, 64), dtype=np.uint8)
    small, coarse = (texture.summary(noise, (size, size, 40.0))["power"] for size in (8.0, 32.0))
    assert [value is None for value in small] == [True] + [False] * 11  # one wave in 512 nm is 1.95 cycles per µm
    assert coarse[-2:] == [None, None]  # 32 nm pixels show 22 cycles per µm at most, along the diagonal
    assert None not in coarse[:-3]
