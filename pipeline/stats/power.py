"""How many test neurons a given precision of balanced accuracy takes."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from scipy.stats import t as student

from pipeline.stats.checks import by_neuron, checked
from pipeline.stats.metrics import PredictionsError

_MOST = 2**20  # test neurons beyond which no answer is sought


def half_widths(
    rows: pd.DataFrame, tau: float, n_neurons: Iterable[int], confidence: float, n_replicates: int, seed: int
) -> pd.DataFrame:
    """Half-width of balanced accuracy's interval to expect from n test neurons, half of each class.

    `n_neurons` are even numbers from 4. Columns: `n_neurons, closed_form, resampled`. Both half-widths are Student's
    quantile with n / 2 - 1 degrees of freedom times a standard error, and rest on the variance
    between the neurons of `rows`, in accuracy and in number of synapses. `closed_form` takes it for two ratios of
    means; `resampled` is the spread over `n_replicates` draws of n of the rows's neurons, with replacement.
    Raises PredictionsError as `bootstrap.intervals` does.
    """
    neurons = _Neurons(rows, tau)
    found = [
        (n, neurons.closed_form(n, confidence), neurons.resampled(n, confidence, n_replicates, seed)) for n in n_neurons
    ]
    return pd.DataFrame(found, columns=["n_neurons", "closed_form", "resampled"])


def neurons_needed(
    rows: pd.DataFrame, tau: float, half_width: float, confidence: float, n_replicates: int, seed: int
) -> dict[str, int]:
    """Smallest even number of test neurons whose half-width is at most `half_width`: `{"closed_form", "resampled"}`.

    See `half_widths`. Raises PredictionsError where a million neurons would not do.
    """
    neurons = _Neurons(rows, tau)
    return {
        "closed_form": _smallest(lambda n: neurons.closed_form(n, confidence), half_width),
        "resampled": _smallest(lambda n: neurons.resampled(n, confidence, n_replicates, seed), half_width),
    }


class _Neurons:
    """Synapses classified correctly, and synapses, of each neuron of each class."""

    def __init__(self, rows: pd.DataFrame, tau: float) -> None:
        rows = checked(rows)
        label, group = by_neuron(rows)
        size = np.bincount(group)
        right = np.bincount(group, weights=(rows["p_excitatory"] >= tau) == rows["label"])
        self.classes = [(right[label == value], size[label == value]) for value in (0, 1)]

    def closed_form(self, n: int, confidence: float) -> float:
        variance = 0.0
        for right, size in self.classes:
            residual = (right - right.sum() / size.sum() * size) / size.mean()  # of a ratio of means, linearised
            variance += (residual**2).sum() / (len(size) - 1) / (n / 2) / 4
        return student.ppf((1 + confidence) / 2, n / 2 - 1) * np.sqrt(variance)

    def resampled(self, n: int, confidence: float, n_replicates: int, seed: int) -> float:
        rng = np.random.default_rng(seed)
        variance = 0.0
        for right, size in self.classes:
            drawn = rng.multinomial(n // 2, np.full(len(size), 1 / len(size)), size=n_replicates)
            spread = (drawn @ right / (drawn @ size)).var()
            variance += spread * len(size) / (len(size) - 1) / 4  # draws from few neurons spread less than new ones
        return student.ppf((1 + confidence) / 2, n / 2 - 1) * np.sqrt(variance)


def _smallest(half_width_of: Callable[[int], float], wanted: float) -> int:
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
