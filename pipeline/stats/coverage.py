"""How often intervals hold the truth: simulated test sets whose true performance is known in closed form.

Each neuron has an effect of its own, drawn from a normal distribution of standard deviation `spread`; its synapses
scatter around it with standard deviation 1; the classes lie `distance` apart. A new synapse of a new neuron is
therefore normal with variance 1 + spread^2, and its score is called right with probability
Phi(distance / 2 / sqrt(1 + spread^2)), which is also the true balanced accuracy; the true ROC AUC is
Phi(distance / sqrt(2 (1 + spread^2))). Numbers of synapses differ between neurons (negative binomial).
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm
from tqdm import tqdm

from pipeline.stats import naive
from pipeline.stats.bootstrap import METHODS, Seed, interval_by_method
from pipeline.stats.metrics import METRICS, Scored

#: Metrics whose truth is known.
COVERED = ("balanced_accuracy", "roc_auc")

#: Intervals whose coverage is measured: that of independent synapses, and those of resampled neurons.
INTERVALS = ("synapses", *METHODS)

_SHAPE = 4.0  # of the gamma distribution that numbers of synapses follow: their coefficient of variation is about 1/2


def coverage(
    n_neurons: Iterable[int],
    n_repeats: int,
    seed: int,
    population: dict[str, float],
    n_replicates: int,
    confidence: float,
) -> pd.DataFrame:
    """Coverage of intervals at each number of test neurons: one row a number, metric and interval.

    `n_neurons` are even numbers from 4, half of each class; `population` holds `distance`, `spread` and `n_synapses`,
    the mean number of synapses a neuron, at least 2. Columns: `n_neurons, metric, interval` (one of INTERVALS),
    `coverage`, the share of `n_repeats` simulated test sets whose interval holds `truth`; `low, high`, its own 95%
    interval (Wilson); `width`, the intervals' mean width. The interval of synapses is that of two binomials for
    balanced accuracy, DeLong's for ROC AUC.
    """
    distance, total = population["distance"], np.sqrt(1 + population["spread"] ** 2)
    truth = norm.cdf([distance / 2 / total, distance / np.sqrt(2) / total])
    rows = []
    for n in tqdm(n_neurons, desc="coverage", disable=None):
        seeds = [[seed, n, i] for i in range(n_repeats)]
        tests = (simulate(n, own, **population) for own in seeds)
        limits = np.array(
            [_limits(*test, own, n_replicates, confidence) for test, own in zip(tests, seeds, strict=True)]
        )
        low, high = limits.transpose(3, 0, 1, 2)  # [repeats, metrics, intervals]
        held = ((low <= truth[:, None]) & (truth[:, None] <= high)).sum(axis=0)
        width = (high - low).mean(axis=0)
        for (metric, of), count in np.ndenumerate(held):
            own = binomtest(int(count), n_repeats).proportion_ci(method="wilson")
            rows.append((n, COVERED[metric], INTERVALS[of], truth[metric], count / n_repeats, *own, width[metric, of]))
    return pd.DataFrame(rows, columns=["n_neurons", "metric", "interval", "truth", "coverage", "low", "high", "width"])


def simulate(
    n_neurons: int, seed: Seed, *, distance: float, spread: float, n_synapses: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One test set: class of each of G neurons, half excitatory, `[G]`; neuron of each synapse and its score, `[N]`.

    Scores are probabilities, above 1/2 where the synapse is called excitatory.
    """
    rng = np.random.default_rng(seed)
    label = np.arange(n_neurons) % 2
    size = 1 + rng.poisson(rng.gamma(_SHAPE, (n_synapses - 1) / _SHAPE, n_neurons))
    neuron = np.repeat(np.arange(n_neurons), size)
    latent = (distance * (label - 0.5) + spread * rng.standard_normal(n_neurons))[neuron]
    return label, neuron, norm.cdf(latent + rng.standard_normal(neuron.size))


def _limits(
    label: np.ndarray, neuron: np.ndarray, p: np.ndarray, seed: list[int], n_replicates: int, confidence: float
) -> np.ndarray:
    """Limits `[metrics, intervals, 2]` from one simulated test set."""
    of_synapse = label[neuron]
    scored = Scored(of_synapse, p, 0.5, neuron)
    columns = [METRICS.index(metric) for metric in COVERED]
    called = (p >= 0.5) == of_synapse
    accuracy = naive.balanced_accuracy_interval(of_synapse, called, confidence)
    independent = np.array([accuracy, naive.auc_interval(of_synapse, p, confidence)])
    _, resampled = interval_by_method(
        lambda weights: scored.table(weights)[:, columns], label, n_replicates, confidence, seed
    )
    limits = [independent, *(np.stack(resampled[method], axis=1) for method in METHODS)]
    return np.stack(limits, axis=1)
