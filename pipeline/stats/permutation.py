"""Clustered permutation tests of two models or methods on the same synapses.

If two models are equally good for the same reasons, nothing is lost by exchanging their answers. The test exchanges
all answers of a neuron at once, neuron by neuron, because answers within a neuron are not independent, and asks how
often a random exchange separates the models as far as they are.

What is exchanged must mean the same in both models. For metrics of calls it is the call at each model's own threshold:
the test is exact. For ranking metrics it is the mid-rank of the score among all of the model's own scores, which is
free of the model's scale (Bandos, Rockette & Gur 2005, Stat. Med. 24:2873, for independent cases); the ranks are
computed once, so that this test is exact only up to the error of the models' empirical score distributions. Its null is
that the models are exchangeable, not merely equal in the metric: a model that errs on other neurons is no violation, a
model whose ranks spread differently within a class is one.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from pipeline.stats.checks import by_neuron
from pipeline.stats.metrics import METRICS, Scored

#: Metrics for which calls are exchanged, and those for which ranks are.
CALLS = ("accuracy", "balanced_accuracy", "f1")
RANKS = ("roc_auc", "average_precision")

_BLOCK = 256  # exchanges whose weights are in memory at once
_ROUNDING = 1e-9  # gaps that differ by less are equal


def permutation_test(
    a: pd.DataFrame, b: pd.DataFrame, tau_a: float, tau_b: float, n_permutations: int, seed: int
) -> dict[str, float]:
    """Two-sided p-values `{metric: p}` of the difference between two models, neurons being the unit.

    `a` and `b` are predictions of the same synapses, as `checks.checked_pairs` returns them. All `2 ** (neurons - 1)`
    distinct exchanges are enumerated where they are at most `n_permutations`, and p is the share of them, the observed
    one included, that separate the models at least as far. Else `n_permutations` are drawn and
    p = (1 + exceeding) / (1 + drawn), which is never zero (Phipson & Smyth 2010).
    """
    label, group = by_neuron(a)
    scores = {
        CALLS: (a["p_excitatory"] >= tau_a, b["p_excitatory"] >= tau_b),
        RANKS: tuple(rankdata(rows["p_excitatory"]) / len(rows) for rows in (a, b)),
    }
    exact = 2 ** (label.size - 1) <= n_permutations
    n_exchanges = 2 ** (label.size - 1) if exact else 1 + n_permutations  # the observed answers are one of them
    both = np.concatenate([2 * group, 2 * group + 1])  # the answers of both models, of which each neuron gives two sets
    p: dict[str, float] = {}
    for metrics, pair in scores.items():
        scored = Scored(np.tile(a["label"], 2), np.concatenate(pair).astype(float), 0.5, both)
        observed = _gaps(scored, np.zeros((1, label.size), dtype=bool))
        gaps = (_gaps(scored, block) for block in _exchanges(label.size, exact, n_permutations, seed))
        exceeding = sum((block >= observed - _ROUNDING).sum(axis=0) for block in gaps)
        exceeding = exceeding + (not exact)
        p |= {name: float(exceeding[METRICS.index(name)] / n_exchanges) for name in metrics}
    return {name: p[name] for name in METRICS}


def sign_flip(gains: ArrayLike) -> float:
    """Two-sided exact p-value of a sum of `gains` [K], integers of independent units: are they as likely negative?

    Each unit's gain keeps its size and takes either sign with equal probability (Fisher 1935); all 2^K choices are
    counted by convolution. With gains of 1 and -1 this is McNemar's exact test.
    """
    gains = np.asarray(gains, dtype=np.int64)
    share = np.ones(1)  # of the choices with each sum, from the lowest sum to the highest
    for size in np.abs(gains[gains != 0]):
        share = np.convolve(share, np.eye(2 * size + 1)[[0, -1]].mean(axis=0))
    sums = np.arange(share.size) - share.size // 2
    return float(min(1.0, share[np.abs(sums) >= abs(gains.sum())].sum()))


def _gaps(scored: Scored, exchanged: np.ndarray) -> np.ndarray:
    """How far apart the models are, `[R, metrics]`, where `exchanged` [R, G] says which neurons' answers swap."""
    first = np.stack([~exchanged, exchanged], axis=2).reshape(len(exchanged), -1)
    return np.abs(scored.table(first) - scored.table(~first))


def _exchanges(n_neurons: int, exact: bool, n_permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks `[B, G]` of which neurons are exchanged; if all, the last never: exchanging every neuron is no change."""
    if exact:
        every = (np.arange(2 ** (n_neurons - 1))[:, None] >> np.arange(n_neurons)) & 1 == 1
        yield from np.array_split(every, -(-len(every) // _BLOCK))
        return
    rng = np.random.default_rng(seed)
    for start in range(0, n_permutations, _BLOCK):
        yield rng.random((min(_BLOCK, n_permutations - start), n_neurons)) < 0.5
