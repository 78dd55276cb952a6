"""From the greys of a section to its image: faults of sectioning (misalignment, folds, loss) and of the camera."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from pipeline.simulate import noise

#: The camera's curve, matched to the grey-level quantiles of kasthuri_ac3: what is drawn as 143 is 132, and so on.
DRAWN_MIDDLE, MIDDLE, CONTRAST = 143.0, 132.0, 1.21
FOCUS_PX, NOISE = 0.60, 14.0  # blur, and noise before it (greys), matched to the power spectrum of kasthuri_ac3
FOCUS_SPREAD, NOISE_SPREAD = 0.12, 0.12  # log-normal, between sections (chosen: networks should not count on either)
JITTER_SHARE, JITTER_PX = 0.15, 2  # sections out of line, and by how much at most
STEP_SHARE = 0.08  # sections at which brightness changes for good


class Flaws(NamedTuple):
    """What went wrong with a series of sections."""

    shift: np.ndarray  # [sections, 2] YX pixels
    gain: np.ndarray  # [sections]
    offset: np.ndarray  # [sections] greys
    missing: int  # index of the section that was lost
    folded: int  # index of the section that lies on itself


def flaws(n_sections: int, rng: np.random.Generator) -> Flaws:
    """The Flaws of a series of sections."""
    jittered = rng.random(n_sections) < JITTER_SHARE
    shift = np.where(jittered[:, None], rng.integers(-JITTER_PX, JITTER_PX + 1, (n_sections, 2)), 0)
    level = np.cumsum(np.where(rng.random(n_sections) < STEP_SHARE, rng.normal(0, 6, n_sections), 0))
    level = level - level.mean() + rng.normal(0, 2.0, n_sections)  # adjusted per section, but not quite
    gain = np.exp(rng.normal(0, 0.03, n_sections))
    missing, folded = rng.choice(np.arange(n_sections // 4, 3 * n_sections // 4), 2, replace=False)
    return Flaws(shift, gain, np.clip(level, -14, 14), int(missing), int(folded))


def fold(grey: np.ndarray, rng: np.random.Generator) -> None:
    """Darken a curved band across the section, where it lies on itself; changes `grey` in place."""
    height, width = grey.shape
    y, x = np.ogrid[:height, :width]
    angle = rng.uniform(0, np.pi)
    across = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle) + rng.uniform(-0.2, 0.2) * width
    along = (y - height / 2) * np.cos(angle) - (x - width / 2) * np.sin(angle)
    middle = 0.02 * width * np.sin(along / (0.11 * width))
    grey -= (60 * np.exp(-(((across - middle) / 7) ** 2))).astype(np.float32)


def displace(grey: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The section moved by whole pixels (YX), its border repeated."""
    margin = int(np.abs(shift).max())
    if not margin:
        return grey
    padded = np.pad(grey, margin, mode="edge")
    y, x = margin - shift[0], margin - shift[1]
    return padded[y : y + grey.shape[0], x : x + grey.shape[1]]


def photograph(grey: np.ndarray, rng: np.random.Generator, gain: float, offset: float) -> np.ndarray:
    """The camera's uint8 image of a section's greys `[Y, X]`: focus, shading and noise."""
    shape = grey.shape
    coarse = rng.standard_normal((6, 6), np.float32)
    shading = noise.enlarge(coarse, shape, shape)
    image = MIDDLE + np.float32(gain * CONTRAST) * (grey - DRAWN_MIDDLE) + np.float32(offset) + 2 * shading
    image += np.float32(NOISE * np.exp(rng.normal(0, NOISE_SPREAD))) * rng.standard_normal(shape, np.float32)
    image = ndimage.gaussian_filter(image, FOCUS_PX * np.exp(rng.normal(0, FOCUS_SPREAD)), truncate=4)
    return np.clip(np.rint(image), 1, 255).astype(np.uint8)
