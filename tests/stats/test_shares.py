"""Intervals of shares against statsmodels, closed forms and simulated clusters."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.proportion import proportion_confint

from pipeline.stats.shares import balanced_interval, effective_interval, mean_interval, share_interval


@pytest.mark.parametrize(("n_right", "n"), [(0, 1200), (1200, 1200), (970, 1000), (1593, 1600)])
def test_with_a_synapse_a_neuron_it_is_the_exact_interval(n_right, n):
    found = share_interval(np.arange(n) < n_right, np.arange(n), 0.95)
    exact = proportion_confint(n_right, n, alpha=0.05, method="beta")
    assert found == pytest.approx(exact, abs=1e-3)  # the few thousandths by which t exceeds z


def test_synapses_that_agree_within_neurons_count_as_neurons():
    neuron = np.repeat(np.arange(40), 25)
    found = share_interval(neuron < 34, neuron, 0.95)
    effective = 39 * (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 39)) ** 2  # n - 1 for n units
    exact = scipy.stats.beta.ppf([0.025, 0.975], [effective * 0.85, effective * 0.85 + 1],
                                 [effective * 0.15 + 1, effective * 0.15])  # fmt: skip
    assert found == pytest.approx(exact)


@pytest.mark.parametrize("of", [0, 1])
def test_no_interval_is_without_width(of):
    right, neuron = np.full(181, of), np.arange(181) % 10
    low, high = share_interval(right, neuron, 0.95)
    assert high - low > 0.02
    assert low <= of <= high
    assert share_interval(right, np.zeros(181), 0.95) == (0, 1)


@pytest.mark.parametrize("p", [0.8, 0.95, 0.99])
def test_shares_of_few_neurons_hold_the_truth(p):
    rng, neuron, held = np.random.default_rng(0), np.repeat(np.arange(20), 12), 0
    for _ in range(400):
        latent = np.sqrt(0.2) * rng.standard_normal(20)[neuron] + np.sqrt(0.8) * rng.standard_normal(neuron.size)
        low, high = share_interval(latent < scipy.stats.norm.ppf(p), neuron, 0.95)
        held += low <= p <= high
    assert held / 400 > 0.92


def test_the_mean_of_two_shares_is_as_certain_as_they_are():
    assert mean_interval([0.7], [(0.6, 0.9)]) == pytest.approx((0.6, 0.9))
    assert mean_interval([0.5, 0.9], [(0.4, 0.6), (0.9, 0.9)]) == pytest.approx((0.65, 0.75))
    label, neuron = np.repeat([1, 0], 60), np.repeat(np.arange(24), 5)
    value, low, high = balanced_interval(label, neuron, np.arange(120) % 5 > 0, 0.95)
    assert value == pytest.approx(0.8)
    one = effective_interval(0.8, 0, 60, 12, 0.95)
    assert (low, high) == pytest.approx((0.8 - (0.8 - one[0]) / np.sqrt(2), 0.8 + (one[1] - 0.8) / np.sqrt(2)))
