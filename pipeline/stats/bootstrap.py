"""Bootstrap intervals whose unit of resampling is the presynaptic neuron, within its class.

Synapses of one neuron share its staining, vesicles and label, so they are no independent draws: an interval that
resamples synapses is too narrow. Here a neuron is drawn with all its synapses; excitatory and inhibitory neurons are
drawn apart, so that every replicate holds both classes.

Three intervals are offered (METHODS). `percentile` and `bca` (bias-corrected and accelerated; Efron 1987, J. Am.
Stat. Assoc. 82:171) are the usual ones. With few neurons both are too narrow, for the same two reasons as an interval
of a mean that divides the variance by n and takes the normal quantile z. `expanded`, the default, is BCa with
sqrt(n / (n - 1)) t in place of z, t being Student's quantile with n - 1 degrees of freedom: the expansion that
Hesterberg (2015, Am. Stat. 69:371) gives for percentile intervals. His n is that of one sample; of two classes, n is
here the number of neurons of the smaller one. `pipeline.stats.coverage` shows what each of them covers. No resampling
reaches beyond the neurons at hand: with four or fewer of a class the expanded limits are those of the most extreme
resamples, and still too narrow; and where no neuron errs, the interval has no width (`without_exception` has a limit).
"""

import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from pipeline.stats.checks import by_neuron, check_classes, checked, checked_pairs
from pipeline.stats.metrics import METRICS, PredictionsError, Scored

#: Kinds of interval; the first is the default.
METHODS = ("expanded", "percentile", "bca")

_BLOCK = 256  # replicates, or neurons left out, whose weights are in memory at once
_MAX_UNDEFINED = 0.05  # share of resamples that a statistic may be undefined in


def intervals(frame, tau, n_replicates, confidence, seed, method=METHODS[0]):
    """Metrics of one model with their intervals: DataFrame `metric, value, low, high`, in the order of METRICS.

    `frame` holds one row a synapse with the columns of `checks.COLUMNS` (others are ignored), in any order. Raises
    PredictionsError where ids, labels or scores cannot be used, or where a class has fewer than two neurons.
    """
    frame = checked(frame)
    label, group = by_neuron(frame)
    scored = Scored(frame["label"], frame["p_excitatory"], tau, group)
    return _table(*interval(scored.table, label, n_replicates, confidence, seed, method))


def difference(frame_a, frame_b, tau_a, tau_b, n_replicates, confidence, seed, method=METHODS[0]):
    """Model a minus model b: DataFrame `metric, value, low, high`; both see the same resampled neurons.

    The two frames must hold the same synapses, with the same labels and neurons.
    """
    frames = checked_pairs([frame_a, frame_b])
    label, group = by_neuron(frames[0])
    a, b = (
        Scored(frame["label"], frame["p_excitatory"], tau, group)
        for frame, tau in zip(frames, (tau_a, tau_b), strict=True)
    )

    def gain(weights):
        return a.table(weights) - b.table(weights)

    return _table(*interval(gain, label, n_replicates, confidence, seed, method))


def interval(statistic, label, n_replicates, confidence, seed, method=METHODS[0]):
    """Value and limits `[S]`, `[S]`, `[S]` of S statistics of G neurons.

    `statistic` takes how often each neuron counts, `[R, G]`, and returns `[R, S]`. `label` [G] is the class of each
    neuron. Resamples in which a statistic is not finite (a bin without synapses) are left out for that statistic.
    Raises PredictionsError where a class has fewer than two neurons, where a statistic is undefined in more than 5%
    of the resamples, or where it lies outside all of its resamples, so that BCa has no bias correction.
    """
    value, limits = interval_by_method(statistic, label, n_replicates, confidence, seed, (method,))
    return value, *limits[method]


def interval_by_method(statistic, label, n_replicates, confidence, seed, methods=METHODS):
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


def resamples(label, n_replicates, seed):
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


def without_exception(n_neurons, confidence):
    """Lower limit of the share of neurons that do what all of `n_neurons` did (Clopper & Pearson 1934)."""
    return ((1 - confidence) / 2) ** (1 / n_neurons)


def _levels(statistic, label, value, draws, confidence, method):
    """The two quantiles of the replicates that bound the interval of each statistic, `[S, 2]`."""
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {METHODS}")
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


def _acceleration(statistic, label):
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


def _table(value, low, high):
    return pd.DataFrame({"metric": METRICS, "value": value, "low": low, "high": high})
