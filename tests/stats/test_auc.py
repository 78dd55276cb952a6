"""The interval of ROC AUC against DeLong, SciPy's bivariate normal and simulated test sets."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import roc_auc_score

from pipeline.stats import auc, naive
from pipeline.stats.auc import auc_interval
from pipeline.stats.coverage import simulate


def test_both_right_is_the_bivariate_normal_probability():
    correlation = np.array([0, 0.3, 0.75, 1])
    for z in (0.2, 1.0, 2.5):
        joint = [multivariate_normal([0, 0], [[1, r], [r, 1]], allow_singular=True).cdf([z, z]) for r in correlation]
        np.testing.assert_allclose(auc._both_right(z, correlation), joint - norm.cdf(z) ** 2, atol=2e-6)


def test_with_many_synapses_of_as_many_neurons_it_is_nearly_delongs():
    label, _, p = simulate((400, 300), 0, distance=1.5, spread=0.0, n_synapses=1 + 1e-9)
    value, low, high = auc_interval(label, np.arange(label.size), p, 0.95)
    assert value == pytest.approx(roc_auc_score(label, p))
    assert (low, high) == pytest.approx(naive.auc_interval(label, p, 0.95), abs=0.004)


@pytest.mark.parametrize("distance", [1.0, 3.0, 4.5])
def test_the_standard_error_is_that_of_many_test_sets(distance):
    sets = [simulate((20, 12), [1, i], distance=distance, spread=0.7, n_synapses=12) for i in range(400)]
    found = np.array([auc_interval(label[neuron], neuron, p, 0.6827) for label, neuron, p in sets])
    value, low, high = found.T
    probit = norm.ppf(np.clip(found, 1e-4, 1 - 1e-4))
    assert np.median(probit[:, 2] - probit[:, 1]) / 2 == pytest.approx(probit[:, 0].std(), rel=0.15)


def test_no_error_is_still_an_interval_and_fewer_neurons_a_wider_one():
    def width(n_neurons):
        neuron = np.arange(120) % n_neurons + 1000 * (np.arange(120) < 60)
        value, low, high = auc_interval(np.arange(120) < 60, neuron, np.linspace(1, 0, 120), 0.95)
        assert (value, high) == (1, 1)
        return high - low

    assert 0.001 < width(30) < width(4)


def test_only_the_order_of_scores_counts_and_ids_are_names():
    label, neuron, p = simulate((9, 6), 3, distance=2.0, spread=0.7, n_synapses=8)
    found = auc_interval(label[neuron], neuron, p, 0.95)
    assert found == auc_interval(label[neuron], neuron + 2**60, p**3, 0.95)
    flipped = auc_interval(1 - label[neuron], neuron, 1 - p, 0.95)
    assert found == pytest.approx(flipped)
    mirrored = auc_interval(label[neuron], neuron, 1 - p, 0.95)
    assert found == pytest.approx((1 - mirrored[0], 1 - mirrored[2], 1 - mirrored[1]))


def test_networks_are_averaged():
    label, neuron, p = simulate((9, 6), 3, distance=2.0, spread=0.7, n_synapses=8)
    _, _, other = simulate((9, 6), 4, distance=2.0, spread=0.7, n_synapses=8)
    other = np.resize(other, p.size)
    one = auc_interval(label[neuron], neuron, p, 0.95)
    assert auc_interval(label[neuron], neuron, [p, p, p], 0.95) == pytest.approx(one)
    mean = auc_interval(label[neuron], neuron, [p, other], 0.95)[0]
    assert mean == pytest.approx(np.mean([roc_auc_score(label[neuron], scores) for scores in (p, other)]))
