"""Do probabilities mean what they say? Brier score, calibration error and calibration curve, with clustered intervals.

Synapses are binned by probability into bins of equal counts, ties together, at edges that all resamples share.
"""

import numpy as np
import pandas as pd

from pipeline.stats.bootstrap import interval, without_exception
from pipeline.stats.checks import by_neuron, checked


def summary(rows: pd.DataFrame, n_replicates: int, confidence: float, seed: int, n_bins: int = 10) -> pd.DataFrame:
    """Brier score and expected calibration error (ECE) with intervals: `metric, value, low, high`.

    `brier` is the mean squared error of `p_excitatory`; `ece` the mean over synapses of how far the mean probability
    of their bin is from its share of excitatory synapses. Noise only adds to the ECE: a perfectly calibrated model has
    one too, and more in resamples. Its interval is therefore the percentile interval, and its lower limit is 0 unless
    the ECE exceeds what resampling neurons alone would do to bins without error.
    Raises PredictionsError as `bootstrap.intervals` does.
    """
    rows = checked(rows)
    label, group = by_neuron(rows)
    n, p, y = _sums(rows, group, label.size, n_bins)
    squared_error = np.bincount(group, weights=(rows["p_excitatory"] - rows["label"]) ** 2)
    gap = (p - y).sum(axis=0) / n.sum()  # of each bin, times its share of the synapses

    def brier(weights: np.ndarray) -> np.ndarray:
        return (weights @ squared_error / (weights @ n.sum(axis=1)))[:, None]

    def ece_and_noise(weights: np.ndarray) -> np.ndarray:
        gaps = weights @ (p - y) / (weights @ n.sum(axis=1))[:, None]
        return np.abs([gaps, gaps - gap]).sum(axis=2).T

    estimate = np.ravel(interval(brier, label, n_replicates, confidence, seed))
    (ece, _), (low, _), (high, noise) = interval(ece_and_noise, label, n_replicates, confidence, seed, "percentile")
    found = [("brier", *estimate), ("ece", ece, low if ece > noise else 0.0, high)]
    return pd.DataFrame(found, columns=["metric", "value", "low", "high"])


def curve(rows: pd.DataFrame, n_replicates: int, confidence: float, seed: int, n_bins: int = 10) -> pd.DataFrame:
    """Calibration curve, one row a bin in ascending order.

    Columns: `n_synapses`, `n_neurons`; `p_excitatory`, the mean of the bin's predictions; and `value, low, high`, the
    share of its synapses that are excitatory. Many equal predictions leave fewer than `n_bins` bins. Where a bin holds
    one class only, the inner limit is the exact one for its neurons. Raises PredictionsError as `bootstrap.intervals`
    does, and where too few neurons fill a bin: take fewer bins.
    """
    rows = checked(rows)
    label, group = by_neuron(rows)
    n, p, y = _sums(rows, group, label.size, n_bins)

    def share(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return (weights @ y) / (weights @ n)

    value, low, high = interval(share, label, n_replicates, confidence, seed)
    counts = {"n_synapses": n.sum(axis=0).astype(np.int64), "n_neurons": (n > 0).sum(axis=0)}
    inner = without_exception(counts["n_neurons"], confidence)
    low, high = np.where(value == 1, inner, low), np.where(value == 0, 1 - inner, high)
    mean = p.sum(axis=0) / n.sum(axis=0)
    return pd.DataFrame(counts | {"p_excitatory": mean, "value": value, "low": low, "high": high})


def _sums(rows: pd.DataFrame, group: np.ndarray, n_neurons: int, n_bins: int) -> np.ndarray:
    """Number of synapses, sum of probabilities and sum of labels per neuron and bin, `[3, G, bins]`."""
    p = rows["p_excitatory"].to_numpy()
    bins = np.searchsorted(np.unique(np.quantile(p, np.arange(1, n_bins) / n_bins)), p)
    shape = n_neurons, bins.max() + 1
    cell = np.ravel_multi_index((group, bins), shape)
    columns = np.ones_like(p), p, rows["label"]
    return np.stack([np.bincount(cell, weights=c, minlength=np.prod(shape)).reshape(shape) for c in columns])
