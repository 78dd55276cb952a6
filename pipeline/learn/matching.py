"""Intensity matching: the grey levels of one data set taken to those of another by a single monotone curve.

The curve takes quantiles to quantiles and is the same for all images of a data set. Matching each image by itself
would undo what distinguishes them: a synapse with a thick density is a darker image.
"""

import numpy as np

from pipeline.learn.data import DataError, Images

LEVELS = (np.arange(100) + 0.5) / 100  # fractions at which quantiles are compared

_BATCH = 256  # images in memory at once


def quantiles(images: Images) -> np.ndarray:
    """Grey levels `[100]` at LEVELS of all pixels of `images`, which have EM alone, read batch by batch.

    A pixel of grey level g stands for the middle of the ranks of all pixels of that level, between which the
    distribution is linear, so that a data set with levels mapped one to one has its quantiles mapped likewise.
    """
    histogram = np.zeros(256, dtype=np.int64)
    for start in range(0, len(images), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(images)))
        histogram += np.bincount(images.read(rows).numpy().ravel(), minlength=256)
    present = np.flatnonzero(histogram)
    rank = (np.cumsum(histogram) - histogram / 2)[present] / histogram.sum()
    return np.interp(LEVELS, rank, present)


def lookup(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Table `[256]` uint8 that takes grey levels with quantiles `source` to those with quantiles `target`.

    Piecewise linear between the quantiles, never falling; beyond the outermost ones levels are moved as these are.
    Raises DataError where the source is a single grey level.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    knots, member = np.unique(source, return_inverse=True)
    if len(knots) < 2:
        raise DataError(f"grey levels cannot be matched: nearly all pixels of the source have level {knots[0]:.0f}")
    values = np.bincount(member, weights=target) / np.bincount(member)  # several fractions may share a level
    level = np.arange(256.0)
    mapped = np.interp(level, knots, values)
    mapped = np.where(level < knots[0], values[0] + level - knots[0], mapped)
    mapped = np.where(level > knots[-1], values[-1] + level - knots[-1], mapped)
    return np.clip(np.rint(mapped), 0, 255).astype(np.uint8)
