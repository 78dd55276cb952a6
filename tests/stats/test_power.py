"""Numbers of neurons against closed forms and against test sets of that size."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pipeline.stats import power
from pipeline.stats.coverage import simulate
from pipeline.stats.metrics import PredictionsError


def predictions(seed, n_neurons, n_synapses=30, spread=0.7):
    label, neuron, p = simulate(
        (n_neurons // 2, n_neurons // 2), seed, distance=1.5, spread=spread, n_synapses=n_synapses
    )
    columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label[neuron]}
    return pd.DataFrame(columns | {"p_excitatory": p})


def test_one_synapse_a_neuron_needs_as_many_neurons_as_the_binomial_says():
    rng = np.random.default_rng(0)
    label = np.arange(400) % 2
    p = np.where(rng.random(400) < 0.8, label, 1 - label)
    synapses = pd.DataFrame({"synapse_id": range(400), "pre_neuron_id": range(400), "label": label, "p_excitatory": p})
    share = [(p == label)[label == value].mean() for value in (0, 1)]
    variance = sum(s * (1 - s) for s in share) / 4
    n = next(  # pairs of neurons
        n for n in range(2, 2000) if scipy.stats.t.ppf(0.975, n - 1) * np.sqrt(variance / n * 200 / 199) <= 0.05
    )
    needed = power.neurons_needed(synapses, 0.5, 0.05, 0.95, 4000, seed=0)
    assert needed["closed_form"] == 2 * n
    assert needed["resampled"] == pytest.approx(2 * n, rel=0.08)


def test_half_widths_are_those_of_new_test_sets_of_that_size():
    """The spread of balanced accuracy over fresh test sets, which neither estimate has seen."""
    table = power.half_widths(predictions(1, 400), 0.5, (20, 60), 0.95, 5000, seed=0).set_index("n_neurons")
    for n in (20, 60):
        fresh = []
        for seed in range(400):
            label, neuron, p = simulate((n // 2, n // 2), 1000 + seed, distance=1.5, spread=0.7, n_synapses=30)
            right = (p >= 0.5) == label[neuron]
            fresh.append(np.mean([right[label[neuron] == value].mean() for value in (0, 1)]))
        expected = scipy.stats.t.ppf(0.975, n / 2 - 1) * np.std(fresh)
        assert table.loc[n, "closed_form"] == pytest.approx(expected, rel=0.15)
        assert table.loc[n, "resampled"] == pytest.approx(expected, rel=0.15)


def test_the_number_needed_is_the_smallest_that_keeps_the_half_width():
    synapses = predictions(2, 60)
    n = power.neurons_needed(synapses, 0.5, 0.05, 0.95, 2000, seed=0)["closed_form"]
    just, less = power.half_widths(synapses, 0.5, (n, n - 2), 0.95, 100, seed=0)["closed_form"]
    assert just <= 0.05 < less
    with_more_synapses = power.neurons_needed(predictions(2, 60, n_synapses=200), 0.5, 0.05, 0.95, 2000, seed=0)
    assert with_more_synapses["closed_form"] > 0.5 * n  # neurons, not synapses, are what is lacking


def test_impossible_requests_are_refused():
    with pytest.raises(PredictionsError, match="more than 1,048,576 test neurons"):
        power.neurons_needed(predictions(3, 20), 0.5, 1e-5, 0.95, 100, seed=0)
