"""The priors of the pre and post neuron: the connectivity model of the prior work, exactly as it was, and its leak.

The share of excitatory synapses among a neuron's training synapses (Laplace-smoothed), of the presynaptic and of the
postsynaptic neuron; the logit of each; a logistic regression on top, fitted on the same training synapses. Where
synapses are split at random (the leaky protocol), the prior of the presynaptic neuron is its label.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import statsmodels.api as sm
from numpy.typing import ArrayLike
from scipy.special import logit
from sklearn.linear_model import LogisticRegression


class Prior(NamedTuple):
    """Log odds of the priors `[N, 2]` (pre, post) of all rows, the two weights, and `p_excitatory` [N] of all rows."""

    log_odds: np.ndarray
    weights: np.ndarray
    p_excitatory: np.ndarray


def fit(links: pd.DataFrame, training: np.ndarray) -> Prior:
    """Fit the model on the rows where `training` [N] is true, and apply it to all rows of `links`."""
    columns = ("pre_neuron_id", "post_neuron_id")
    log_odds = np.column_stack([_log_odds(links[column], links["label"], training) for column in columns])
    label = links["label"].to_numpy()
    model = LogisticRegression().fit(log_odds[training], label[training])
    return Prior(log_odds, model.coef_[0], model.predict_proba(log_odds)[:, 1])


def refit(log_odds: np.ndarray, label: ArrayLike, neuron: ArrayLike, confidence: float) -> pd.DataFrame:
    """What the two priors are worth on held-out rows: DataFrame `side` (pre, post), `weight, low, high`.

    Logistic regression of `label` [N] on `log_odds` [N, 2] without penalty, with Wald intervals clustered by
    presynaptic neuron (`neuron` [N]). A prior that is the same for every row does not distinguish them, whatever its
    weight: it has 0 [0, 0].
    """
    found = pd.DataFrame({"side": ["pre", "post"], "weight": 0.0, "low": 0.0, "high": 0.0})
    varies = np.ptp(log_odds, axis=0) > 0
    if varies.any():
        clusters = {"groups": pd.factorize(np.asarray(neuron))[0]}
        logistic = sm.Logit(np.asarray(label), sm.add_constant(log_odds[:, varies], prepend=False))
        fitted = logistic.fit(disp=False, cov_type="cluster", cov_kwds=clusters)
        estimates = np.column_stack([fitted.params, fitted.conf_int(1 - confidence)])
        found.loc[varies, ["weight", "low", "high"]] = estimates[:-1]
    return found


def random_split(n: int, test_fraction: float, seed: int) -> np.ndarray:
    """The leaky protocol: which of `n` synapses are for testing, drawn without regard to neurons, `[n]` bool."""
    return np.random.default_rng(seed).permutation(n) < round(test_fraction * n)


def leaky_protocol(links: pd.DataFrame, test_fraction: float, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The model as it was, with synapses split at random: its predictions for the test rows.

    Returns the test rows with `p_excitatory`, the log odds of both priors `[N, 2]`, and the learned weights.
    """
    test = random_split(len(links), test_fraction, seed)
    fitted = fit(links, ~test)
    return links[test].assign(p_excitatory=fitted.p_excitatory[test]), fitted.log_odds[test], fitted.weights


def honest_protocol(links: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """The same on held-out neurons: each row scored by the model trained on the other folds (`fold`, by neuron).

    The weights are the mean over folds.
    """
    p_excitatory, log_odds, learned = np.empty(len(links)), np.empty((len(links), 2)), []
    for fold in np.unique(links["fold"]):
        test = (links["fold"] == fold).to_numpy()
        fitted = fit(links, ~test)
        p_excitatory[test], log_odds[test] = fitted.p_excitatory[test], fitted.log_odds[test]
        learned.append(fitted.weights)
    return links.assign(p_excitatory=p_excitatory), log_odds, np.mean(learned, axis=0)


def _log_odds(neuron: pd.Series, label: ArrayLike, training: np.ndarray) -> np.ndarray:
    """Logit of (excitatory + 1) / (all + 2) of each row's neuron, counted over the training rows."""
    codes, ids = pd.factorize(neuron)
    label = np.asarray(label)[training]
    excitatory = np.bincount(codes[training], label, len(ids))
    total = np.bincount(codes[training], minlength=len(ids))
    return logit((excitatory + 1) / (total + 2))[codes]
