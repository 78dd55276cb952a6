"""The decision threshold: pure numpy, so that any later stage may use it on a table of predictions."""

import numpy as np


def best_threshold(label: np.ndarray, p_excitatory: np.ndarray) -> float:
    """The tau that maximises balanced accuracy of `p_excitatory >= tau`.

    `label` holds 1 (excitatory) and 0 (inhibitory), at least one of each, else ValueError. Candidates are the
    midpoints between neighbouring distinct probabilities, and the lowest probability (everything excitatory). Ties
    are decided on integer counts: the candidate nearest to 0.5 wins, the lower of two equally near.
    """
    label, p = np.asarray(label), np.asarray(p_excitatory, dtype=np.float64)
    if label.shape != p.shape or label.ndim != 1 or not np.isin(label, (0, 1)).all() or not np.isfinite(p).all():
        raise ValueError("a threshold needs labels 0 or 1 and as many finite probabilities")
    n_excitatory = int((label == 1).sum())
    n_inhibitory = len(label) - n_excitatory
    if not n_excitatory or not n_inhibitory:
        raise ValueError("a threshold needs examples of both classes")
    values, group = np.unique(p, return_inverse=True)
    excitatory = np.bincount(group, weights=label == 1).astype(np.int64)  # per distinct probability
    inhibitory = np.bincount(group, weights=label == 0).astype(np.int64)
    true_positive = n_excitatory - np.concatenate([[0], np.cumsum(excitatory)[:-1]])  # with tau at each value
    true_negative = np.concatenate([[0], np.cumsum(inhibitory)[:-1]])
    score = true_positive * n_inhibitory + true_negative * n_excitatory
    below = values[:-1] + (values[1:] - values[:-1]) / 2
    below = np.where(below > values[:-1], below, values[1:])  # no midpoint between neighbouring floats
    tau = np.concatenate([values[:1], below])
    return float(min(tau[score == score.max()], key=lambda value: (abs(value - 0.5), value)))
