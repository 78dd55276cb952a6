"""The clustered permutation test against enumeration by hand, and against its own null."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn import metrics as sk

from pipeline.stats import naive
from pipeline.stats.metrics import METRICS
from pipeline.stats.permutation import permutation_test, sign_flip


def pair(seed, n_neurons=24, mean_size=12, gain=0.0, own=0.5):
    """Two models on the same synapses: a shared and an own effect of each neuron; model b has `gain` more distance."""
    rng = np.random.default_rng(seed)
    size = rng.poisson(mean_size, n_neurons) + 2
    neuron = np.repeat(np.arange(n_neurons), size)
    label = (np.arange(n_neurons) % 2)[neuron]
    shared = 0.5 * rng.standard_normal(n_neurons)[neuron] + 0.7 * rng.standard_normal(neuron.size)
    tables = []
    for distance in (1.0, 1.0 + gain):
        latent = distance * (label - 0.5) + shared
        latent = latent + own * rng.standard_normal(n_neurons)[neuron] + 0.7 * rng.standard_normal(neuron.size)
        columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label}
        tables.append(pd.DataFrame(columns | {"p_excitatory": scipy.stats.norm.cdf(latent)}))
    return tables


def test_few_neurons_are_enumerated_exactly():
    a, b = pair(1, n_neurons=6, mean_size=3, gain=1.0)
    label, neuron = a["label"].to_numpy(), a["pre_neuron_id"].to_numpy()
    call = {0: a["p_excitatory"] >= 0.5, 1: b["p_excitatory"] >= 0.4}
    rank = {0: a["p_excitatory"].rank(), 1: b["p_excitatory"].rank()}
    gaps = []
    for swap in itertools.product([False, True], repeat=6):
        swapped = np.array(swap)[neuron]
        calls, ranks = (
            [np.where(swapped, which[1 - m], which[m]) for m in (0, 1)] for which in (call, rank)
        )  # of models 0 and 1 after the exchange
        scores = [
            [
                sk.accuracy_score(label, calls[m]),
                sk.balanced_accuracy_score(label, calls[m]),
                sk.roc_auc_score(label, ranks[m]),
                sk.average_precision_score(label, ranks[m]),
                sk.f1_score(label, calls[m]),
            ]
            for m in (0, 1)
        ]
        gaps.append(np.abs(np.subtract(*scores)))
    expected = np.mean(np.array(gaps) >= gaps[0] - 1e-9, axis=0)
    assert permutation_test(a, b, 0.5, 0.4, 32, seed=0) == pytest.approx(dict(zip(METRICS, expected, strict=True)))


def test_drawn_exchanges_approach_the_exact_p_value_and_never_reach_zero():
    a, b = pair(2, n_neurons=12, gain=0.8)
    exact = permutation_test(a, b, 0.5, 0.5, 2048, seed=0)
    drawn = permutation_test(a, b, 0.5, 0.5, 2047, seed=0)
    assert drawn == pytest.approx(exact, abs=0.05)  # 4 standard errors
    worst = a.assign(p_excitatory=1 - a["label"])
    best = a.assign(p_excitatory=a["label"])
    assert permutation_test(worst, best, 0.5, 0.5, 2047, seed=0)["balanced_accuracy"] < 0.002
    assert permutation_test(worst, best, 0.5, 0.5, 100, seed=0)["roc_auc"] == pytest.approx(1 / 101)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "roc_auc"])
def test_p_values_are_uniform_under_the_null(metric, null_p_values):
    assert scipy.stats.kstest(null_p_values[metric], "uniform").pvalue > 0.01
    assert np.mean(null_p_values[metric] <= 0.05) == pytest.approx(0.05, abs=0.027)  # 3 standard errors


@pytest.fixture(scope="module")
def null_p_values():
    rows = []
    for seed in range(600):
        a, b = pair(seed)
        p, label = [synapses["p_excitatory"] for synapses in (a, b)], a["label"]
        naively = {
            "mcnemar": naive.mcnemar(*((one >= 0.5) == label for one in p)),
            "delong": naive.delong_test(label, *p),
        }
        rows.append(permutation_test(a, b, 0.5, 0.5, 99, seed) | naively)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("test", ["mcnemar", "delong"])
def test_naive_tests_find_differences_that_are_not_there(test, null_p_values):
    assert np.mean(null_p_values[test] <= 0.05) > 0.1


def test_a_better_model_is_found():
    a, b = pair(5, n_neurons=60, gain=1.5)
    assert max(permutation_test(a, b, 0.5, 0.5, 999, seed=0).values()) < 0.01


def test_the_scale_of_a_model_does_not_matter():
    a, b = pair(3)
    cubed = b.assign(p_excitatory=b["p_excitatory"] ** 3)
    assert permutation_test(a, b, 0.5, 0.5, 199, 0) == permutation_test(a, cubed, 0.5, 0.5**3, 199, 0)


def test_a_model_does_not_differ_from_itself():
    a, _ = pair(4)
    assert set(permutation_test(a, a, 0.5, 0.5, 99, 0).values()) == {1.0}


@pytest.mark.parametrize("gains", [[3, -1, 2, 0, 5], [1, 1, 1, -1], [4, -4], [7], [0, 0]])
def test_signs_of_neurons_are_all_tried(gains):
    signs = np.array(list(itertools.product([-1, 1], repeat=len(gains))))
    expected = (np.abs(signs @ gains) >= abs(sum(gains))).mean()
    assert sign_flip(gains) == pytest.approx(expected)


def test_with_one_synapse_a_neuron_the_sign_flip_test_is_mcnemars():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 90)) < [[0.9], [0.75]]
    assert sign_flip(a.astype(int) - b) == pytest.approx(naive.mcnemar(a, b))
