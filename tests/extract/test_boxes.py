"""Reflection and resampling against numpy and closed forms."""

import numpy as np
import pytest
from extract_volumes import write_volume

from pipeline.extract.boxes import Grid, box_axis, reflect, resampled
from pipeline.extract.volume import Volume
from pipeline.space import VoxelFrame

SOURCE = VoxelFrame((6.0, 6.0, 30.0))


@pytest.mark.parametrize("size", [1, 2, 5, 40])
def test_reflection_is_numpys(size):
    values = np.arange(10, 10 + size)
    assert (reflect(np.arange(-90, size + 170), 0, size) == np.pad(values, (90, 170), mode="reflect") - 10).all()


def test_equal_voxels_are_taken_as_they_are():
    axis = box_axis(1000, 32, 1.0, (0, 5000))
    assert axis.weights is None
    assert axis.take.tolist() == list(range(984, 1016))  # the centre voxel is at index size // 2


def keys_transfer(f):
    """Fourier transform of Keys's kernel (a = -1/2) at f cycles per grid step: Keys 1981, by direct integration."""
    x = np.linspace(0, 2, 200_001)
    kernel = np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)
    return 2 * np.trapezoid(kernel * np.cos(2 * np.pi * f * x), x)


@pytest.mark.parametrize("period_nm", [13.0, 20.0, 32.0, 60.0, 200.0])
def test_sinusoid_is_attenuated_as_the_stretched_kernel_says(period_nm):
    axis = box_axis(700, 400, 8 / 6, (0, 5000))
    wave = np.cos(2 * np.pi * SOURCE.centers_nm(axis.take, 0) / period_nm)
    got = axis.apply(wave.astype(np.float32))
    positions = 700.5 * 6 + 8.0 * (np.arange(400) - 200)  # centres of the model's voxels, in nm
    # sampling at 6 nm repeats the spectrum at multiples of 1 / 6 nm, with signs since sample 0 sits at 3 nm
    frequencies = {k: 1 / period_nm + k / 6 for k in range(-3, 4)}
    expected = sum(
        (-1) ** k * keys_transfer(8.0 * f) * np.cos(2 * np.pi * f * positions) for k, f in frequencies.items()
    )
    assert np.abs(got - expected).max() < 0.02
    if period_nm < 16:  # beyond what 8 nm voxels can hold; nearest-voxel sampling would alias it at full amplitude
        assert np.std(got) < 0.3 * np.std(wave)


def test_gaussian_blob_is_where_and_what_the_closed_form_says(tmp_path):
    offset, size = np.array([40, 60, 20]), np.array([130, 120, 60])
    center_nm, sigma_nm = np.array([643.0, 731.0, 1517.0]), np.array([70.0, 60.0, 160.0])

    def blob(x, y, z):
        radius2 = sum(((p - c) / s) ** 2 for p, c, s in zip((x, y, z), center_nm, sigma_nm, strict=True))
        return 20 + 200 * np.exp(-radius2 / 2)

    grid = np.meshgrid(*[(offset[i] + np.arange(size[i]) + 0.5) * r for i, r in enumerate((6, 6, 30))], indexing="ij")
    path = write_volume(tmp_path / "blob", np.rint(blob(*grid)).astype(np.uint8), (6, 6, 30), offset, encoding="raw")
    volume = Volume(path, (8, 8, 40))
    box = resampled(volume, Grid.at(center_nm, (16, 48, 48), volume, (8, 8, 40)))

    middle = (center_nm // [6, 6, 30] + 0.5) * [6, 6, 30]  # of the stored voxel that holds the position
    nm = [
        middle[i] + (np.arange(n) - n // 2) * r for i, (n, r) in enumerate(zip((48, 48, 16), (8, 8, 40), strict=True))
    ]
    expected = blob(*np.meshgrid(*nm, indexing="ij")).transpose(2, 1, 0)
    assert np.abs(box.pixels - expected).max() <= 2  # grey levels out of 200
    weight = box.pixels.astype(float) - 20
    weight[weight < 20] = 0
    centroid = [
        (weight.sum(axis=other) * nm[i]).sum() / weight.sum() for i, other in enumerate([(0, 1), (0, 2), (1, 2)])
    ]
    assert (np.abs(centroid - center_nm) < [1, 1, 5]).all()
    assert box.center_nm == pytest.approx(middle, abs=0.1)
