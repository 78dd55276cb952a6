"""Tests that take synapses for independent, against their definitions."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from pipeline.stats import naive


def scores(seed, n=60, levels=8):
    """Labels, and three correlated scores with ties."""
    rng = np.random.default_rng(seed)
    label = np.append(rng.integers(0, 2, n - 4), [0, 0, 1, 1])
    shared = label + rng.standard_normal(n)
    return label, np.round([(shared + rng.standard_normal(n)) * levels / 4 for _ in range(3)])


def slow_delong(label, x):
    """AUC and covariance from all pairs: the structural components of DeLong et al. (1988), eqs. 4 to 6."""
    positive, negative = x[:, label == 1], x[:, label == 0]
    wins = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    m, n = positive.shape[1], negative.shape[1]
    auc = wins.mean(axis=(1, 2))
    v10, v01 = wins.mean(axis=2) - auc[:, None], wins.mean(axis=1) - auc[:, None]
    return auc, v10 @ v10.T / (m - 1) / m + v01 @ v01.T / (n - 1) / n


@pytest.mark.parametrize("levels", [2, 8, 1e6])
def test_delong_equals_the_covariance_over_all_pairs(levels):
    label, x = scores(1, levels=levels)
    for ours, theirs in zip(naive.delong(label, x), slow_delong(label, x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)


def test_delongs_p_value_follows_from_its_covariance():
    label, x = scores(2)
    auc, s = slow_delong(label, x[:2])
    z = (auc[0] - auc[1]) / np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    assert naive.delong_test(label, *x[:2]) == pytest.approx(2 * scipy.stats.norm.cdf(-abs(z)))
    assert naive.delong_test(label, x[0], 3 * x[0] + 1) == 1.0  # ranks alone matter
    assert naive.delong_test(label, label, 1 - label) == 0.0  # all right against all wrong, without any spread


def test_mcnemar_is_the_binomial_test_of_the_discordant_synapses():
    b, c = 3, 11  # right by one model only
    correct_a = np.repeat([True, True, False, False], [40, b, c, 7])
    correct_b = np.repeat([True, False, True, False], [40, b, c, 7])
    by_hand = 2 * sum(scipy.special.comb(b + c, k) for k in range(b + 1)) / 2 ** (b + c)
    assert naive.mcnemar(correct_a, correct_b) == pytest.approx(by_hand)
    assert naive.mcnemar(correct_a, correct_a) == 1.0


def test_intervals_are_those_of_independent_synapses():
    label, correct = np.repeat([1, 0], [80, 20]), np.repeat([True, False, True, False], [60, 20, 15, 5])
    half = 1.959964 * np.sqrt(0.75 * 0.25 / 80 + 0.75 * 0.25 / 20) / 2
    assert naive.balanced_accuracy_interval(label, correct, 0.95) == pytest.approx((0.75 - half, 0.75 + half))
    label, x = scores(3)
    (auc, *_), s = slow_delong(label, x)
    half = 1.644854 * np.sqrt(s[0, 0])
    assert naive.auc_interval(label, x[0], 0.9) == pytest.approx((auc - half, auc + half))
