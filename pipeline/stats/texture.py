"""Texture of image patches: grey-level quantiles and the radial power spectrum. Statistics only, no pixels."""

from collections.abc import Sequence

import numpy as np
import scipy.fft

#: Fractions at which grey levels are reported.
LEVELS = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)

#: Edges of the frequency bands, cycles per µm, up to the Nyquist frequency of 8 nm pixels.
BAND_EDGES = np.geomspace(2.0, 62.5, 13)

_BATCH = 64  # patches transformed at once


def summary(patches: np.ndarray, voxel_nm: Sequence[float]) -> dict:
    """Texture of `patches` (uint8 `[N, Y, X]`) with pixels of `voxel_nm` (nm, XY or XYZ), for JSON.

    `grey_level` are the quantiles of all pixels at `level` (inverse of the empirical distribution). `power` is the
    mean spectral density in each band around `frequency_per_um` (geometric centre of the band, cycles per µm), in
    grey levels squared times µm², so that it does not depend on the size of the patch: its integral over the
    frequency plane is the variance; it is None in bands that patches of this size or resolution cannot show. Each
    patch is freed of its mean and tapered by a Hann window first. Raises ValueError on other arrays.
    """
    if patches.ndim != 3 or patches.dtype != np.uint8 or not len(patches):
        raise ValueError(f"texture needs uint8 patches [N, Y, X], not {patches.dtype} {list(patches.shape)}")
    _, height, width = patches.shape
    frequency_y, frequency_x = (
        scipy.fft.fftfreq(size, nm / 1000) for size, nm in ((height, voxel_nm[1]), (width, voxel_nm[0]))
    )
    band = np.digitize(np.hypot(frequency_y[:, None], frequency_x), BAND_EDGES).ravel() - 1
    n_bands = len(BAND_EDGES) - 1
    inside = (band >= 0) & (band < n_bands)
    members = np.bincount(band[inside], minlength=n_bands)

    taper = np.outer(np.hanning(height), np.hanning(width))
    density = voxel_nm[0] * voxel_nm[1] / 1e6 / (taper**2).sum()
    power = np.zeros(band.size)
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(patches), _BATCH):
        block = patches[start : start + _BATCH]
        histogram += np.bincount(block.ravel(), minlength=256)
        block = block.astype(np.float64)
        block -= (block * taper).sum(axis=(1, 2), keepdims=True) / taper.sum()
        power += (np.abs(scipy.fft.fft2(block * taper)) ** 2).sum(axis=0).ravel() * density
    power = np.bincount(band[inside], weights=power[inside], minlength=n_bands) / len(patches)
    below = np.cumsum(histogram) / histogram.sum()
    return {
        "n_patches": len(patches),
        "patch_px": [height, width],
        "voxel_nm": [float(size) for size in voxel_nm],
        "level": list(LEVELS),
        "grey_level": [int(np.argmax(below >= level - 1e-12)) for level in LEVELS],
        "frequency_per_um": [float(f"{f:.4g}") for f in np.sqrt(BAND_EDGES[:-1] * BAND_EDGES[1:])],
        "power": [float(f"{total / n:.6g}") if n else None for total, n in zip(power, members, strict=True)],
    }
