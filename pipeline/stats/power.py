"""How many test neurons a given precision of balanced accuracy takes."""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline.stats.checks import by_neuron, checked
from pipeline.stats.metrics import PredictionsError

_MOST = 2**20  # test neurons beyond which no answer is sought


def half_widths(frame, tau, n_neurons, confidence, n_replicates, seed):
    """Half-width of balanced accuracy's interval to expect of n test neurons, half of each class.

    `n_neurons` are even numbers from 4. Returns a DataFrame `n_neurons, closed_form, resampled`. Both are Student's
    quantile with n / 2 - 1 degrees of freedom (as in `bootstrap`) times a standard error, and rest on the variance
    between the neurons of `frame`, in accuracy and in number of synapses. `closed_form` takes it for two ratios of
    means; `resampled` is the spread over `n_replicates` draws of n of the frame's neurons, with replacement.
    Raises PredictionsError as `bootstrap.intervals` does, and on other numbers of neurons.
    """
    if wrong := [n for n in n_neurons if n < 4 or n % 2]:
        raise PredictionsError(f"numbers of test neurons must be even and at least 4, not {wrong}")
    neurons = _Neurons(frame, tau)
    rows = [
        (n, neurons.closed_form(n, confidence), neurons.resampled(n, confidence, n_replicates, seed)) for n in n_neurons
    ]
    return pd.DataFrame(rows, columns=["n_neurons", "closed_form", "resampled"])


def neurons_needed(frame, tau, half_width, confidence, n_replicates, seed):
    """Smallest even number of test neurons whose half-width is at most `half_width`: `{"closed_form", "resampled"}`.

    See `half_widths`. Raises PredictionsError where a million neurons would not do.
    """
    neurons = _Neurons(frame, tau)
    return {
        "closed_form": _smallest(lambda n: neurons.closed_form(n, confidence), half_width),
        "resampled": _smallest(lambda n: neurons.resampled(n, confidence, n_replicates, seed), half_width),
    }


class _Neurons:
    """Of each class: synapses called right and synapses, per neuron."""

    def __init__(self, frame, tau):
        frame = checked(frame)
        label, group = by_neuron(frame)
        size = np.bincount(group)
        right = np.bincount(group, weights=(frame["p_excitatory"] >= tau) == frame["label"])
        self.classes = [(right[label == value], size[label == value]) for value in (0, 1)]

    def closed_form(self, n, confidence):
        variance = 0
        for right, size in self.classes:
            residual = (right - right.sum() / size.sum() * size) / size.mean()  # of a ratio of means, linearised
            variance += (residual**2).sum() / (len(size) - 1) / (n / 2) / 4
        return student.ppf((1 + confidence) / 2, n / 2 - 1) * np.sqrt(variance)

    def resampled(self, n, confidence, n_replicates, seed):
        rng = np.random.default_rng(seed)
        variance = 0
        for right, size in self.classes:
            drawn = rng.multinomial(n // 2, np.full(len(size), 1 / len(size)), size=n_replicates)
            spread = (drawn @ right / (drawn @ size)).var()
            variance += spread * len(size) / (len(size) - 1) / 4  # draws from few neurons spread less than new ones
        return student.ppf((1 + confidence) / 2, n / 2 - 1) * np.sqrt(variance)


def _smallest(half_width_of, wanted):
    """Smallest even n from 4 with `half_width_of(n) <= wanted`; the half-width falls with n."""
    if half_width_of(_MOST) > wanted:
        raise PredictionsError(f"a half-width of {wanted} would take more than {_MOST:,} test neurons")
    low, high = 1, 2  # in pairs of neurons: too few, and a candidate
    while half_width_of(2 * high) > wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half_width_of(2 * middle) <= wanted else (middle, high)
    return 2 * high
