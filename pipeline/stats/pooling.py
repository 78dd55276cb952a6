"""Calling a neuron from several of its synapses: accuracy over neurons against the number of synapses pooled."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import logit

from pipeline.stats.bootstrap import interval, without_exception
from pipeline.stats.checks import by_neuron, checked

#: Synapses pooled, besides all of a neuron's.
SIZES = (1, 2, 5, 10, 20)

_RANGE = 1e-6, 1 - 1e-6  # probabilities beyond count as these: one synapse alone must not decide
_DRAWS = 200  # random choices of synapses that are averaged


def neuron_accuracy(
    rows: pd.DataFrame, tau: float, n_replicates: int, confidence: float, seed: int, sizes: Sequence[int] = SIZES
) -> pd.DataFrame:
    """Balanced accuracy over neurons when k synapses are pooled: one row a k.

    Columns: `pooled`, k as text, last "all"; `n_short`, neurons with fewer than k synapses; `value, low, high`. A
    neuron is called excitatory where the mean logit of k of its synapses, drawn without replacement, is at least the
    logit of `tau`. Its accuracy is the share of 200 draws in which the call is right (of all synapses for k = 1, which
    is exact, as is "all"); the value is the mean over neurons within each class, then over classes: every neuron has
    the same weight, unlike in the balanced accuracy of synapses. A neuron with fewer than k synapses contributes all it
    has, so that the same neurons stand behind every k. Where every neuron is called right, no resample errs; the lower
    limit is then the exact one for the smaller class, the other without error. Errors as for `bootstrap.intervals`.
    """
    rows = checked(rows)
    label, group = by_neuron(rows)
    margin = logit(rows["p_excitatory"].clip(*_RANGE).to_numpy()) - logit(np.clip(tau, *_RANGE))
    rng = np.random.default_rng(seed)
    size = np.bincount(group)
    accuracy = np.array([_accuracy(margin[group == neuron], label[neuron], sizes, rng) for neuron in range(label.size)])
    excitatory, inhibitory = label == 1, label == 0

    def balanced(weights: np.ndarray) -> np.ndarray:
        means = [weights[:, of] @ accuracy[of] / weights[:, of].sum(axis=1)[:, None] for of in (excitatory, inhibitory)]
        return np.mean(means, axis=0)

    value, low, high = interval(balanced, label, n_replicates, confidence, seed)
    fewest = min(excitatory.sum(), inhibitory.sum())
    low = np.where((accuracy == 1).all(axis=0), (1 + without_exception(fewest, confidence)) / 2, low)
    pooled = [*(str(k) for k in sizes), "all"]
    n_short = [*(int((size < k).sum()) for k in sizes), 0]
    return pd.DataFrame({"pooled": pooled, "n_short": n_short, "value": value, "low": low, "high": high})


def _accuracy(margin: np.ndarray, label: int, sizes: Sequence[int], rng: np.random.Generator) -> list[float]:
    """How often one neuron is called right, for each of `sizes` and for all of its synapses."""
    drawn = rng.permuted(np.tile(margin, (_DRAWS, 1)), axis=1)
    means = np.cumsum(drawn, axis=1)[:, np.minimum(sizes, margin.size) - 1]  # the first k of a random order
    right = ((means >= 0) == label).mean(axis=0)
    of_one, of_all = ((margin >= 0) == label).mean(), (margin.sum() >= 0) == label
    right = np.where(np.equal(sizes, 1), of_one, np.where(np.greater_equal(sizes, margin.size), of_all, right))
    return [*right, of_all]
