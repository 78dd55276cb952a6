"""How often intervals hold the truth: simulated test sets whose true performance is known in closed form.

Each neuron has an effect of its own, drawn from a normal distribution of standard deviation `spread`; its synapses
scatter around it with standard deviation 1; the classes lie `distance` apart. A new synapse of a new neuron is
therefore normal with variance 1 + spread^2, and its score is called right with probability
Phi(distance / 2 / sqrt(1 + spread^2)), which is also the true balanced accuracy; the true ROC AUC is
Phi(distance / sqrt(2 (1 + spread^2))). Numbers of synapses differ between neurons (negative binomial).
"""

import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm
from tqdm import tqdm

from pipeline.stats import naive
from pipeline.stats.auc import auc_interval
from pipeline.stats.bootstrap import Seed, interval
from pipeline.stats.metrics import METRICS, Scored
from pipeline.stats.shares import balanced_interval

#: Metrics whose truth is known.
COVERED = ("balanced_accuracy", "roc_auc")

#: Intervals whose coverage is measured: of independent synapses, of resampled neurons, and those of the report.
INTERVALS = ("synapses", "percentile", "report")

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
    the mean number of synapses a neuron, at least 2. Columns: `n_neurons, metric, interval` (one of INTERVALS), `truth`
    and those of `_held`. The interval of synapses is that of two binomials for balanced accuracy, DeLong's for ROC AUC.
    """
    distance, total = population["distance"], np.sqrt(1 + population["spread"] ** 2)
    truth = norm.cdf([distance / 2 / total, distance / np.sqrt(2) / total])
    rows = []
    for n in tqdm(n_neurons, desc="coverage", disable=None):
        seeds = [[seed, n, i] for i in range(n_repeats)]
        tests = (simulate((n // 2, n // 2), own, **population) for own in seeds)
        limits = np.array(
            [_limits(*test, own, n_replicates, confidence) for test, own in zip(tests, seeds, strict=True)]
        )
        for (i, metric), (j, name) in itertools.product(enumerate(COVERED), enumerate(INTERVALS)):
            rows.append({"n_neurons": n, "metric": metric, "interval": name} | _held(limits[:, i, j], truth[i]))
    return pd.DataFrame(rows)


def ceiling(
    aucs: Iterable[float],
    populations: Iterable[tuple[int, int]],
    n_repeats: int,
    seed: int,
    spread: float,
    n_synapses: float,
    confidence: float,
) -> pd.DataFrame:
    """Coverage of the report's interval of ROC AUC at each true AUC and each number of neurons.

    `populations` are numbers of excitatory and inhibitory test neurons. Columns: `n_excitatory, n_inhibitory`, `truth`,
    `perfect`, the share of test sets whose AUC is 1, and those of `_held`.
    """
    rows = []
    for classes in tqdm(populations, desc="ceiling", disable=None):
        for auc in aucs:
            distance = float(norm.ppf(auc) * np.sqrt(2 * (1 + spread**2)))
            own = {"distance": distance, "spread": spread, "n_synapses": n_synapses}
            found = []
            for i in range(n_repeats):
                label, neuron, p = simulate(classes, [seed, *classes, round(1e4 * auc), i], **own)
                found.append(auc_interval(label[neuron], neuron, p, confidence))
            value, *limits = np.transpose(found)
            facts = {"n_excitatory": classes[0], "n_inhibitory": classes[1], "perfect": (value == 1).mean()}
            rows.append(facts | _held(np.transpose(limits), auc))
    return pd.DataFrame(rows)


def simulate(
    n_neurons: tuple[int, int], seed: Seed, *, distance: float, spread: float, n_synapses: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One test set: class of each of G neurons `[G]`; neuron of each synapse and its score, `[N]`.

    `n_neurons` are those of the excitatory and the inhibitory class. Scores are probabilities, above 1/2 where the
    synapse is called excitatory.
    """
    rng = np.random.default_rng(seed)
    label = np.repeat([1, 0], n_neurons)
    size = 1 + rng.poisson(rng.gamma(_SHAPE, (n_synapses - 1) / _SHAPE, label.size))
    neuron = np.repeat(np.arange(label.size), size)
    latent = (distance * (label - 0.5) + spread * rng.standard_normal(label.size))[neuron]
    return label, neuron, norm.cdf(latent + rng.standard_normal(neuron.size))


def _held(limits: np.ndarray, truth: float) -> dict[str, float]:
    """Of intervals `[R, 2]`: `truth`, the `coverage` with its 95% interval (Wilson) `low, high`, the mean `width`."""
    held = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
    own = binomtest(int(held.sum()), held.size).proportion_ci(method="wilson")
    width = float((limits[:, 1] - limits[:, 0]).mean())
    return {"truth": truth, "coverage": float(held.mean()), "low": own.low, "high": own.high, "width": width}


def _limits(
    label: np.ndarray, neuron: np.ndarray, p: np.ndarray, seed: list[int], n_replicates: int, confidence: float
) -> np.ndarray:
    """Limits `[metrics, intervals, 2]` from one simulated test set."""
    of_synapse = label[neuron]
    right = (p >= 0.5) == of_synapse
    scored = Scored(of_synapse, p, 0.5, neuron)
    columns = [METRICS.index(metric) for metric in COVERED]
    independent = (
        naive.balanced_accuracy_interval(of_synapse, right, confidence),
        naive.auc_interval(of_synapse, p, confidence),
    )
    _, *resampled = interval(
        lambda weights: scored.table(weights)[:, columns], label, n_replicates, confidence, seed, "percentile"
    )
    report = (
        balanced_interval(of_synapse, neuron, right, confidence)[1:],
        auc_interval(of_synapse, neuron, p, confidence)[1:],
    )
    return np.stack([independent, np.transpose(resampled), report], axis=1)
