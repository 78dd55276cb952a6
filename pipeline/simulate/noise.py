"""Noise in the tissue (three-dimensional, periodic) and in its images."""

import numpy as np
from scipy import ndimage

from pipeline import space
from pipeline.simulate.kernels import Number, inlined, kernel

PIXEL_NM, _, SECTION_NM = space.EM.resolution_nm
STEP_NM = 80.0
NODES = 64  # the noise repeats after 64 * 80 nm, beyond the extent of any patch or cube
CHANNELS = 6


def periodic(rng: np.random.Generator) -> np.ndarray:
    """Noise `[64, 64, 64, 6]` (ZYX) of unit variance, in nodes of 80 nm.

    Channels 0-2 displace (broad and fine undulation), 3 modulates the glial reach, 4 the intercellular gap and
    5 the grain of densities.
    """
    channels = []
    for broad, fine, share in [(2.8, 1.1, 0.33)] * 3 + [(2.5, 1.0, 0.3), (3.5, 1.0, 0.4), (1.0, 0.7, 0.5)]:
        total = np.zeros((), np.float32)
        for sigma, weight in ((broad, 1 - share), (fine, share)):
            layer = ndimage.gaussian_filter(rng.standard_normal((NODES,) * 3, np.float32), sigma, mode="wrap")
            total = total + weight * layer / layer.std()
        channels.append(total / total.std())
    return np.stack(channels, axis=-1).astype(np.float32)


@inlined
def _node(at_nm: Number) -> tuple[Number, Number, Number]:
    """The node below a coordinate and the node above, wrapped, and the share of the way between them."""
    at = at_nm / STEP_NM
    below = np.int64(np.floor(at))
    return below & (NODES - 1), (below + 1) & (NODES - 1), np.float32(at - below)


@kernel
def at(noise: np.ndarray, x: Number, y: Number, z: Number, out: np.ndarray) -> None:
    """Trilinear noise channels of `periodic` at a point (nm), into `out`."""
    one = np.float32(1)
    x0, x1, wx = _node(x)
    y0, y1, wy = _node(y)
    z0, z1, wz = _node(z)
    for c in range(CHANNELS):
        a = (noise[z0, y0, x0, c] * (one - wx) + noise[z0, y0, x1, c] * wx) * (one - wy) + (
            noise[z0, y1, x0, c] * (one - wx) + noise[z0, y1, x1, c] * wx
        ) * wy
        b = (noise[z1, y0, x0, c] * (one - wx) + noise[z1, y0, x1, c] * wx) * (one - wy) + (
            noise[z1, y1, x0, c] * (one - wx) + noise[z1, y1, x1, c] * wx
        ) * wy
        out[c] = a * (one - wz) + b * wz


@kernel
def plane(noise: np.ndarray, z_nm: Number, shape: tuple[int, int]) -> np.ndarray:
    """Noise `[6, Y, X]` at all pixel centres of the plane `z_nm`: what `at` gives there, by the same sums."""
    height, width = shape
    one = np.float32(1)
    z0, z1, wz = _node(z_nm)
    rows = np.empty((2, NODES, CHANNELS, width), np.float32)  # the rows of nodes in both layers, interpolated along x
    for px in range(width):
        x0, x1, wx = _node(np.float32((px + 0.5) * PIXEL_NM))
        for y in range(NODES):
            for c in range(CHANNELS):
                rows[0, y, c, px] = noise[z0, y, x0, c] * (one - wx) + noise[z0, y, x1, c] * wx
                rows[1, y, c, px] = noise[z1, y, x0, c] * (one - wx) + noise[z1, y, x1, c] * wx
    out = np.empty((CHANNELS, height, width), np.float32)
    for py in range(height):
        y0, y1, wy = _node(np.float32((py + 0.5) * PIXEL_NM))
        for c in range(CHANNELS):
            for px in range(width):
                a = rows[0, y0, c, px] * (one - wy) + rows[0, y1, c, px] * wy
                b = rows[1, y0, c, px] * (one - wy) + rows[1, y1, c, px] * wy
                out[c, py, px] = a * (one - wz) + b * wz
    return out


def unit(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Gaussian noise `[Y, X]` of unit variance, smoothed by `sigma` pixels."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap", truncate=3)
    return noise * np.float32(2 * np.sqrt(np.pi) * sigma)


@kernel
def enlarge(image: np.ndarray, whole: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """The first `shape` pixels of a float32 image `[Y, X]` stretched to the size `whole`, by linear interpolation.

    Adds in the order of `scipy.ndimage.zoom` and gives its result to the last bit, five times as fast.
    """
    out = np.zeros(shape, np.float32)
    height, width = image.shape
    upper, lower = np.empty(width), np.empty(width)
    for y in range(shape[0]):
        at_y = y * ((height - 1) / (whole[0] - 1))
        if at_y > height - 1:  # past the last row by a rounding error: left 0
            continue
        y0 = int(at_y)
        low_y = 1.0 - (at_y - y0)
        for x in range(width):
            upper[x] = image[y0, x] * low_y
            lower[x] = image[min(y0 + 1, height - 1), x] * (1.0 - low_y)
        for x in range(shape[1]):
            at_x = x * ((width - 1) / (whole[1] - 1))
            if at_x > width - 1:
                continue
            x0 = int(at_x)
            x1, low_x = min(x0 + 1, width - 1), 1.0 - (at_x - x0)
            out[y, x] = upper[x0] * low_x + upper[x1] * (1 - low_x) + lower[x0] * low_x + lower[x1] * (1 - low_x)
    return out
