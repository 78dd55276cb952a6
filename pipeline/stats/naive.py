"""Tests and intervals that take every synapse for an independent draw.

They stand beside the clustered ones to show what they would claim; synapses of one neuron are not independent, so no
conclusion may rest on them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata
from statsmodels.stats.contingency_tables import mcnemar as _mcnemar


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """McNemar's exact p-value: do two models err equally often? `correct_a`, `correct_b` [N] are booleans.

    It compares plain accuracies; synapses on which both models are right, or both wrong, do not count.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    return float(_mcnemar(table, exact=True).pvalue)


def delong(label: ArrayLike, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    """ROC AUC of M models `[M]` and their covariance `[M, M]` (DeLong, DeLong & Clarke-Pearson 1988).

    `label` [N] is 1 or 0, `scores` [M, N]. Midranks take the place of comparing all pairs (Sun & Xu 2014), so that
    the cost is that of sorting. Each class has at least two synapses.
    """
    positive, scores = np.asarray(label) == 1, np.atleast_2d(scores)
    n_positive, n_negative = positive.sum(), (~positive).sum()
    among_all = rankdata(scores, axis=1)
    above = (among_all[:, positive] - rankdata(scores[:, positive], axis=1)) / n_negative  # negatives below each
    below = 1 - (among_all[:, ~positive] - rankdata(scores[:, ~positive], axis=1)) / n_positive
    covariance = np.cov(above) / n_positive + np.cov(below) / n_negative
    return above.mean(axis=1), covariance.reshape(len(scores), len(scores))


def delong_test(label: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> float:
    """DeLong's two-sided p-value of equal ROC AUC of two models on the same synapses."""
    auc, covariance = delong(label, [score_a, score_b])
    gap, variance = auc[0] - auc[1], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if np.isclose(gap, 0, atol=1e-12):
        return 1.0
    return float(2 * norm.sf(abs(gap) / np.sqrt(variance))) if variance > 0 else 0.0


def balanced_accuracy_interval(label: ArrayLike, correct: ArrayLike, confidence: float) -> tuple[float, float]:
    """Interval `(low, high)` of balanced accuracy from two independent binomials (Wald); `correct` [N] booleans."""
    positive, correct = np.asarray(label) == 1, np.asarray(correct, dtype=bool)
    share = np.array([correct[of_class].mean() for of_class in (positive, ~positive)])
    n = np.array([positive.sum(), (~positive).sum()])
    return _normal(share.mean(), (share * (1 - share) / n).sum() / 4, confidence)


def auc_interval(label: ArrayLike, score: ArrayLike, confidence: float) -> tuple[float, float]:
    """Interval `(low, high)` of ROC AUC from DeLong's variance."""
    (auc,), covariance = delong(label, score)
    return _normal(auc, covariance[0, 0], confidence)


def _normal(value: float, variance: float, confidence: float) -> tuple[float, float]:
    half = norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return value - half, value + half
