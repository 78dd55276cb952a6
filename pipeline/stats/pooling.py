"""Calling a neuron from several of its synapses: accuracy over neurons against the number of synapses pooled."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import logit

from pipeline.stats.checks import by_neuron, checked
from pipeline.stats.shares import effective_interval, mean_interval

#: Synapses pooled, besides all of a neuron's.
SIZES = (1, 2, 5, 10, 20)

_RANGE = 1e-6, 1 - 1e-6  # probabilities beyond count as these: one synapse alone must not decide
_DRAWS = 200  # random choices of synapses that are averaged


def neuron_accuracy(
    rows: pd.DataFrame, tau: float, confidence: float, seed: int, sizes: Sequence[int] = SIZES
) -> pd.DataFrame:
    """Balanced accuracy over neurons when k synapses are pooled: one row a k.

    Columns: `pooled`, k as text, last "all"; `n_short`, neurons with fewer than k synapses; `value, low, high`. A
    neuron is called excitatory where the mean logit of k of its synapses, drawn without replacement, is at least the
    logit of `tau`. Its accuracy is the share of 200 draws in which the call is right (of all synapses for k = 1, which
    is exact, as is "all"); the value is the mean over neurons within each class, then over classes: every neuron has
    the same weight, unlike in the balanced accuracy of synapses. A neuron with fewer than k synapses contributes all it
    has, so that the same neurons stand behind every k. The interval is that of `stats.shares`, from the variance
    between neurons; a neuron counts at most as often as k fits into its number of synapses. Raises PredictionsError as
    `bootstrap.intervals` does.
    """
    rows = checked(rows)
    label, group = by_neuron(rows)
    margin = logit(rows["p_excitatory"].clip(*_RANGE).to_numpy()) - logit(np.clip(tau, *_RANGE))
    rng = np.random.default_rng(seed)
    size = np.bincount(group)
    accuracy = np.array([_accuracy(margin[group == neuron], label[neuron], sizes, rng) for neuron in range(label.size)])
    independent = np.maximum(size[:, None] / [*sizes, np.inf], 1)
    found = []
    for each, most in zip(accuracy.T, independent.T, strict=True):
        classes = [(each[label == of_class], most[label == of_class].sum()) for of_class in (1, 0)]
        values = [own.mean() for own, _ in classes]
        limits = [
            effective_interval(own.mean(), own.var(ddof=1) / own.size, n, own.size, confidence) for own, n in classes
        ]
        found.append((np.mean(values), *mean_interval(values, limits)))
    estimates = pd.DataFrame(found, columns=["value", "low", "high"])
    estimates.insert(0, "pooled", [*(str(k) for k in sizes), "all"])
    estimates.insert(1, "n_short", [*(int((size < k).sum()) for k in sizes), 0])
    return estimates


def _accuracy(margin: np.ndarray, label: int, sizes: Sequence[int], rng: np.random.Generator) -> list[float]:
    """How often one neuron is called right, for each of `sizes` and for all of its synapses."""
    drawn = rng.permuted(np.tile(margin, (_DRAWS, 1)), axis=1)
    means = np.cumsum(drawn, axis=1)[:, np.minimum(sizes, margin.size) - 1]  # the first k of a random order
    right = ((means >= 0) == label).mean(axis=0)
    of_one, of_all = ((margin >= 0) == label).mean(), (margin.sum() >= 0) == label
    right = np.where(np.equal(sizes, 1), of_one, np.where(np.greater_equal(sizes, margin.size), of_all, right))
    return [*right, of_all]
