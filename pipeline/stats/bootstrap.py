"""Intervals of a model's scores and of differences between models; the unit is the presynaptic neuron.

Synapses of one neuron share its staining, vesicles and label, so they are not independent draws: an interval that
resamples synapses is too narrow. In the bootstrap a neuron is drawn with all its synapses; excitatory and inhibitory
neurons are drawn separately, so that every replicate holds both classes.

Three bootstrap intervals are offered (METHODS). `percentile` and `bca` (bias-corrected and accelerated; Efron 1987, J.
Am. Stat. Assoc. 82:171) are the usual ones. With few neurons both are too narrow, for the same two reasons as an
interval of a mean that divides the variance by n and takes the normal quantile z. `expanded`, the default, is BCa with
sqrt(n / (n - 1)) t in place of z, t being Student's quantile with n - 1 degrees of freedom: the expansion that
Hesterberg (2015, Am. Stat. 69:371) gives for percentile intervals. His n is that of one sample; here n is the number of
neurons of the smaller class. No resampling reaches beyond the neurons at hand: with four or fewer of a class the
expanded limits are those of the most extreme resamples, and still too narrow.

Nor does resampling find errors that no neuron makes. Scores of one model, which may be near 1, therefore have intervals
of their own wherever there are any (`intervals`): ROC AUC that of `stats.auc`, accuracy and balanced accuracy those of
`stats.shares`. Average precision and F1 have the expanded bootstrap interval, never narrower than that of a share of as
many independent synapses. Differences have the expanded one. `stats.coverage` measures how often intervals hold the
truth.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import norm
from scipy.stats import t as student

from pipeline.stats.auc import auc_interval
from pipeline.stats.checks import by_neuron, check_classes, checked_pairs
from pipeline.stats.metrics import METRICS, PredictionsError, Scored
from pipeline.stats.shares import balanced_interval, effective_interval, share_interval

Method = Literal["expanded", "percentile", "bca"]
METHODS: tuple[Method, ...] = get_args(Method)

#: Takes how often each of G neurons counts, `[R, G]`, and returns S statistics, `[R, S]`.
Statistic = Callable[[Any], np.ndarray]

Seed = int | list[int]

_BLOCK = 256  # replicates, or neurons left out, whose weights are in memory at once
_MAX_UNDEFINED = 0.05  # share of resamples in which a statistic may be undefined


def intervals(rows: pd.DataFrame, tau: float, n_replicates: int, confidence: float, seed: int) -> pd.DataFrame:
    """Metrics of one model with their intervals: `metric, value, low, high`, in the order of METRICS.

    `rows` holds one row a synapse with the columns of `checks.COLUMNS` (others are ignored), in any order. Raises
    PredictionsError where ids, labels or scores cannot be used, or where a class has fewer than two neurons.
    """
    return mean_intervals([rows], [tau], n_replicates, confidence, seed)


def mean_intervals(
    tables: Sequence[pd.DataFrame], taus: Sequence[float], n_replicates: int, confidence: float, seed: int
) -> pd.DataFrame:
    """`intervals` of the mean metrics of several networks, each at its own threshold, on the same synapses."""
    tables = checked_pairs(tables)
    label, group = by_neuron(tables[0])
    networks = [Scored(rows["label"], rows["p_excitatory"], tau, group) for rows, tau in zip(tables, taus, strict=True)]

    def mean(weights: np.ndarray) -> np.ndarray:
        return np.mean([network.table(weights) for network in networks], axis=0)

    found = _table(*interval(mean, label, n_replicates, confidence, seed)).set_index("metric")
    closed = closed_intervals(tables, taus, confidence).set_index("metric")
    fewest = int(np.bincount(label).min())
    for metric, (value, low, high) in found.drop(closed.index).iterrows():
        independent = effective_interval(value, 0.0, group.size, fewest, confidence)
        found.loc[metric] = value, min(low, independent[0]), max(high, independent[1])
    found.loc[closed.index] = closed
    return found.reset_index()


def closed_intervals(tables: Sequence[pd.DataFrame], taus: Sequence[float], confidence: float) -> pd.DataFrame:
    """Those of `mean_intervals` that need no resampling: accuracy, balanced accuracy and ROC AUC."""
    tables = checked_pairs(tables)
    label, neuron = (tables[0][column].to_numpy() for column in ("label", "pre_neuron_id"))
    scores = np.stack([rows["p_excitatory"] for rows in tables])
    right = ((scores >= np.reshape(taus, (-1, 1))) == label).mean(axis=0)
    found = [
        ("accuracy", right.mean(), *share_interval(right, neuron, confidence)),
        ("balanced_accuracy", *balanced_interval(label, neuron, right, confidence)),
        ("roc_auc", *auc_interval(label, neuron, scores, confidence)),
    ]
    return pd.DataFrame(found, columns=["metric", "value", "low", "high"])


def difference(
    a: pd.DataFrame, b: pd.DataFrame, tau_a: float, tau_b: float, n_replicates: int, confidence: float, seed: int
) -> pd.DataFrame:
    """Model a minus model b: `metric, value, low, high`; both see the same resampled neurons.

    The two tables must hold the same synapses, with the same labels and neurons.
    """
    a, b = checked_pairs([a, b])
    label, group = by_neuron(a)
    first, second = (Scored(rows["label"], rows["p_excitatory"], tau, group) for rows, tau in ((a, tau_a), (b, tau_b)))

    def gain(weights: np.ndarray) -> np.ndarray:
        return first.table(weights) - second.table(weights)

    return _table(*interval(gain, label, n_replicates, confidence, seed))


def interval(
    statistic: Statistic,
    label: ArrayLike,
    n_replicates: int,
    confidence: float,
    seed: Seed,
    method: Method = METHODS[0],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value and limits `[S]`, `[S]`, `[S]` of S statistics of G neurons.

    `label` [G] is the class of each neuron. Resamples in which a statistic is not finite (a bin without synapses) are
    left out for that statistic. Raises PredictionsError where a class has fewer than two neurons, where a statistic is
    undefined in more than 5% of the resamples, or where it lies outside all of its resamples, so that BCa has no bias
    correction.
    """
    value, limits = interval_by_method(statistic, label, n_replicates, confidence, seed, (method,))
    return value, *limits[method]


def interval_by_method(
    statistic: Statistic,
    label: ArrayLike,
    n_replicates: int,
    confidence: float,
    seed: Seed,
    methods: tuple[Method, ...] = METHODS,
) -> tuple[np.ndarray, dict[Method, tuple[np.ndarray, np.ndarray]]]:
    """As `interval`, by several methods from the same resamples: value `[S]` and `{method: (low [S], high [S])}`."""
    label = np.asarray(label)
    value = statistic(np.ones((1, label.size)))[0]
    draws = np.concatenate([statistic(counts) for counts in resamples(label, n_replicates, seed)])
    undefined = (~np.isfinite(draws)).mean(axis=0)
    if undefined.max() > _MAX_UNDEFINED:
        raise PredictionsError(
            f"statistic {undefined.argmax()} of {value.size} is undefined in {undefined.max():.0%} of the resamples: "
            "too few neurons bear on it"
        )
    limits = {}
    for method in methods:
        levels = _levels(statistic, label, value, draws, confidence, method)
        ends = [np.nanquantile(column, level) for column, level in zip(draws.T, levels, strict=True)]
        low, high = np.reshape(ends, (value.size, 2)).T
        limits[method] = low, high
    return value, limits


def resamples(label: ArrayLike, n_replicates: int, seed: Seed) -> Iterator[np.ndarray]:
    """Yield blocks `[B, G]` of how often each of G neurons is drawn, `n_replicates` rows in all.

    `label` [G] is the class of each neuron; every row draws as many neurons of a class as there are. Each class has
    its own random stream, so that the draws depend on nothing but the seed and the classes. Raises PredictionsError
    where a class has fewer than two neurons.
    """
    label = np.asarray(label)
    check_classes(label)
    members = [np.flatnonzero(label == value) for value in (0, 1)]
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]
    for start in range(0, n_replicates, _BLOCK):
        rows = min(_BLOCK, n_replicates - start)
        counts = np.zeros((rows, label.size), dtype=np.int64)
        for member, stream in zip(members, streams, strict=True):
            drawn = stream.integers(member.size, size=(rows, member.size)) + np.arange(rows)[:, None] * member.size
            counts[:, member] = np.bincount(drawn.ravel(), minlength=rows * member.size).reshape(rows, member.size)
        yield counts


def without_exception(n_neurons: Any, confidence: float) -> Any:
    """Lower limit of the share of neurons that do what all of `n_neurons` did (Clopper & Pearson 1934)."""
    return ((1 - confidence) / 2) ** (1 / n_neurons)


def _levels(
    statistic: Statistic, label: np.ndarray, value: np.ndarray, draws: np.ndarray, confidence: float, method: Method
) -> np.ndarray:
    """The two quantiles of the replicates that bound the interval of each statistic, `[S, 2]`."""
    z = norm.ppf((1 + confidence) / 2)
    if method == "percentile":
        return np.tile(norm.cdf([-z, z]), (value.size, 1))
    if method == "expanded":
        n = min(np.bincount(label, minlength=2))
        z = np.sqrt(n / (n - 1)) * student.ppf((1 + confidence) / 2, n - 1)
    # Resamples that equal the value count half, as in SciPy.
    below = ((draws < value).sum(axis=0) + (draws <= value).sum(axis=0)) / np.isfinite(draws).sum(axis=0) / 2
    if not ((below > 0) & (below < 1)).all():
        raise PredictionsError("a value lies outside all of its resamples, so that BCa is undefined: take percentile")
    bias = norm.ppf(below)[:, None]
    shifted = bias + np.array([-z, z])
    slope = 1 - _acceleration(statistic, label)[:, None] * shifted
    # Beyond the pole of the correction stands its limit.
    corrected = np.where(slope > 0, shifted / np.where(slope > 0, slope, 1), np.copysign(np.inf, shifted))
    return norm.cdf(bias + corrected)


def _acceleration(statistic: Statistic, label: np.ndarray) -> np.ndarray:
    """Skewness `[S]` of the statistic's jackknife over neurons, each class a sample of its own."""
    neurons = np.arange(label.size)
    blocks = (neurons[start : start + _BLOCK] for start in range(0, label.size, _BLOCK))
    left_out = np.concatenate([statistic((block[:, None] != neurons).astype(float)) for block in blocks])
    cube = square = 0
    for value in (0, 1):
        of_class = left_out[label == value]
        n = len(of_class)
        influence = (n - 1) * (of_class.mean(axis=0) - of_class)
        cube = cube + (influence**3).sum(axis=0) / n**3
        square = square + (influence**2).sum(axis=0) / n**2
    constant = square == 0  # no neuron matters: the resamples are all equal too
    return np.where(constant, 0, cube / (6 * np.where(constant, 1, square) ** 1.5))


def _table(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"metric": METRICS, "value": value, "low": low, "high": high})
