"""Metrics of a binary classifier under many weightings at once; excitatory (label 1) is the positive class.

A bootstrap that resamples neurons changes nothing but how often each neuron counts. The synapses are therefore sorted
by score once, and every replicate is a vector of weights, one per neuron. Confusion counts are then a matrix product,
and the two ranking metrics come from one sweep over the sorted synapses that carries a block of replicates along.
"""

import numba
import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import PipelineError

#: Names of the metrics, in the order in which they are reported.
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "f1")

_BLOCK = 64  # replicates carried through one sweep: their running sums stay in the L1 cache, their weights in L2


class PredictionsError(PipelineError):
    """Predictions that cannot be scored; the text says which rows are wrong and what is needed."""


class Scored:
    """N scored synapses in G groups (neurons) whose members share a weight, sorted once.

    `label` [N] is 1 (excitatory) or 0; `p_excitatory` [N] lies in [0, 1] (`checks.checked` sees to both); a synapse is
    called excitatory where `p_excitatory >= tau`; `group` [N] holds integers in [0, G), by default each synapse is its
    own group.
    """

    def __init__(
        self, label: ArrayLike, p_excitatory: ArrayLike, tau: float = 0.5, group: np.ndarray | None = None
    ) -> None:
        positive, score = np.asarray(label) == 1, np.asarray(p_excitatory, dtype=np.float64)
        group = np.arange(positive.size) if group is None else group
        order = np.argsort(-score, kind="stable")
        self._group = group[order].astype(np.int64)
        self._positive = positive[order]
        self._last_of_tie = np.append(np.diff(score[order]) != 0, True)
        self.n_groups = int(group.max()) + 1
        cell = 4 * group + 2 * positive + (score >= tau)
        self._cells = np.bincount(cell, minlength=4 * self.n_groups).reshape(self.n_groups, 4).astype(np.float64)

    def metrics(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Metrics `{name: [R]}`, in the order of METRICS, under group weights `[R, G]` (default: one row of ones).

        ROC AUC counts ties as one half. Average precision is the sum over thresholds of recall gained times
        precision, without interpolation (as in scikit-learn). F1 is that of the excitatory class. Raises
        PredictionsError where a class has no weight.
        """
        weights = np.ones((1, self.n_groups)) if weights is None else np.asarray(weights, dtype=np.float64)
        tn, fp, fn, tp = (weights @ self._cells).T
        negatives, positives = tn + fp, fn + tp
        if not ((negatives > 0) & (positives > 0)).all():
            raise PredictionsError("both classes are needed: each row of weights must leave some weight to each")
        ranked = np.empty((2, len(weights)))
        for start in range(0, len(weights), _BLOCK):
            block = slice(start, start + _BLOCK)
            columns = np.ascontiguousarray(weights[block].T)
            ranked[:, block] = _sweep(columns, self._group, self._positive, self._last_of_tie)
        wins, precision = ranked
        return {
            "accuracy": (tp + tn) / (positives + negatives),
            "balanced_accuracy": (tp / positives + tn / negatives) / 2,
            "roc_auc": wins / (positives * negatives),
            "average_precision": precision / positives,
            "f1": 2 * tp / (2 * tp + fp + fn),
        }

    def table(self, weights: np.ndarray | None = None) -> np.ndarray:
        """`metrics` as one array `[R, metrics]`."""
        return np.stack(list(self.metrics(weights).values()), axis=1)


@numba.njit(cache=True, error_model="numpy")
def _sweep(
    weights: np.ndarray, group: np.ndarray, positive: np.ndarray, last_of_tie: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From the highest score to the lowest: pairs won `[R]` and precision summed over positives `[R]`.

    `weights` is `[G, R]`, so that the inner loops run over adjacent replicates and are vectorised.
    """
    n = weights.shape[1]
    true, false = np.zeros(n), np.zeros(n)  # weight of positives and negatives down to this score
    more_true, more_false = np.zeros(n), np.zeros(n)  # of those that share it
    wins, precision = np.zeros(n), np.zeros(n)
    any_true = any_false = False
    tiny = 2.3e-308  # where nothing was counted yet: 0 / tiny = 0
    for i in range(group.size):
        row = weights[group[i]]
        if positive[i]:
            any_true = True
            for r in range(n):
                more_true[r] += row[r]
        else:
            any_false = True
            for r in range(n):
                more_false[r] += row[r]
        if not last_of_tie[i]:
            continue
        if any_false:
            for r in range(n):
                wins[r] += more_false[r] * (true[r] + 0.5 * more_true[r])
                false[r] += more_false[r]
                more_false[r] = 0.0
        if any_true:
            for r in range(n):
                true[r] += more_true[r]
                precision[r] += more_true[r] * true[r] / max(true[r] + false[r], tiny)
                more_true[r] = 0.0
        any_true = any_false = False
    return wins, precision
