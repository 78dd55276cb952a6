"""Intervals of shares of synapses that come in neurons, after Korn & Graubard (1998, Survey Methodology 24:193).

A share p of clustered synapses whose variance is v is as certain as one of p (1 - p) / v independent synapses. This
effective number, never more than there are synapses, and reduced by the square of z / t for the few neurons that v
comes from, takes the place of n in Clopper & Pearson's (1934) exact interval: no interval is without width, and where
no neuron errs it is that of independent synapses.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtrit


def share_interval(right: ArrayLike, neuron: ArrayLike, confidence: float) -> tuple[float, float]:
    """Limits `(low, high)` of the share of synapses that are `right` [N], in [0, 1], of each `neuron` [N] (any ids).

    Synapses of a single neuron say nothing about others: `(0, 1)`.
    """
    right = np.asarray(right, dtype=np.float64)
    _, code, size = np.unique(np.asarray(neuron), return_inverse=True, return_counts=True)
    n_neurons, value = size.size, right.mean()
    if n_neurons < 2:
        return 0.0, 1.0
    excess = np.bincount(code, right - value)
    variance = n_neurons / (n_neurons - 1) * (excess**2).sum() / right.size**2
    return effective_interval(value, variance, right.size, n_neurons, confidence)


def effective_interval(
    value: float, variance: float, n: float, n_neurons: int, confidence: float
) -> tuple[float, float]:
    """Limits of a share `value` with a `variance` estimated from `n_neurons` units, of at most `n` independent ones."""
    z, t = ndtri((1 + confidence) / 2), stdtrit(n_neurons - 1, (1 + confidence) / 2)
    effective = min(n, value * (1 - value) / variance if variance > 0 else np.inf) * (z / t) ** 2
    right, tail = effective * value, (1 - confidence) / 2
    low = betaincinv(right, effective - right + 1, tail) if right > 0 else 0.0
    high = betaincinv(right + 1, effective - right, 1 - tail) if right < effective else 1.0
    return float(low), float(high)


def mean_interval(values: Sequence[float], limits: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Limits of the mean of independent `values` with their own `limits` (Zou & Donner 2008, Stat. Med. 27:1693)."""
    below, above = np.abs(np.subtract(limits, np.reshape(values, (-1, 1)))).T
    mean, n = np.mean(values), len(values)
    return float(mean - np.sqrt((below**2).sum()) / n), float(mean + np.sqrt((above**2).sum()) / n)


def balanced_interval(
    label: ArrayLike, neuron: ArrayLike, right: ArrayLike, confidence: float
) -> tuple[float, float, float]:
    """Balanced accuracy with its limits, `(value, low, high)`, from synapses `right` [N] of classes `label` [N]."""
    right, neuron = np.asarray(right, dtype=np.float64), np.asarray(neuron)
    classes = [np.asarray(label) == of_class for of_class in (1, 0)]
    values = [float(right[members].mean()) for members in classes]
    limits = [share_interval(right[members], neuron[members], confidence) for members in classes]
    return float(np.mean(values)), *mean_interval(values, limits)
